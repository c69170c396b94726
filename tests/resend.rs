//! A request that an HTTP/2 upstream hands back unsent is sent again, to the same virtual host.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::client::{self, Mode};
use crate::support::deployment::{Deployment, Engine, route};
use crate::support::tls::Certificate;
use crate::support::within;

/// What reached the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    version: Version,
    /// The `Host`, or `:authority`.
    host: String,
    target: String,
    te: String,
    body: String,
}

struct State {
    seen: watch::Sender<Vec<Seen>>,
    /// Ends the first connection: no new streams, and those that are there go on.
    goaway: Notify,
    said_goaway: watch::Sender<bool>,
    words: broadcast::Sender<&'static str>,
}

/// Speaks HTTP/2 on its first connection, and `later` on those after it.
struct Upstream {
    address: SocketAddr,
    certificate: Certificate,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    async fn start(later: &'static [u8]) -> Self {
        let certificate = Certificate::for_loopback();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            seen: watch::Sender::new(Vec::new()),
            goaway: Notify::new(),
            said_goaway: watch::Sender::new(false),
            words: broadcast::Sender::new(4),
        });
        let acceptor = |protocol: &[u8]| {
            let mut config = (*certificate.server()).clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsAcceptor::from(Arc::new(config))
        };
        let acceptors = (acceptor(b"h2"), acceptor(later));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptors, Arc::clone(&state)));
        Self {
            address,
            certificate,
            state,
            _tasks: tasks,
        }
    }
}

async fn accept(listener: TcpListener, tls: (TlsAcceptor, TlsAcceptor), state: Arc<State>) {
    let mut connections = JoinSet::new();
    let mut first = true;
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = if first { &tls.0 } else { &tls.1 };
        let stream = acceptor.accept(stream).await.unwrap();
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let (state, ends) = (Arc::clone(&state), first);
        first = false;
        connections.spawn(async move {
            let service = {
                let state = Arc::clone(&state);
                service_fn(move |request| respond(Arc::clone(&state), request))
            };
            let io = TokioIo::new(stream);
            if !is_http2 {
                drop(http1::Builder::new().serve_connection(io, service).await);
                return;
            }
            let builder = http2::Builder::new(TokioExecutor::new());
            let mut connection = std::pin::pin!(builder.serve_connection(io, service));
            tokio::select! {
                _ended = connection.as_mut() => return,
                () = state.goaway.notified(), if ends => {}
            }
            connection.as_mut().graceful_shutdown();
            state.said_goaway.send_replace(true);
            drop(connection.await);
        });
    }
}

async fn respond(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let text = |name: &str| {
        let value = head.headers.get(name);
        value.map_or(String::new(), |it| it.to_str().unwrap().to_owned())
    };
    let authority = head.uri.authority().map(ToString::to_string);
    let seen = Seen {
        version: head.version,
        host: authority.unwrap_or_else(|| text("host")),
        target: head.uri.path_and_query().unwrap().to_string(),
        te: text("te"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let holds = seen.target == "/hold";
    // Before the record: who sees it may speak.
    let words = state.words.subscribe();
    state.seen.send_modify(|all| all.push(seen));
    if !holds {
        return Ok(Response::new(Full::new(Bytes::from("ok")).boxed_unsync()));
    }
    let frames = stream::unfold(words, |mut words| async move {
        let word = words.recv().await.ok()?;
        Some((Ok(Frame::data(Bytes::from(word))), words))
    });
    Ok(Response::new(StreamBody::new(frames).boxed_unsync()))
}

fn request(method: &str, path: &str, key: &str, body: &'static str) -> Request<client::Body> {
    Request::builder()
        .method(method)
        .uri(format!("https://client.example{path}"))
        .header("x-api-key", key)
        .header("te", "trailers")
        .body(client::full(body))
        .unwrap()
}

/// What came of the request that was handed back.
async fn resent(host: &str, later: &'static [u8]) -> (Upstream, Seen) {
    let upstream = Upstream::start(later).await;
    let text = format!(
        "[upstreams.genesis]\nurls = [\"https://127.0.0.1:{}\"]\ntls_roots_file = {:?}\nhttp2 = true\nhost = {host:?}\n{}",
        upstream.address.port(),
        upstream.certificate.certificate_file,
        route("rest", "/", "genesis", "api"),
    );
    let deployment = Deployment::with_routes(Engine::Sqlite, &text).await;
    let key = deployment.key("ci", &[]).plain;
    let gateway = deployment.start().await;
    // One connection, and so one worker.
    let target = deployment.target(&gateway, None);
    let mut connection = target.connect(Mode::TlsHttp2).await;
    let mut held = connection.send(request("GET", "/hold", &key, "")).await;
    assert_eq!(held.status(), 200);
    upstream.state.goaway.notify_one();
    let mut said = upstream.state.said_goaway.subscribe();
    within("GOAWAY", said.wait_for(|said| *said)).await.unwrap();
    // What follows GOAWAY on the connection has come, so that has come too.
    upstream.state.words.send("after").unwrap();
    let word = within("a word", held.body_mut().frame()).await;
    assert_eq!(word.unwrap().unwrap().into_data().unwrap(), "after");
    let again = connection.send(request("POST", "/again?x=%2f", &key, "{}"));
    let answer = within("an answer", again).await;
    assert_eq!(answer.status(), 200);
    let seen = upstream.state.seen.borrow().clone();
    assert_eq!(seen.len(), 2, "sent once: {seen:#?}");
    (upstream, seen[1].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_http2_hands_back_goes_to_the_same_host() {
    let http2: (&[u8], _) = (b"h2", Version::HTTP_2);
    for (later, version) in [http2, (b"http/1.1", Version::HTTP_11)] {
        let (_upstream, seen) = resent("preserve", later).await;
        let expected = Seen {
            version,
            host: "client.example".to_owned(),
            target: "/again?x=%2f".to_owned(),
            te: "trailers".to_owned(),
            body: "{}".to_owned(),
        };
        assert_eq!(seen, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_http2_hands_back_goes_to_the_upstreams_own_host_where_that_is_wanted() {
    for later in [&b"h2"[..], b"http/1.1"] {
        let (upstream, seen) = resent("upstream", later).await;
        assert_eq!(seen.host, format!("127.0.0.1:{}", upstream.address.port()));
        assert_eq!(seen.target, "/again?x=%2f");
    }
}
