//! An upstream that remembers what reached it: the demo, and a few endpoints that misbehave or
//! wait on a test's command.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use genkan::demo::{Demo, Pace};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::client::Target;
use super::tls::Certificate;
use super::within;

type Body = UnsyncBoxBody<Bytes, io::Error>;

const CHUNK_BYTES: usize = 64 * 1024;

/// A request as it reached the upstream.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub version: http::Version,
    pub method: String,
    /// Path and query.
    pub target: String,
    /// In the order of their names' first arrival.
    pub headers: Vec<(String, String)>,
    pub body_bytes: u64,
    digest: Sha256,
    /// Whether the answer's body was let go of: sent to its end, or abandoned.
    pub answer_dropped: bool,
}

impl Recorded {
    /// Every value of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let values = self.headers.iter().filter(|(held, _)| held == name);
        values.map(|(_, value)| value.as_str()).collect()
    }

    pub fn body_sha256(&self) -> Vec<u8> {
        self.digest.clone().finalize().to_vec()
    }
}

/// What the connections share.
struct State {
    demo: Demo,
    records: watch::Sender<Vec<Recorded>>,
    events: broadcast::Sender<Bytes>,
    gate: Semaphore,
}

/// A running upstream; stopped when dropped.
pub struct Upstream {
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    certificate: Certificate,
    state: Arc<State>,
    /// Each permit lets a watched workflow run take one step.
    steps: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    pub async fn start() -> Self {
        let steps = Arc::new(Semaphore::new(0));
        let state = Arc::new(State {
            demo: Demo::with_pace(Pace::Permits(Arc::clone(&steps))),
            records: watch::Sender::new(Vec::new()),
            events: broadcast::Sender::new(64),
            gate: Semaphore::new(0),
        });
        let certificate = Certificate::for_loopback();
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (plain_address, tls_address) = (plain.local_addr().unwrap(), tls.local_addr().unwrap());
        let acceptor = TlsAcceptor::from(certificate.server());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(plain, None, Arc::clone(&state)));
        tasks.spawn(accept(tls, Some(acceptor), Arc::clone(&state)));
        Self {
            plain: plain_address,
            tls: tls_address,
            certificate,
            state,
            steps,
            _tasks: tasks,
        }
    }

    /// The upstream itself, with no gateway before it.
    pub fn target(&self) -> Target {
        Target {
            plain: self.plain,
            tls: self.tls,
            authority: self.certificate.certificate_file.clone(),
            key: None,
        }
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.state.records.borrow().clone()
    }

    /// Waits until what was recorded is as the test wants it.
    pub async fn wait_for(&self, what: &str, holds: impl FnMut(&Vec<Recorded>) -> bool) {
        let mut records = self.state.records.subscribe();
        within(what, records.wait_for(holds)).await.unwrap();
    }

    /// Lets a watched workflow run take its next step.
    pub fn allow_step(&self) {
        self.steps.add_permits(1);
    }

    /// Sends an event to everyone who listens at `/sse`.
    pub fn send_event(&self, data: &str) {
        let event = Bytes::from(format!("data: {data}\n\n"));
        self.state.events.send(event).expect("somebody at /sse");
    }

    /// Lets one request at `/slow` be answered.
    pub fn open_gate(&self) {
        self.state.gate.add_permits(1);
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            let service = service_fn(move |request| respond(Arc::clone(&state), request));
            let Some(tls) = tls else {
                let io = TokioIo::new(stream);
                let connection = http1::Builder::new().serve_connection(io, service);
                drop(connection.with_upgrades().await);
                return;
            };
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(stream);
            if is_http2 {
                let builder = http2::Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(io, service).await);
            } else {
                let connection = http1::Builder::new().serve_connection(io, service);
                drop(connection.with_upgrades().await);
            }
        });
    }
}

async fn respond(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let index = record(&state, &request);
    // From here on: a client that leaves before there is an answer lets go of it too.
    let guard = AnswerDropped {
        state: Arc::clone(&state),
        index,
    };
    let path = request.uri().path().to_owned();
    let is_head = request.method() == http::Method::HEAD;
    let response = match path.as_str() {
        "/ws" => return Ok(web_socket(request)),
        "/sse" | "/mcp/sse" => sse(&state),
        "/slow" => {
            state.gate.acquire().await.unwrap().forget();
            text("at last")
        }
        "/cut" => cut(),
        "/cut-with-length" => with_length(cut(), 1_000),
        "/trailers" => trailers(),
        "/echo" => Response::new(observed(&state, index, request.into_body())),
        "/sink" => sink(&state, index, request).await,
        _ => match path.strip_prefix("/bytes/").map(str::parse) {
            Some(Ok(bytes)) => zeros(bytes),
            _ => demo(&state, index, request).await,
        },
    };
    if is_head {
        // hyper leaves this to us over HTTP/2, where a body after HEAD is an error of the stream.
        return Ok(response.map(|_| nothing()));
    }
    Ok(response.map(|body| {
        body.map_frame(move |frame| {
            let _held = &guard;
            frame
        })
        .boxed_unsync()
    }))
}

