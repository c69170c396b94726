//! What is open when its key is revoked ends: streams of every kind, both ways, on every instance.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::client::{self, Connection, Mode, Target};
use crate::support::deployment::{Deployment, Engine, Key, Process, route};
use crate::support::postgres::Server;
use crate::support::upstream::Upstream;
use crate::support::within;

/// The promise: no byte later than this after the revocation returned.
const CUT_WITHIN: Duration = Duration::from_millis(100);
pub(crate) const MODES: [Mode; 2] = [Mode::Http1, Mode::TlsHttp2];

/// A gateway whose `/sse` speaks MCP in one deployment, and is any event stream in another.
async fn deployment(engine: Engine, upstream: &Upstream, sse_scope: &str) -> Deployment {
    let routes = format!(
        "[upstreams.genesis]\nurls = [\"http://{}\"]\nfirst_byte_timeout_ms = 0\n{}{}",
        upstream.plain,
        route("events", "/sse", "genesis", sse_scope),
        route("rest", "/", "genesis", "api"),
    );
    Deployment::with_routes(engine, &routes).await
}

/// A connection that is kept with what it carries: dropped, it would be a client that left.
pub(crate) struct Open {
    pub(crate) _connection: Connection,
    pub(crate) response: Response<Incoming>,
}

pub(crate) async fn open(target: &Target, mode: Mode, path: &str) -> Open {
    let mut connection = target.connect(mode).await;
    let request = target.request(mode, "GET", path).body(client::empty());
    let response = connection.send(request.unwrap()).await;
    Open {
        _connection: connection,
        response,
    }
}

/// An event stream of which one event has come.
pub(crate) async fn event_stream(upstream: &Upstream, target: &Target, mode: Mode) -> Open {
    let mut open = open(target, mode, "/sse").await;
    assert_eq!(open.response.status(), 200);
    upstream.send_event("before");
    let first = within("an event", open.response.body_mut().frame()).await;
    assert_eq!(text(first.unwrap().unwrap()), "data: before\n\n");
    open
}

