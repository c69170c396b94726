//! SIGTERM under load: what was accepted is answered, what cannot end in time is cut and counted.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::client::{self, Connection, Mode, Target};
use crate::support::deployment::{Deployment, Engine, Process, field};
use crate::support::upstream::Upstream;
use crate::support::within;

const CONNECTIONS: usize = 8;
/// Answers that each client has before the end begins.
const WARM: usize = 50;
/// Connections that wait in the kernel's queue when the end comes.
const WAITING: usize = 20;

/// What one client met.
#[derive(Debug, Default)]
struct Met {
    answered: usize,
    /// Told that no more requests are taken here, before one was lost.
    told_to_leave: bool,
    failed: Vec<String>,
}

/// Sends one request after the other until it is told to leave.
async fn until_told(target: Target, mode: Mode, begun: watch::Sender<usize>) -> Met {
    let mut connection = target.connect(mode).await;
    let mut met = Met::default();
    loop {
        let request = target.request(mode, "POST", "/echo");
        let request = request.body(client::full("some words")).unwrap();
        let response = match connection.try_send(request).await {
            Ok(response) => response,
            // GOAWAY: this stream was never opened, and its request may be sent elsewhere.
            Err(error) if mode == Mode::TlsHttp2 && never_begun(&error) => {
                met.told_to_leave = true;
                return met;
            }
            Err(error) => {
                met.failed.push(format!("{error:?}"));
                return met;
            }
        };
        let (status, closes) = (response.status(), closes(&response));
        let body = response.into_body().collect().await;
        match body.map(http_body_util::Collected::to_bytes) {
            Ok(body) if status == 200 && body == "some words" => met.answered += 1,
            other => met.failed.push(format!("{status} {other:?}")),
        }
        if met.answered == WARM {
            begun.send_modify(|clients| *clients += 1);
        }
        if closes {
            met.told_to_leave = true;
            return met;
        }
    }
}

fn closes<B>(response: &http::Response<B>) -> bool {
    let connection = response.headers().get(http::header::CONNECTION);
    connection.is_some_and(|value| value == "close")
}

fn never_begun(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed() || format!("{error:?}").contains("NO_ERROR")
}