fn record(state: &State, request: &Request<Incoming>) -> usize {
    let mut index = 0;
    let headers = request.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let recorded = Recorded {
        version: request.version(),
        method: request.method().to_string(),
        target: request.uri().path_and_query().unwrap().to_string(),
        headers: headers.collect(),
        body_bytes: 0,
        digest: Sha256::new(),
        answer_dropped: false,
    };
    state.records.send_modify(|records| {
        index = records.len();
        records.push(recorded);
    });
    index
}

/// Says in the record that the answer's body is gone.
struct AnswerDropped {
    state: Arc<State>,
    index: usize,
}

impl Drop for AnswerDropped {
    fn drop(&mut self) {
        let index = self.index;
        let mark = |records: &mut Vec<Recorded>| records[index].answer_dropped = true;
        self.state.records.send_modify(mark);
    }
}

/// The request's body, counted and hashed as it passes.
fn observed(state: &Arc<State>, index: usize, body: Incoming) -> Body {
    let state = Arc::clone(state);
    body.map_frame(move |frame| {
        if let Some(data) = frame.data_ref() {
            state.records.send_modify(|records| {
                records[index].body_bytes += data.len() as u64;
                records[index].digest.update(data);
            });
        }
        frame
    })
    .map_err(io::Error::other)
    .boxed_unsync()
}

async fn demo(state: &Arc<State>, index: usize, request: Request<Incoming>) -> Response<Body> {
    let request = request.map(|body| observed(state, index, body));
    let response = state.demo.respond(request).await;
    response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

/// Reads everything, keeps nothing, and answers with how much it was.
async fn sink(state: &Arc<State>, index: usize, request: Request<Incoming>) -> Response<Body> {
    let mut body = request.into_body();
    let mut bytes = 0_u64;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
    let count = |records: &mut Vec<Recorded>| records[index].body_bytes = bytes;
    state.records.send_modify(count);
    text(&bytes.to_string())
}

fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn text(text: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    let response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    with_length(response, text.len() as u64)
}

fn streamed<S>(frames: S) -> Response<Body>
where
    S: stream::Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
{
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn with_length(mut response: Response<Body>, bytes: u64) -> Response<Body> {
    let length = HeaderValue::from(bytes);
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, length);
    response
}

fn sse(state: &State) -> Response<Body> {
    let events = stream::unfold(state.events.subscribe(), |mut events| async move {
        let event = events.recv().await.ok()?;
        Some((Ok(Frame::data(event)), events))
    });
    let mut response = streamed(events);
    let event_stream = HeaderValue::from_static("text/event-stream");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, event_stream);
    response
}

fn zeros(bytes: u64) -> Response<Body> {
    let chunk = Bytes::from(vec![0; CHUNK_BYTES]);
    let frames = stream::unfold(bytes, move |left| {
        let chunk = chunk.slice(..CHUNK_BYTES.min(usize::try_from(left).unwrap()));
        async move { (left > 0).then(|| (Ok(Frame::data(chunk.clone())), left - chunk.len() as u64)) }
    });
    with_length(streamed(frames), bytes)
}

/// Some bytes, then the connection breaks.
fn cut() -> Response<Body> {
    let frames = stream::iter([
        Ok(Frame::data(Bytes::from_static(b"not all of it"))),
        Err(io::Error::other("cut on purpose")),
    ]);
    // A moment between the two, so that what came before is sent and not dropped with the rest.
    streamed(frames.then(|frame| async {
        if frame.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        frame
    }))
}

fn trailers() -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("abc"));
    let mut response = streamed(stream::iter([
        Ok(Frame::data(Bytes::from_static(b"body"))),
        Ok(Frame::trailers(trailers)),
    ]));
    let names = HeaderValue::from_static("x-checksum");
    response.headers_mut().insert(header::TRAILER, names);
    response
}

fn web_socket(mut request: Request<Incoming>) -> Response<Body> {
    let mut response = Response::new(nothing());
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        return response;
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).unwrap();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    tokio::spawn(async move {
        let upgraded = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                return;
            }
        }
    });
    response
}