pub(crate) fn text(frame: Frame<Bytes>) -> String {
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

/// Reads a body to its end: what came, whether the end was clean, and when it was.
pub(crate) fn read_to_end(open: Open) -> JoinHandle<(String, bool, Instant)> {
    tokio::spawn(async move {
        // The whole of it: a block takes of a structure only what it names, and the connection ends.
        let mut open = open;
        let mut read = String::new();
        let clean = loop {
            match open.response.body_mut().frame().await {
                Some(Ok(frame)) => read += &text(frame),
                Some(Err(_broken)) => break false,
                None => break true,
            }
        };
        (read, clean, Instant::now())
    })
}

/// Revokes, and returns the receipt and when the command had returned.
async fn revoke(deployment: &Deployment, arguments: &[&str]) -> (Value, Instant) {
    let done = deployment
        .run_beside(&[arguments, &["--output", "json"]].concat())
        .await;
    let returned = Instant::now();
    (serde_json::from_str(&done.ok()).unwrap(), returned)
}

async fn revoke_key(deployment: &Deployment, key: &Key) -> (Value, Instant) {
    revoke(deployment, &["keys", "revoke", &key.id]).await
}

fn in_time(what: &str, returned: Instant, ended: Instant) {
    let late = ended.saturating_duration_since(returned);
    println!("{what}: ended {late:?} after the command had returned");
    assert!(late <= CUT_WITHIN, "{what}: {late:?}");
}

async fn streams_end(engine: Engine) {
    let upstream = Upstream::start().await;
    let deployment = deployment(engine, &upstream, "api").await;
    let (key, other) = (deployment.key("ci", &[]), deployment.key("other", &[]));
    let gateways = [deployment.start().await, deployment.start().await];
    let mut theirs = Vec::new();
    let mut kept = Vec::new();
    for gateway in &gateways {
        for mode in MODES {
            let target = deployment.target(gateway, Some(&key.plain));
            theirs.push(read_to_end(event_stream(&upstream, &target, mode).await));
            let target = deployment.target(gateway, Some(&other.plain));
            kept.push(event_stream(&upstream, &target, mode).await);
        }
    }
    let (receipt, returned) = revoke_key(&deployment, &key).await;
    upstream.send_event("after");
    for stream in theirs {
        let (read, clean, ended) = within("the stream ends", stream).await.unwrap();
        in_time("an event stream", returned, ended);
        assert!(!clean, "a cut stream must not look complete");
        assert!(!read.contains("after"), "{read}");
    }
    for stream in &mut kept {
        // Events of streams that were opened later came before it.
        let after = async {
            while text(stream.response.body_mut().frame().await.unwrap().unwrap())
                != "data: after\n\n"
            {}
        };
        within("other keys' streams go on", after).await;
    }
    assert_eq!(receipt["streams_cut"], 4, "{receipt:#}");
    assert_eq!(receipt["instances"].as_array().unwrap().len(), 2);
    for instance in receipt["instances"].as_array().unwrap() {
        assert_eq!(instance["result"], "acknowledged", "{receipt:#}");
        assert_eq!(instance["streams_cut"], 2, "{receipt:#}");
    }
    assert!(receipt["last_accepted_at"].is_string(), "{receipt:#}");
    assert_eq!(gateways[0].metric("genkan_streams_cut_total").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_end_on_every_instance_and_others_go_on_with_sqlite() {
    streams_end(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_end_on_every_instance_and_others_go_on_with_postgresql() {
    streams_end(Engine::Postgres).await;
}

/// An event stream that answers the JSON-RPC messages in `body`, of which one event has come.
pub(crate) async fn mcp_stream(
    upstream: &Upstream,
    target: &Target,
    mode: Mode,
    body: &str,
) -> Open {
    let mut connection = target.connect(mode).await;
    let request = target
        .request(mode, "POST", "/sse")
        .header("content-type", "application/json")
        .body(client::full(body.to_owned()));
    let response = connection.send(request.unwrap()).await;
    let mut open = Open {
        _connection: connection,
        response,
    };
    assert_eq!(open.response.status(), 200);
    upstream.send_event(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#);
    let first = within("an event", open.response.body_mut().frame()).await;
    assert!(text(first.unwrap().unwrap()).contains("progress"));
    open
}

/// The JSON-RPC messages of an event stream: `event: message`, then one line of data.
fn messages(read: &str) -> Vec<Value> {
    let events = read.split("\n\n").filter(|event| !event.is_empty());
    let data = events.map(|event| event.split_once("data: ").expect("data").1);
    data.map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mcp_client_gets_an_error_for_each_request_that_has_no_response() {
    let upstream = Upstream::start().await;
    let deployment = deployment(Engine::Sqlite, &upstream, "mcp").await;
    let gateway = deployment.start().await;
    let padding = "x".repeat(200_000);
    for mode in MODES {
        let key = deployment.key("mcp", &[]);
        let target = deployment.target(&gateway, Some(&key.plain));
        let open = async |body: &str| read_to_end(mcp_stream(&upstream, &target, mode, body).await);
        let number = open(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#).await;
        // As the Python SDK writes it: the id is last.
        let late =
            format!(r#"{{"method":"tools/call","params":{{"id":1,"a":"{padding}"}},"id":"late"}}"#);
        let late = open(&late).await;
        let batch = open(r#"[{"id":1,"method":"a"},{"id":2,"method":"b"},{"method":"c"}]"#).await;
        let notification = open(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        let get = read_to_end(event_stream(&upstream, &target, mode).await);
        // Every stream gets it; in one of them it answers a request.
        upstream.send_event(r#"{"jsonrpc":"2.0","id":1,"result":{"id":2}}"#);
        let (_receipt, returned) = revoke_key(&deployment, &key).await;
        let last = async |stream: JoinHandle<(String, bool, Instant)>| {
            let (read, clean, ended) = within("the stream ends", stream).await.unwrap();
            in_time("an MCP event stream", returned, ended);
            assert!(!clean, "a cut stream must not look complete");
            let errors = messages(&read.replace("data: before\n\n", "")).into_iter();
            errors
                .filter(|it| it.get("error").is_some())
                .collect::<Vec<_>>()
        };
        for (stream, id) in [
            (number, Value::from(7)),
            (late, "late".into()),
            (batch, 2.into()),
        ] {
            let errors = last(stream).await;
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert_eq!(errors[0]["jsonrpc"], "2.0");
            assert_eq!(errors[0]["id"], id);
            assert_eq!(errors[0]["error"]["code"], -32_003);
            assert_eq!(errors[0]["error"]["message"], "The API key was revoked");
        }
        // A client would reject an error that answers none of its requests.
        for stream in [notification, get] {
            assert_eq!(last(stream).await, Vec::<Value>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mcp_stream_whose_key_expires_says_so() {
    let upstream = Upstream::start().await;
    let deployment = deployment(Engine::Sqlite, &upstream, "mcp").await;
    let gateway = deployment.start().await;
    let key = deployment.key("mcp", &["--expires", "3s"]);
    let target = deployment.target(&gateway, Some(&key.plain));
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#;
    let stream = read_to_end(mcp_stream(&upstream, &target, Mode::Http1, body).await);
    let (read, _clean, _ended) = within("the key expires", stream).await.unwrap();
    let errors = messages(&read);
    let error = errors.last().unwrap();
    assert_eq!(error["id"], 7);
    assert_eq!(error["error"]["message"], "The API key has expired");
}

pub(crate) async fn web_socket(
    target: &Target,
) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
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
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_is_closed_as_against_policy() {
    let upstream = Upstream::start().await;
    let deployment = deployment(Engine::Sqlite, &upstream, "api").await;
    let key = deployment.key("ci", &[]);
    let gateway = deployment.start().await;
    let mut socket = web_socket(&deployment.target(&gateway, Some(&key.plain))).await;
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
    let last = tokio::spawn(async move { (socket.next().await, Instant::now()) });
    let (receipt, returned) = revoke_key(&deployment, &key).await;
    let (last, ended) = within("the socket ends", last).await.unwrap();
    in_time("a WebSocket", returned, ended);
    let Some(Ok(Message::Close(Some(close)))) = last else {
        panic!("no close frame: {last:?}");
    };
    assert_eq!(close.code, CloseCode::Policy, "1008");
    assert_eq!(close.reason, "the API key was revoked");
    assert_eq!(receipt["streams_cut"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_answered_that_the_key_is_not_valid() {
    let upstream = Upstream::start().await;
    let deployment = deployment(Engine::Sqlite, &upstream, "api").await;
    let gateway = deployment.start().await;
    for mode in MODES {
        let key = deployment.key("ci", &[]);
        let target = deployment.target(&gateway, Some(&key.plain));
        let before = upstream.requests().len();
        let poll =
            tokio::spawn(async move { (open(&target, mode, "/slow").await, Instant::now()) });
        let arrived = |records: &Vec<_>| records.len() > before;
        upstream.wait_for("the poll waits upstream", arrived).await;
        let (_receipt, returned) = revoke_key(&deployment, &key).await;
        let (answer, ended) = within("the poll ends", poll).await.unwrap();
        in_time("a long poll", returned, ended);
        assert_eq!(answer.response.status(), 401, "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_breaks_off_and_upstream_does_not_take_it_for_whole() {
    let upstream = Upstream::start().await;
    let deployment = deployment(Engine::Sqlite, &upstream, "api").await;
    let gateway = deployment.start().await;
    for mode in MODES {
        let key = deployment.key("ci", &[]);
        let target = deployment.target(&gateway, Some(&key.plain));
        let before = upstream.requests().len();
        // One chunk, and never another.
        let chunks = stream::iter([Ok::<_, client::BoxError>(Frame::data(Bytes::from("part")))])
            .chain(stream::pending());
        let request = target.request(mode, "POST", "/echo");
        let request = request
            .body(StreamBody::new(chunks).boxed_unsync())
            .unwrap();
        let mut connection = target.connect(mode).await;
        let response = connection.send(request).await;
        let uploaded = |records: &Vec<crate::support::upstream::Recorded>| {
            records.get(before).is_some_and(|it| it.body_bytes == 4)
        };
        upstream.wait_for("the chunk is there", uploaded).await;
        let echo = read_to_end(Open {
            _connection: connection,
            response,
        });
        let (_receipt, returned) = revoke_key(&deployment, &key).await;
        let (read, clean, ended) = within("the echo ends", echo).await.unwrap();
        in_time("an upload", returned, ended);
        assert_eq!((read.as_str(), clean), ("part", false));
        let let_go =
            |records: &Vec<crate::support::upstream::Recorded>| records[before].answer_dropped;
        upstream.wait_for("upstream is left", let_go).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_reset_and_gets_no_more() {
    let upstream = Upstream::start().await;
    let deployment = deployment(Engine::Sqlite, &upstream, "api").await;
    let key = deployment.key("ci", &[]);
    let gateway = deployment.start().await;
    let mut socket = TcpStream::connect(gateway.address("plain")).await.unwrap();
    let bytes = 1_u64 << 30;
    let head = format!(
        "GET /bytes/{bytes} HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {}\r\n\r\n",
        key.plain
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 64 * 1024];
    socket.read_exact(&mut buffer[..1_000]).await.unwrap();
    // From here on nothing is read: gateway and kernel fill up, until upstream's sending stands still.
    let (receipt, returned) = revoke_key(&deployment, &key).await;
    assert_eq!(receipt["streams_cut"], 1);
    let closed = async {
        while gauge(&gateway, "http_server_open_connections").await > 0.0 {}
        Instant::now()
    };
    in_time(
        "a stalled download",
        returned,
        within("the connection ends", closed).await,
    );
    let mut read = 1_000;
    let error = loop {
        match socket.read(&mut buffer).await {
            Ok(0) => panic!("a clean end after {read} bytes"),
            Ok(more) => read += more,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(
        (read as u64) < bytes / 2,
        "{read} bytes were still delivered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_and_the_red_button_end_streams_too() {
    let upstream = Upstream::start().await;
    let deployment = deployment(Engine::Sqlite, &upstream, "api").await;
    let add = [
        "members",
        "add",
        "jiro@example.com",
        "--name",
        "Jiro",
        "--role",
        "member",
    ];
    deployment.run(&add).ok();
    let his = deployment.key_of("jiro@example.com", "his", &[]);
    let hers = deployment.key("hers", &[]);
    let gateway = deployment.start().await;
    let stream = async |key: &Key| {
        let target = deployment.target(&gateway, Some(&key.plain));
        event_stream(&upstream, &target, Mode::Http1).await
    };
    let (his, hers) = (
        read_to_end(stream(&his).await),
        read_to_end(stream(&hers).await),
    );
    let (receipt, returned) = revoke(&deployment, &["members", "remove", "jiro@example.com"]).await;
    let (_, clean, ended) = within("his stream ends", his).await.unwrap();
    in_time("a stream of who left", returned, ended);
    assert_eq!((clean, &receipt["streams_cut"]), (false, &Value::from(1)));
    let (receipt, returned) = revoke(&deployment, &["keys", "revoke-all", "--everybody"]).await;
    let (_, clean, ended) = within("her stream ends", hers).await.unwrap();
    in_time("a stream when all keys are revoked", returned, ended);
    assert_eq!((clean, &receipt["streams_cut"]), (false, &Value::from(1)));
    assert!(receipt["last_accepted_at"].is_string(), "{receipt:#}");
}

pub(crate) async fn gauge(gateway: &Process, name: &str) -> f64 {
    let metrics = gateway.operators("/metrics").await.into_body();
    let line = metrics.lines().find_map(|it| it.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_freezes_while_the_lease_is_out_and_goes_on_or_is_cut() {
    let upstream = Upstream::start().await;
    let deployment = deployment(Engine::Sqlite, &upstream, "api").await;
    let server = Server::start_private();
    let url = server.database("genkan").await;
    let config = std::fs::read_to_string(deployment.config()).unwrap();
    let store = config
        .lines()
        .find(|line| line.starts_with("sqlite = "))
        .unwrap();
    let config = config.replace(store, &format!("postgres = {url:?}"));
    std::fs::write(deployment.config(), config + "[limits]\nlease_ms = 1_000\n").unwrap();
    deployment.run(&["init"]).ok();
    deployment.run(&["organizations", "create", "Story"]).ok();
    let owner = [
        "members",
        "add",
        "hana@example.com",
        "--name",
        "Hana",
        "--role",
        "owner",
    ];
    deployment.run(&owner).ok();
    let (kept, lost) = (deployment.key("kept", &[]), deployment.key("lost", &[]));
    let gateway = deployment.start().await;
    let stream = async |key: &Key| {
        let target = deployment.target(&gateway, Some(&key.plain));
        event_stream(&upstream, &target, Mode::Http1).await
    };
    let (mut kept, lost_stream) = (stream(&kept).await, read_to_end(stream(&lost).await));
    // The event of the second stream's beginning came here too.
    within("an event", kept.response.body_mut().frame())
        .await
        .unwrap()
        .unwrap();
    server.stop();
    let out = async { while gauge(&gateway, "genkan_lease_left_seconds").await > 0.0 {} };
    within("the lease is out", out).await;
    assert_eq!(gateway.operators("/readyz").await.status(), 503);
    upstream.send_event("frozen");
    // While it is frozen nothing comes; what is asked of the gateway meanwhile shows that it works.
    let body = kept.response.body_mut();
    tokio::select! {
        frame = body.frame() => panic!("it came through: {frame:?}"),
        answer = gateway.operators("/healthz") => assert_eq!(answer.status(), 200),
    }
    server.start();
    // Of the two, one is revoked before the gateway can follow again or right after: either way it
    // never gets another byte once that has returned.
    let frame = within("the stream goes on", kept.response.body_mut().frame()).await;
    assert_eq!(text(frame.unwrap().unwrap()), "data: frozen\n\n");
    let (_receipt, returned) = revoke_key(&deployment, &lost).await;
    upstream.send_event("after");
    let (read, clean, ended) = within("the other is cut", lost_stream).await.unwrap();
    in_time("a stream that was frozen", returned, ended);
    assert!(!clean && !read.contains("after"), "{read}");
}
