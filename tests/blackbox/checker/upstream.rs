//! The service behind the gateways. It remembers nothing, and judges what reaches it: what a gateway
//! let through although the client never saw the answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::ground::Ground;
use super::sockets;

/// The header in which a client says which key it used and when it began.
pub const CHECKED: &str = "x-checked";
pub const AT_ONCE: &str = "/api/at-once";
pub const EVENTS: &str = "/api/events";
pub const POLL: &str = "/api/poll";
pub const SOCKET: &str = "/api/socket";

/// Often enough to see what comes late.
pub const EVENT_EVERY: Duration = Duration::from_millis(20);
/// A long poll with no news.
const POLL_LASTS: Duration = Duration::from_secs(20);

type Body = UnsyncBoxBody<Bytes, Infallible>;

pub async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub async fn serve(listener: TcpListener, ground: Arc<Ground>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        stream.set_nodelay(true).unwrap();
        let ground = Arc::clone(&ground);
        connections.spawn(async move {
            let service = service_fn(move |request| respond(Arc::clone(&ground), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Killed gateways leave in the middle.
            drop(connection.with_upgrades().await);
        });
    }
}

async fn respond(
    ground: Arc<Ground>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (key, begun) = checked(&request).expect("every client says what it sent");
    ground.judge_relayed(key, begun);
    if request.uri().path() == SOCKET {
        return Ok(socket(ground, key, request));
    }
    let body = match request.uri().path() {
        EVENTS => events(ground),
        POLL => {
            tokio::time::sleep(POLL_LASTS).await;
            Full::new(Bytes::from_static(b"no news")).boxed_unsync()
        }
        _ => Full::new(Bytes::from_static(b"here you are")).boxed_unsync(),
    };
    let mut response = Response::new(body);
    if request.uri().path() == EVENTS {
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(response)
}

fn socket(ground: Arc<Ground>, key: usize, mut request: Request<Incoming>) -> Response<Body> {
    let wanted = request.headers()[header::SEC_WEBSOCKET_KEY].as_bytes();
    let accept = HeaderValue::from_str(&derive_accept_key(wanted)).unwrap();
    // It ends with its connection.
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            sockets::answer(&ground, key, upgraded).await;
        }
    });
    let mut response = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
}

fn checked(request: &Request<Incoming>) -> Option<(usize, u64)> {
    let (key, begun) = request
        .headers()
        .get(CHECKED)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    Some((key.parse().ok()?, begun.parse().ok()?))
}

/// Events without end; each says when it was sent.
fn events(ground: Arc<Ground>) -> Body {
    let ticks = tokio::time::interval(EVENT_EVERY);
    let frames = stream::unfold((ground, ticks), |(ground, mut ticks)| async move {
        ticks.tick().await;
        let event = Bytes::from(event(ground.now()));
        Some((Ok(Frame::data(event)), (ground, ticks)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// An event, or a message, that says when it was sent.
pub fn event(now: u64) -> String {
    format!("data: {now:020}\n\n")
}

/// When the last whole event of a chunk was sent.
pub fn sent_at(chunk: &[u8]) -> Option<u64> {
    const BEFORE: &[u8] = b"data: ";
    let whole = BEFORE.len() + 20;
    let is_event = |part: &&[u8]| part.starts_with(BEFORE);
    let event = chunk.windows(whole).rev().find(is_event)?;
    std::str::from_utf8(&event[BEFORE.len()..])
        .ok()?
        .parse()
        .ok()
}