async fn get(connection: &mut Connection, target: &Target, path: &str) -> http::StatusCode {
    let request = target
        .request(Mode::Http1, "GET", path)
        .body(client::empty());
    let response = connection.try_send(request.unwrap()).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

fn ended(gateway: &Process) -> (String, String) {
    let lines = gateway.stderr();
    let line = lines.iter().find(|line| field(line, "message") == "ended");
    let line = line.unwrap_or_else(|| panic!("the end is not in the log: {lines:#?}"));
    (field(line, "finished"), field(line, "cut"))
}

async fn says(gateway: &mut Process, message: &str) {
    let said = |line: &str| field(line, "message").contains(message);
    gateway.stderr_line(message, said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_no_request_that_was_accepted_fails() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let key = deployment.key("ci", &[]);
    let mut gateway = deployment.start().await;
    let target = deployment.target(&gateway, Some(&key.plain));
    let (begun, mut clients) = watch::channel(0);
    let mut load = JoinSet::new();
    for number in 0..2 * CONNECTIONS {
        let mode = if number % 2 == 0 {
            Mode::Http1
        } else {
            Mode::TlsHttp2
        };
        load.spawn(until_told(target.clone(), mode, begun.clone()));
    }
    // One request is under way when the end begins, and is answered after it.
    let slow = tokio::spawn({
        let target = target.clone();
        async move { get(&mut target.connect(Mode::Http1).await, &target, "/slow").await }
    });
    let all = clients.wait_for(|clients| *clients == 2 * CONNECTIONS);
    within("every client is at work", all).await.unwrap();
    upstream
        .wait_for("the slow request is there", |requests| {
            requests.iter().any(|request| request.target == "/slow")
        })
        .await;

    gateway.signal(Signal::TERM);
    says(&mut gateway, "no more connections").await;
    upstream.open_gate();
    assert_eq!(within("the slow answer", slow).await.unwrap(), 200);
    let met = within("every client is told to leave", load.join_all()).await;
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
    let answered: usize = met.iter().map(|met| met.answered).sum();
    println!(
        "{answered} requests answered by the end; {:?}",
        ended(&gateway)
    );
    for met in &met {
        assert!(met.failed.is_empty() && met.told_to_leave, "{met:?}");
    }
    assert_eq!(ended(&gateway).1, "0", "nothing was cut");
    // Upstream saw what was answered, and nothing twice.
    assert_eq!(upstream.requests().len(), answered + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_in_time_is_cut_and_counted() {
    let upstream = Upstream::start().await;
    let limits = "[limits]\nshutdown_timeout_ms = 1_500\n";
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, limits).await;
    let key = deployment.key("ci", &[]);
    let mut gateway = deployment.start().await;
    let target = deployment.target(&gateway, Some(&key.plain));
    let mut events = target.connect(Mode::Http1).await;
    let request = target
        .request(Mode::Http1, "GET", "/sse")
        .body(client::empty());
    let mut events = events.send(request.unwrap()).await.into_body();
    let mut socket = web_socket(&target).await;
    let mut mcp = target.connect(Mode::Http1).await;
    let call = target
        .request(Mode::Http1, "POST", "/mcp/sse")
        .body(client::full(
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#,
        ));
    let mut mcp = mcp.send(call.unwrap()).await.into_body();
    let waiting = tokio::spawn({
        let target = target.clone();
        async move {
            let mut connection = target.connect(Mode::Http1).await;
            let request = target.request(Mode::Http1, "GET", "/slow");
            let answer = connection
                .send(request.body(client::empty()).unwrap())
                .await;
            (answer.status(), client::json(answer).await)
        }
    });
    upstream
        .wait_for("the slow request is there", |requests| {
            requests.iter().any(|request| request.target == "/slow")
        })
        .await;

    gateway.signal(Signal::TERM);
    says(&mut gateway, "no more connections").await;
    // Both still work while there is time.
    upstream.send_event("late");
    let event = within("a late event", events.frame())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(event.into_data().unwrap(), "data: late\n\n");
    socket.send(Message::text("late")).await.unwrap();
    let echo = within("a late echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echo, Message::text("late"));
    // Then they end, and not as if they were complete.
    let cut = within("the stream is cut", events.frame()).await;
    assert!(!matches!(cut, None | Some(Ok(_))), "a clean end: {cut:?}");
    let cut = within("the tunnel is closed", socket.next()).await;
    let Some(Ok(Message::Close(Some(frame)))) = cut else {
        panic!("{cut:?}");
    };
    assert_eq!(frame.code, CloseCode::Away);
    assert_eq!(frame.reason, "the gateway is shutting down");
    let mut last = String::new();
    while let Some(Ok(frame)) = within("the last event", mcp.frame()).await {
        last += &String::from_utf8_lossy(&frame.into_data().unwrap());
    }
    let error = last.rsplit_once("data: ").expect("an event").1;
    let error: serde_json::Value = serde_json::from_str(error).unwrap();
    assert_eq!(error["id"], 7);
    assert_eq!(error["error"]["message"], "The gateway is shutting down");
    let (status, problem) = within("the slow request", waiting).await.unwrap();
    assert_eq!(status, 503);
    assert_eq!(problem["title"], "The gateway is shutting down");
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
    assert_eq!(ended(&gateway), ("0".to_owned(), "4".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_is_asked_for_in_the_last_moment_is_opened() {
    let upstream = Upstream::start().await;
    let limits = "[limits]\nshutdown_linger_ms = 10_000\n";
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, limits).await;
    let key = deployment.key("ci", &[]);
    let mut gateway = deployment.start().await;
    let target = deployment.target(&gateway, Some(&key.plain));
    let mut early = target.connect(Mode::Http1).await;
    assert_eq!(get(&mut early, &target, "/api/identity").await, 200);
    let mut other = target.connect(Mode::Http1).await;
    assert_eq!(get(&mut other, &target, "/api/identity").await, 200);
    gateway.signal(Signal::TERM);
    says(&mut gateway, "no more connections").await;
    until_the_last_answer(&mut other, &target).await;
    let mut socket = upgrade(&mut early, &target).await;
    socket.send(Message::text("late")).await.unwrap();
    let echo = within("an echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echo, Message::text("late"));
    drop(socket);
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_begins_to_speak_when_the_end_has_come_is_served_and_ends() {
    let upstream = Upstream::start().await;
    // Longer than the story waits: the connection has to end because it is told to.
    let limits = "[limits]\nshutdown_linger_ms = 1_000\nshutdown_timeout_ms = 60_000\n";
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, limits).await;
    let key = deployment.key("ci", &[]);
    let mut gateway = deployment.start().await;
    let target = deployment.target(&gateway, Some(&key.plain));
    let silent = TcpStream::connect(target.plain).await.unwrap();
    let mut other = target.connect(Mode::Http1).await;
    // The queue is emptied in its order: the silent one was taken up before.
    assert_eq!(get(&mut other, &target, "/api/identity").await, 200);
    gateway.signal(Signal::TERM);
    says(&mut gateway, "no more connections").await;
    until_the_last_answer(&mut other, &target).await;
    // HTTP/2 without TLS; an HTTP/1.1 client would be told with its answer.
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(silent))
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::get(target.url(Mode::Http1, "/api/identity"))
        .header("x-api-key", &key.plain);
    let answer = sender.send_request(request.body(client::empty()).unwrap());
    assert_eq!(within("an answer", answer).await.unwrap().status(), 200);
    // Its client would keep it for ever.
    within("the connection's end", driver)
        .await
        .unwrap()
        .unwrap();
    drop(sender);
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
    assert_eq!(ended(&gateway).1, "0");
}

/// Asks until an answer says that it is the connection's last: the workers know of the end.
async fn until_the_last_answer(connection: &mut Connection, target: &Target) {
    let is_last = async {
        loop {
            let request = target.request(Mode::Http1, "GET", "/api/identity");
            let answer = connection
                .send(request.body(client::empty()).unwrap())
                .await;
            assert_eq!(answer.status(), 200);
            let last = answer.headers().get("connection").cloned();
            answer.into_body().collect().await.unwrap();
            if last.is_some_and(|it| it == "close") {
                return;
            }
        }
    };
    within("a last answer", is_last).await;
}

async fn web_socket(target: &Target) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
    let mut connection = target.connect(Mode::Http1).await;
    upgrade(&mut connection, target).await
}

async fn upgrade(
    connection: &mut Connection,
    target: &Target,
) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
    let request = target
        .request(Mode::Http1, "GET", "/ws")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let response = connection
        .send(request.body(client::empty()).unwrap())
        .await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers().get("connection").unwrap(), "upgrade");
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_wait_in_the_queue_when_the_end_comes_are_served() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let key = deployment.key("ci", &[]);
    let mut gateway = deployment.start().await;
    let head = format!(
        "GET /api/identity HTTP/1.1\r\nHost: genkan\r\nx-api-key: {}\r\n\r\n",
        key.plain
    );
    // Stopped in its tracks it accepts nothing: the kernel does, and keeps them for it. When it goes
    // on, the connections and the signal are there at once.
    gateway.signal(Signal::STOP);
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        let mut stream = TcpStream::connect(gateway.address("plain")).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    gateway.signal(Signal::TERM);
    gateway.signal(Signal::CONT);
    for mut stream in waiting {
        let mut answer = String::new();
        within("an answer to its end", stream.read_to_string(&mut answer))
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
    assert_eq!(upstream.requests().len(), WAITING);
    assert_eq!(ended(&gateway).1, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_is_told_before_connections_are_refused() {
    let upstream = Upstream::start().await;
    let limits = "[limits]\nshutdown_delay_ms = 1_000\n";
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, limits).await;
    let key = deployment.key("ci", &[]);
    let mut gateway = deployment.start().await;
    let target = deployment.target(&gateway, Some(&key.plain));
    assert_eq!(gateway.operators("/readyz").await.status(), 200);
    gateway.signal(Signal::TERM);
    let not_ready = async {
        while gateway.operators("/readyz").await.status() != 503 {
            tokio::task::yield_now().await;
        }
    };
    within("/readyz says no", not_ready).await;
    // A connection that comes all the same, before the balancer has heard it, is served.
    let mut connection = target.connect(Mode::Http1).await;
    assert_eq!(get(&mut connection, &target, "/api/identity").await, 200);
    assert_eq!(gateway.operators("/healthz").await.status(), 200);
    drop(connection);
    let delayed = tokio::time::Instant::now();
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
    assert!(
        delayed.elapsed() < Duration::from_secs(5),
        "{:?}",
        delayed.elapsed()
    );
}
