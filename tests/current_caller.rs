//! What the store says anew of a caller holds for what is open: a rotated key's end, and a scope that a
//! demotion took, end streams, sockets and uploads on every gateway, and nothing else.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::cut_streams::{MODES, Open, gauge, mcp_stream, open, read_to_end, web_socket};
use crate::support::client::{self, Mode, Target};
use crate::support::deployment::{Deployment, Engine, Key, Process, route};
use crate::support::upstream::{Recorded, Upstream};
use crate::support::within;

/// How long the overlap of a rotation is here.
const OVERLAP: Duration = Duration::from_secs(3);
/// From the moment at which a caller may no longer go on to the end of what is open: one turn of the
/// worker's clock (250 ms) or one look-up, and a busy machine.
const ENDS_WITHIN: Duration = Duration::from_millis(1_500);

/// Everything that is open for one key on one gateway: what it read, and when it ended.
struct Streams(Vec<(&'static str, JoinHandle<(String, Instant)>)>);

/// A gateway whose `/sse` (MCP), `/ws` and `/echo` take the scope `manage`, and the rest `api`.
async fn deployment(engine: Engine, upstream: &Upstream) -> Deployment {
    let managed = |name: &str, path: &str| route(name, path, "genesis", "manage");
    let routes = format!(
        "[upstreams.genesis]\nurls = [\"http://{}\"]\nfirst_byte_timeout_ms = 0\n{}{}{}{}",
        upstream.plain,
        managed("events", "/sse").replace("mcp = false", "mcp = true"),
        managed("sockets", "/ws"),
        managed("uploads", "/echo"),
        route("rest", "/", "genesis", "api"),
    );
    let deployment = Deployment::with_routes(engine, &routes).await;
    let add = ["members", "add", "jiro@example.com", "--name", "Jiro"];
    deployment
        .run(&[&add[..], &["--role", "admin"]].concat())
        .ok();
    deployment
}

const EVERYTHING: [&str; 6] = ["--scope", "api", "--scope", "mcp", "--scope", "manage"];

/// A JSON-RPC request, which a stream answers.
const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#;

async fn open_all(upstream: &Upstream, target: &Target) -> Streams {
    let mut streams: Vec<(&'static str, JoinHandle<(String, Instant)>)> = Vec::new();
    for mode in MODES {
        let events = read_to_end(mcp_stream(upstream, target, mode, CALL).await);
        streams.push(("events", tokio::spawn(broken(events))));
        streams.push((
            "upload",
            tokio::spawn(broken(upload(upstream, target, mode).await)),
        ));
    }
    let mut socket = web_socket(target).await;
    socket.send(Message::text("hello")).await.unwrap();
    let echoed = socket.next().await.unwrap().unwrap();
    assert_eq!(echoed, Message::text("hello"));
    let closed = async move {
        let last = socket.next().await;
        let Some(Ok(Message::Close(Some(close)))) = last else {
            panic!("no close frame: {last:?}");
        };
        assert_eq!(close.code, CloseCode::Policy, "{close:?}");
        (close.reason.to_string(), Instant::now())
    };
    streams.push(("socket", tokio::spawn(closed)));
    Streams(streams)
}

async fn broken(reading: JoinHandle<(String, bool, Instant)>) -> (String, Instant) {
    let (read, clean, ended) = reading.await.unwrap();
    assert!(!clean, "a cut stream must not look complete: {read}");
    (read, ended)
}

/// An upload of which one chunk has come to the upstream, and no other will.
async fn upload(
    upstream: &Upstream,
    target: &Target,
    mode: Mode,
) -> JoinHandle<(String, bool, Instant)> {
    let before = upstream.requests().len();
    let chunk = Ok::<_, client::BoxError>(Frame::data(Bytes::from("part")));
    let chunks = stream::iter([chunk]).chain(stream::pending());
    let request = target.request(mode, "POST", "/echo");
    let request = request.body(StreamBody::new(chunks).boxed_unsync());
    let mut connection = target.connect(mode).await;
    let response = connection.send(request.unwrap()).await;
    assert_eq!(response.status(), 200);
    let came = |seen: &Vec<Recorded>| seen.get(before).is_some_and(|it| it.body_bytes == 4);
    upstream.wait_for("the chunk is there", came).await;
    read_to_end(Open {
        _connection: connection,
        response,
    })
}

impl Streams {
    /// All of them end after `from`, and not long after; what each was told.
    async fn end(self, from: Instant) -> Vec<(&'static str, String)> {
        let mut message = Vec::new();
        for (what, stream) in self.0 {
            let (read, ended) = within(what, stream).await.unwrap();
            let late = ended.saturating_duration_since(from);
            println!("{what}: ended {late:?} after it had to");
            assert!(late <= ENDS_WITHIN, "{what}: {late:?}");
            message.push((what, read));
        }
        message
    }

    fn go_on(&self) {
        for (what, stream) in &self.0 {
            assert!(!stream.is_finished(), "{what} ended");
        }
    }
}

async fn two(deployment: &Deployment) -> [Process; 2] {
    [deployment.start().await, deployment.start().await]
}

/// Rotates a key of hana's over the management API.
async fn rotate(gateway: &Process, key: &Key, by: &Key) {
    let url = format!(
        "http://{}/api/v1/keys/{}/rotation",
        gateway.address("admin"),
        key.id
    );
    let request = reqwest::Client::new().post(url).bearer_auth(&by.plain);
    let request = request
        .header("content-type", "application/json")
        .body(json!({ "overlap_s": OVERLAP.as_secs() }).to_string());
    let answer = within("the rotation", request.send()).await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}

async fn an_overlaps_end(engine: Engine) {
    let upstream = Upstream::start().await;
    let deployment = deployment(engine, &upstream).await;
    let (rotated, kept) = (
        deployment.key("rotated", &EVERYTHING),
        deployment.key("kept", &EVERYTHING),
    );
    let gateways = two(&deployment).await;
    let (mut theirs, mut others) = (Vec::new(), Vec::new());
    for gateway in &gateways {
        let target = deployment.target(gateway, Some(&rotated.plain));
        theirs.push(open_all(&upstream, &target).await);
        let target = deployment.target(gateway, Some(&kept.plain));
        others.push(open_all(&upstream, &target).await);
    }
    rotate(&gateways[0], &rotated, &kept).await;
    let end = Instant::now() + OVERLAP;
    theirs.iter().for_each(Streams::go_on);
    upstream.send_event("within the overlap");
    for streams in theirs {
        for (what, read) in streams.end(end).await {
            if what == "events" {
                assert!(read.contains("within the overlap"), "{read}");
                assert!(
                    read.contains("The API key was replaced by a new one"),
                    "{read}"
                );
            }
            let message = "the API key was replaced by a new one, and their overlap has ended";
            assert!(what != "socket" || message == read, "{read}");
        }
    }
    others.iter().for_each(Streams::go_on);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_ends_with_the_overlap_of_a_rotation_with_sqlite() {
    an_overlaps_end(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_ends_with_the_overlap_of_a_rotation_with_postgresql() {
    an_overlaps_end(Engine::Postgres).await;
}

async fn a_lost_scope(engine: Engine) {
    let upstream = Upstream::start().await;
    let deployment = deployment(engine, &upstream).await;
    let his = deployment.key_of("jiro@example.com", "his", &EVERYTHING);
    let hers = deployment.key("hers", &EVERYTHING);
    let gateways = two(&deployment).await;
    let (mut theirs, mut others, mut polls) = (Vec::new(), Vec::new(), Vec::new());
    for gateway in &gateways {
        let target = deployment.target(gateway, Some(&his.plain));
        theirs.push(open_all(&upstream, &target).await);
        // The same key where it keeps its scope.
        let before = upstream.requests().len();
        polls.push(tokio::spawn(async move {
            open(&target, Mode::Http1, "/slow").await.response.status()
        }));
        let came = |seen: &Vec<Recorded>| seen.len() > before;
        upstream.wait_for("the poll waits upstream", came).await;
        let target = deployment.target(gateway, Some(&hers.plain));
        others.push(open_all(&upstream, &target).await);
    }
    let demote = ["members", "role", "jiro@example.com", "member"];
    deployment.run_beside(&demote).await.ok();
    let demoted = Instant::now();
    upstream.send_event("after");
    for streams in theirs {
        for (what, read) in streams.end(demoted).await {
            assert!(!read.contains("after"), "{what}: {read}");
            if what == "events" {
                assert!(read.contains("The API key may no longer do this"), "{read}");
            }
            let message = ["the API key may no longer do this"];
            assert!(what != "socket" || message.contains(&&*read), "{read}");
        }
    }
    others.iter().for_each(Streams::go_on);
    for poll in polls {
        assert!(!poll.is_finished());
        upstream.open_gate();
        assert_eq!(within("the poll", poll).await.unwrap(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_ends_where_a_demotion_took_its_scope_with_sqlite() {
    a_lost_scope(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_ends_where_a_demotion_took_its_scope_with_postgresql() {
    a_lost_scope(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_still_waits_for_the_head_is_told_that_the_scope_is_missing() {
    let routes = route("rest", "/", "genesis", "manage");
    a_demotion_while_waiting(&routes, "lacks the scope `manage`").await;
}

/// The scope of a route for which another reader could take the path is asked for as long as that of the
/// route itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_scope_of_a_route_that_the_path_resembles_is_asked_for_again_too() {
    let routes = [
        route("strict", "/SLOW", "genesis", "manage"),
        route("rest", "/", "genesis", "api"),
    ];
    a_demotion_while_waiting(&routes.concat(), "could be taken for that of another route").await;
}

async fn a_demotion_while_waiting(routes: &str, words: &str) {
    let upstream = Upstream::start().await;
    let routes = format!(
        "[upstreams.genesis]\nurls = [\"http://{}\"]\nfirst_byte_timeout_ms = 0\n{routes}",
        upstream.plain,
    );
    let deployment = Deployment::with_routes(Engine::Sqlite, &routes).await;
    let add = ["members", "add", "jiro@example.com", "--name", "Jiro"];
    deployment
        .run(&[&add[..], &["--role", "admin"]].concat())
        .ok();
    let his = deployment.key_of("jiro@example.com", "his", &EVERYTHING);
    let gateway = deployment.start().await;
    let mut waiting = Vec::new();
    for mode in MODES {
        let (target, before) = (
            deployment.target(&gateway, Some(&his.plain)),
            upstream.requests().len(),
        );
        waiting.push(tokio::spawn(async move {
            let answer = open(&target, mode, "/slow").await.response;
            let status = answer.status();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }));
        let came = |seen: &Vec<Recorded>| seen.len() > before;
        upstream.wait_for("it waits upstream", came).await;
    }
    let demote = ["members", "role", "jiro@example.com", "member"];
    deployment.run_beside(&demote).await.ok();
    for waiting in waiting {
        let (status, body) = within("the answer", waiting).await.unwrap();
        assert_eq!(status, 403, "{body}");
        assert!(body.contains(words), "{body}");
    }
}

/// A client that reads nothing is reset when its key's time is over, as it is when the key is revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_reset_at_its_keys_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let upstream = Upstream::start().await;
    let deployment = deployment(Engine::Sqlite, &upstream).await;
    let gateway = deployment.start().await;
    let key = deployment.key("short", &["--expires", "3s"]);
    let address = gateway.address("plain");
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /bytes/1073741824 HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {}\r\n\r\n",
        key.plain
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 1_000];
    socket.read_exact(&mut buffer).await.unwrap();
    let closed = async { while gauge(&gateway, "http_server_open_connections").await > 0.0 {} };
    within("the connection ends", closed).await;
}
