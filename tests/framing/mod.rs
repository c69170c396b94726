//! What is malformed, or can be read in two ways, is refused: an upstream sees at most one
//! request for each that was let in, framed by genkan, and what follows a refusal is never read as a
//! request.

mod http2;
mod rows;

use crate::support::scripted::{Reply, Seen};
use crate::support::scripted_gateway::{ScriptedGateway, agree};
use rows::{CUT, NOT_YET, REFUSED, Row};

/// Silence is cut soon, and heads and targets are short.
const LIMITS: &str = "[limits]\nhead_timeout_ms = 1_000\nkeep_alive_timeout_ms = 1_000\n\
    body_idle_timeout_ms = 1_000\nhead_bytes_max = 4_096\ntarget_bytes_max = 1_024\n\
    body_bytes_max = 1_000\n";

fn upstream(seen: &Seen) -> Reply {
    if seen.target().ends_with("/ws") {
        return Reply::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno tunnel");
    }
    agree(seen)
}

impl ScriptedGateway {
    async fn for_framing() -> Self {
        Self::open(upstream, LIMITS).await
    }

    /// The statuses of all answers until the connection closes.
    async fn until_closed(&self, request: &str) -> (Vec<u16>, bool) {
        let mut wire = self.wire().await;
        wire.send(rows::bytes(request, &self.key.plain)).await;
        let mut statuses = Vec::new();
        if let Some(answer) = wire.answer().await {
            assert!(answer.complete, "{}", answer.head);
            statuses.push(answer.status);
        }
        let closed = wire.is_closed().await;
        (statuses, closed)
    }
}

