//! Bodies stream both ways, nothing is held back, and no end is made up.
//!
//! Each story is a function of its target: run at the upstream itself, which shows that the story
//! can be told, and through genkan.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::client::{self, Connection, Mode, Target};
use crate::support::deployment::OneGateway;
use crate::support::upstream::Upstream;
use crate::support::within;

const GIBIBYTE: u64 = 1 << 30;
const MEBIBYTE: u64 = 1 << 20;
const MODES: [Mode; 2] = [Mode::Http1, Mode::TlsHttp2];

/// Tells one story at the upstream itself, and once more through genkan.
macro_rules! story {
    ($name:ident, $story:ident) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn at_the_upstream_itself() {
                let upstream = Upstream::start().await;
                for mode in MODES {
                    within(
                        stringify!($name),
                        $story(&upstream, &upstream.target(), mode),
                    )
                    .await;
                }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn through_genkan() {
                let upstream = Upstream::start().await;
                let gateway = OneGateway::start(upstream.plain).await;
                for mode in MODES {
                    within(
                        stringify!($name),
                        $story(&upstream, &gateway.target(), mode),
                    )
                    .await;
                }
            }
        }
    };
}

async fn get(connection: &mut Connection, target: &Target, mode: Mode, path: &str) -> Incoming {
    let request = target.request(mode, "GET", path).body(client::empty());
    let response = connection.send(request.unwrap()).await;
    assert_eq!(response.status(), 200);
    response.into_body()
}

story!(events_flow_one_by_one_and_headers_at_once, events);
async fn events(upstream: &Upstream, target: &Target, mode: Mode) {
    let mut connection = target.connect(mode).await;
    // The head has to arrive before there is any event: none is sent until it has.
    let mut body = get(&mut connection, target, mode, "/sse").await;
    for event in ["one", "two", "three"] {
        upstream.send_event(event);
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, format!("data: {event}\n\n"));
    }
}

story!(a_client_that_leaves_cancels_upstream, leaving);
async fn leaving(upstream: &Upstream, target: &Target, mode: Mode) {
    let before = upstream.requests().len();
    let mut connection = target.connect(mode).await;
    let mut body = get(&mut connection, target, mode, "/sse").await;
    upstream.send_event("one");
    body.frame().await.unwrap().unwrap();
    assert!(!upstream.requests()[before].answer_dropped);
    drop(body);
    drop(connection);
    let dropped = |records: &Vec<_>| answer_dropped(records, before);
    upstream.wait_for("upstream is cancelled", dropped).await;
}

fn answer_dropped(records: &[crate::support::upstream::Recorded], index: usize) -> bool {
    records[index].answer_dropped
}

story!(what_is_sent_comes_back_unchanged, echo);
async fn echo(_: &Upstream, target: &Target, mode: Mode) {
    let mut connection = target.connect(mode).await;
    let sent = Bytes::from((0..MEBIBYTE).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let request = target
        .request(mode, "POST", "/echo")
        .body(client::full(sent.clone()));
    let response = connection.send(request.unwrap()).await;
    let received = response.into_body().collect().await.unwrap().to_bytes();
    assert!(received == sent, "the echo differs");
}

story!(trailers_arrive, trailers);
async fn trailers(_: &Upstream, target: &Target, mode: Mode) {
    let mut connection = target.connect(mode).await;
    let request = target
        .request(mode, "GET", "/trailers")
        .header("te", "trailers")
        .body(client::empty());
    let response = connection.send(request.unwrap()).await;
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-checksum"], "abc");
}

story!(head_has_the_length_and_no_body, head);
async fn head(_: &Upstream, target: &Target, mode: Mode) {
    let mut connection = target.connect(mode).await;
    let request = target.request(mode, "HEAD", "/bytes/1000");
    let response = connection
        .send(request.body(client::empty()).unwrap())
        .await;
    assert_eq!(response.headers()["content-length"], "1000");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.is_empty());
    // The connection is still in step: a next request gets its own answer.
    let body = get(&mut connection, target, mode, "/bytes/10").await;
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 10);
}

story!(a_cut_body_never_ends_cleanly, cut);
async fn cut(_: &Upstream, target: &Target, mode: Mode) {
    for path in ["/cut", "/cut-with-length"] {
        let mut connection = target.connect(mode).await;
        let body = get(&mut connection, target, mode, path).await;
        assert!(body.collect().await.is_err(), "{path} had a clean end");
    }
}

story!(web_socket_messages_are_echoed, web_socket);
async fn web_socket(_: &Upstream, target: &Target, _: Mode) {
    // The upgrade of HTTP/1.1; over HTTP/2 it is another mechanism (RFC 8441).
    let mut connection = target.connect(Mode::Http1).await;
    let request = target
        .request(Mode::Http1, "GET", "/ws")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(client::empty());
    let response = connection.send(request.unwrap()).await;
    assert_eq!(response.status(), 101);
    // RFC 6455 section 1.3 computes this very answer.
    let accept = &response.headers()["sec-websocket-accept"];
    assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    for text in ["hello", "again"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
}

story!(a_body_is_sent_after_100_continue, expect_continue);
async fn expect_continue(_: &Upstream, target: &Target, _: Mode) {
    // By hand: a client library would send the body unasked after a while.
    let mut stream = TcpStream::connect(target.plain).await.unwrap();
    let key = target.key.as_ref();
    let key = key.map_or(String::new(), |key| format!("x-api-key: {key}\r\n"));
    let head = format!(
        "POST /sink HTTP/1.1\r\nHost: {}\r\n{key}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        target.plain
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(b"hello").await.unwrap();
    read_until(&mut stream, "\r\n\r\n5").await;
}

async fn read_until(stream: &mut TcpStream, end: &str) {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let byte = stream.read_u8().await;
        read.push(
            byte.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&read))
            }),
        );
    }
}

/// Sends and fetches `bytes` each way, without holding them.
async fn up_and_down(target: &Target, mode: Mode, bytes: u64) {
    let mut connection = target.connect(mode).await;
    let chunk = Bytes::from(vec![0; 1 << 20]);
    let chunks = stream::iter(0..bytes / MEBIBYTE)
        .map(move |_| Ok::<_, client::BoxError>(Frame::data(chunk.clone())));
    let upload = target
        .request(mode, "POST", "/sink")
        .body(StreamBody::new(chunks).boxed_unsync());
    let response = connection.send(upload.unwrap()).await;
    let counted = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(counted, bytes.to_string());

    let mut body = get(&mut connection, target, mode, &format!("/bytes/{bytes}")).await;
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        received += frame.unwrap().data_ref().map_or(0, Bytes::len) as u64;
    }
    assert!(body.is_end_stream());
    assert_eq!(received, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_pass_at_the_upstream_itself() {
    let upstream = Upstream::start().await;
    for mode in MODES {
        up_and_down(&upstream.target(), mode, 16 * MEBIBYTE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_each_way_leaves_the_gateway_under_64_mib() {
    let upstream = Upstream::start().await;
    let gateway = OneGateway::start(upstream.plain).await;
    for mode in MODES {
        up_and_down(&gateway.target(), mode, GIBIBYTE).await;
        let resident = gateway.process.resident_bytes_peak();
        assert!(resident < 64 * MEBIBYTE, "{mode:?}: {resident} bytes");
    }
}