/// What is wrong with the rows, each sent with what comes `behind` it; empty when all is right.
async fn failures(
    scripted: &ScriptedGateway,
    rows: &[Row],
    whole: usize,
    behind: &str,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, request, right) in rows {
        let before = scripted.upstream.seen().len();
        let (statuses, closed) = scripted.until_closed(&format!("{request}{behind}")).await;
        let seen = scripted.upstream.seen().split_off(before);
        let arrived = seen.iter().filter(|seen| seen.complete).count();
        let is_right = matches!(statuses.as_slice(), [only] if right.contains(only));
        if !is_right || !closed || arrived != whole {
            wrong.push(format!(
                "{name}: {statuses:?}, closed: {closed}, arrived: {seen:?}"
            ));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_nothing_wrong_in_it_passes() {
    let scripted = ScriptedGateway::for_framing().await;
    let good = [
        "GET+¶¶",
        "POST+¶Content-Length: 5¶¶hello",
        "POST+¶Transfer-Encoding: chunked¶¶5¶hello¶0¶¶",
        "POST+¶transfer-encoding: Chunked¶¶0¶¶",
        "GET http://a/api/a HTTP/1.1¶Host: a¶x-api-key: KEY¶¶",
        "GET /api/a HTTP/1.0¶Host: a¶x-api-key: KEY¶¶",
    ];
    for row in good {
        scripted.passed(rows::bytes(row, &scripted.key.plain)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let scripted = ScriptedGateway::for_framing().await;
    let body = "x".repeat(4 << 20);
    for headers in ["", "x-api-key: gk_no\r\n", "Host: b\r\n"] {
        let head = format!(
            "POST /api/a HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut wire = scripted.wire().await;
        wire.send(head + &body).await;
        let status = wire.answer().await.map(|answer| answer.status);
        assert!(matches!(status, Some(400 | 401)), "{headers:?}: {status:?}");
        assert!(wire.is_closed().await);
    }
    assert!(scripted.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_or_ambiguous_request_is_refused_and_is_the_last_on_its_connection() {
    let scripted = ScriptedGateway::for_framing().await;
    let wrong = failures(&scripted, REFUSED, 0, "HIDDEN").await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        scripted.upstream.seen().is_empty(),
        "{:#?}",
        scripted.upstream.seen()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_body_never_arrives_as_a_whole_one() {
    let scripted = ScriptedGateway::for_framing().await;
    let wrong = failures(&scripted, CUT, 0, "").await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_refused_yet_smuggles_nothing() {
    let scripted = ScriptedGateway::for_framing().await;
    let wrong = failures(&scripted, NOT_YET, 1, "").await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    for seen in scripted.upstream.seen() {
        assert_eq!(seen.target(), "/api/a");
        let framed = [
            seen.header("content-length"),
            seen.header("transfer-encoding"),
        ]
        .concat();
        assert!(framed.len() < 2, "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leftover_bytes_authenticate_on_their_own() {
    let scripted = ScriptedGateway::for_framing().await;
    // A GET without a length has no body: what follows is a request, and it has no key.
    let mut wire = scripted.wire().await;
    let second = "GET /api/b HTTP/1.1\r\nHost: a\r\n\r\n";
    let third = scripted.get("/api/c", "");
    wire.send(scripted.get("/api/a", "") + second + &third)
        .await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(wire.answer().await.unwrap().status);
    }
    assert_eq!(statuses, [200, 401, 200]);
    let seen: Vec<_> = scripted.upstream.seen();
    let targets: Vec<_> = seen.iter().map(Seen::target).collect();
    assert_eq!(targets, ["/api/a", "/api/c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_framed_anew_without_extensions_and_without_dangerous_trailers() {
    let scripted = ScriptedGateway::for_framing().await;
    let head = "Transfer-Encoding: chunked\r\nTrailer: x-checksum\r\n";
    let body = "5;ext=\"x\"\r\nhello\r\n0\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\
                Host: evil\r\nx-api-key: other\r\nAuthorization: Bearer other\r\n\
                X-Genkan-User-Id: root\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n";
    let request = scripted.get("/api/a", head).replacen("GET", "POST", 1) + body;
    let mut wire = scripted.wire().await;
    assert_eq!(wire.ask(request).await.status, 200);
    // Still in step.
    assert_eq!(wire.ask(scripted.get("/api/b", "")).await.status, 200);
    let seen = &scripted.upstream.seen()[0];
    assert_eq!(
        (seen.body.as_slice(), seen.trailers.as_str()),
        (&b"hello"[..], "")
    );
    assert_eq!(seen.header("transfer-encoding"), ["chunked"]);
    assert!(seen.header("content-length").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_lengths_on_two_lines_become_one() {
    let scripted = ScriptedGateway::for_framing().await;
    let lengths = "Content-Length: 5\r\nContent-Length: 5\r\n";
    let request = scripted.get("/api/a", lengths).replacen("GET", "POST", 1) + "hello";
    let seen = scripted.passed(request).await;
    assert_eq!(seen.header("content-length"), ["5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_refused_with_its_own_status() {
    let scripted = ScriptedGateway::for_framing().await;
    let long = |length| "x".repeat(length);
    let many = "X-Many: 1\r\n".repeat(120);
    let requests = [
        (
            "a target",
            scripted.get(&format!("/api/{}", long(1_100)), ""),
            414,
        ),
        (
            "a query",
            scripted.get(&format!("/api/a?{}", long(1_100)), ""),
            414,
        ),
        (
            "a header",
            scripted.get("/api/a", &format!("X-Long: {}\r\n", long(4_200))),
            431,
        ),
        (
            "a header far above",
            scripted.get("/api/a", &format!("X-Long: {}\r\n", long(40_000))),
            431,
        ),
        ("many headers", scripted.get("/api/a", &many), 431),
        (
            "a body",
            scripted.get("/api/a", "Content-Length: 1001\r\n"),
            413,
        ),
    ];
    let mut wrong = Vec::new();
    for (name, request, right) in requests {
        let mut wire = scripted.wire().await;
        wire.send(request).await;
        let status = wire.answer().await.map(|answer| answer.status);
        let closed = wire.is_closed().await;
        if status != Some(right) || (right != 414 && !closed) {
            wrong.push(format!("{name}: {status:?}, closed: {closed}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(scripted.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_key_is_refused_before_its_body_is_asked_for() {
    let scripted = ScriptedGateway::for_framing().await;
    let head = "POST /api/a HTTP/1.1\r\nHost: a\r\nx-api-key: gk_no\r\nExpect: 100-continue\r\n\
                Content-Length: 5\r\n\r\n";
    let mut wire = scripted.wire().await;
    assert_eq!(wire.ask(head).await.status, 401);
    assert!(wire.is_closed().await);
    assert!(scripted.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn h2c_is_not_offered_to_an_upstream() {
    let scripted = ScriptedGateway::for_framing().await;
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let seen = scripted.passed(scripted.get("/api/a", upgrade)).await;
    for name in ["upgrade", "http2-settings", "connection"] {
        assert!(seen.header(name).is_empty(), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_passes_before_an_upstream_agrees_to_a_tunnel() {
    let scripted = ScriptedGateway::for_framing().await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut wire = scripted.wire().await;
    let answer = wire
        .ask(scripted.get("/api/ws", upgrade) + "early bytes")
        .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "no tunnel"));
    // What came too early is the beginning of a request that does not come.
    assert!(wire.is_closed().await);
    let seen = scripted.upstream.seen();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!(seen[0].header("upgrade"), ["websocket"]);
    assert!(seen[0].body.is_empty());
}
