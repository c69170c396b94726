//! HTTP/2 by prior knowledge, frame by frame (RFC 9113 section 4.1, RFC 7541 section 6.2.2): what no
//! client library would send.

use std::time::{Duration, Instant};

use crate::support::raw::Wire;
use crate::support::scripted_gateway::{ScriptedGateway, agree};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` and `:status: 400` in the static table of HPACK (RFC 7541 appendix A).
const STATUS_200: u8 = 0x88;
const STATUS_400: u8 = 0x8c;

type Fields<'a> = &'a [(&'a str, &'a str)];

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Literals without indexing and without Huffman.
fn headers(fields: Fields<'_>) -> Vec<u8> {
    let literal = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127, "one byte of length is enough for a test");
        [&[length], text.as_bytes()].concat()
    };
    let field = |(name, value): &(&str, &str)| [vec![0], literal(name), literal(value)].concat();
    fields.iter().flat_map(field).collect()
}

/// How a stream went.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Refused,
    Reset,
    Other(u8),
}

/// The beginning of a connection, and of a request with this gateway's key.
async fn begin(
    scripted: &ScriptedGateway,
    method: &str,
    path: &str,
    extra: Fields<'_>,
    flags: u8,
) -> Wire {
    let first = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
        ("x-api-key", scripted.key.plain.as_str()),
    ];
    let block = headers(&[&first[..], extra].concat());
    let mut wire = scripted.wire().await;
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    wire.send(frame(SETTINGS, 0, 0, &[])).await;
    wire.send(frame(HEADERS, END_HEADERS | flags, 1, &block))
        .await;
    wire
}

/// Sends one request, with a body if there is one, and says how its stream went.
async fn send(
    scripted: &ScriptedGateway,
    extra: Fields<'_>,
    path: &str,
    body: Option<&[u8]>,
) -> Outcome {
    let mut wire = match body {
        None => begin(scripted, "GET", path, extra, END_STREAM).await,
        Some(_) => begin(scripted, "POST", path, extra, 0).await,
    };
    if let Some(body) = body {
        wire.send(frame(DATA, END_STREAM, 1, body)).await;
    }
    outcome(&mut wire).await
}

async fn outcome(wire: &mut Wire) -> Outcome {
    loop {
        let Some(head) = wire.exactly(9).await else {
            return Outcome::Reset;
        };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = wire.exactly(length as usize).await.unwrap_or_default();
        match head[3] {
            RST_STREAM | GOAWAY => return Outcome::Reset,
            // A change of the table's size may come first (RFC 7541 section 6.3).
            HEADERS => match payload.iter().find(|byte| **byte & 0xe0 != 0x20) {
                Some(&STATUS_200) => return Outcome::Passed,
                Some(&STATUS_400) => return Outcome::Refused,
                other => return Outcome::Other(other.copied().unwrap_or_default()),
            },
            _ => {}
        }
    }
}

/// None of these may arrive; a `host` that differs is refused, the others are errors of the protocol.
const BAD: &[(&str, Fields<'static>)] = &[
    ("another host", &[("host", "b")]),
    ("two hosts", &[("host", "a"), ("host", "a")]),
    ("a second key", &[("x-api-key", "another")]),
    (
        "a second credential",
        &[("authorization", "Bearer another")],
    ),
    ("transfer-encoding", &[("transfer-encoding", "chunked")]),
    ("connection", &[("connection", "x-api-key")]),
    ("upgrade", &[("upgrade", "h2c")]),
    ("keep-alive", &[("keep-alive", "1")]),
    ("te other than trailers", &[("te", "gzip")]),
    ("CR in a value", &[("x-one", "1\rx-two: 2")]),
    ("CRLF in a value", &[("x-one", "1\r\nx-two: 2")]),
    ("LF in a value", &[("x-one", "1\n")]),
    ("NUL in a value", &[("x-one", "1\0")]),
    ("a name in upper case", &[("X-One", "1")]),
    ("a colon in a name", &[("x:one", "1")]),
    ("a space in a name", &[("x one", "1")]),
    ("a pseudo-header after the others", &[(":path", "/api/b")]),
    ("a length without a body", &[("content-length", "5")]),
    ("a length that is none", &[("content-length", "+0")]),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_http1_cannot_say_is_translated_into_it() {
    let scripted = ScriptedGateway::open(agree, "").await;
    assert_eq!(
        send(&scripted, &[], "/api/good", None).await,
        Outcome::Passed
    );
    let mut wrong = Vec::new();
    for (name, fields) in BAD {
        let outcome = send(&scripted, fields, "/api/a", None).await;
        if !matches!(outcome, Outcome::Refused | Outcome::Reset) {
            wrong.push(format!("{name}: {outcome:?}"));
        }
    }
    for path in [
        "/api/a b",
        "/api/a\r\nx: y",
        "api/a",
        "//api/a",
        "/api/..",
        "*",
        "",
    ] {
        let outcome = send(&scripted, &[], path, None).await;
        if !matches!(outcome, Outcome::Refused | Outcome::Reset) {
            wrong.push(format!("path {path:?}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let seen = scripted.upstream.seen();
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_as_long_as_it_says_is_never_a_whole_request() {
    let scripted = ScriptedGateway::open(agree, "").await;
    for (length, body) in [
        ("5", &b"hell"[..]),
        ("5", b"hello!"),
        ("0", b"GET /api/hidden HTTP/1.1"),
    ] {
        let outcome = send(
            &scripted,
            &[("content-length", length)],
            "/api/a",
            Some(body),
        )
        .await;
        let refused = matches!(outcome, Outcome::Refused | Outcome::Reset);
        assert!(refused, "{length} and {body:?}: {outcome:?}");
    }
    let whole = scripted
        .upstream
        .seen()
        .into_iter()
        .filter(|seen| seen.complete && !seen.body.is_empty());
    assert_eq!(whole.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_neither_frame_nor_say_who_somebody_is() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let trailers = headers(&[
        ("content-length", "1"),
        ("host", "evil"),
        ("x-api-key", "another"),
        ("authorization", "Bearer another"),
        ("x-genkan-user-id", "root"),
        ("x_genkan_user_id", "root"),
        ("x-forwarded-for", "9.9.9.9"),
    ]);
    let mut wire = begin(&scripted, "POST", "/api/a", &[("te", "trailers")], 0).await;
    wire.send(frame(DATA, 0, 1, b"hello")).await;
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers))
        .await;
    assert_eq!(outcome(&mut wire).await, Outcome::Passed);
    let seen = &scripted.upstream.seen()[0];
    assert_eq!(
        (seen.body.as_slice(), seen.trailers.as_str()),
        (&b"hello"[..], "")
    );
    assert_eq!(seen.header("x-genkan-user-id").len(), 1);
    assert!(
        !seen.head.contains("root") && !seen.head.contains("9.9.9.9"),
        "{}",
        seen.head
    );
}

const PING: u8 = 6;

/// The next frame of this kind: its payload. None: the connection ended before.
async fn next(wire: &mut Wire, kind: u8) -> Option<Vec<u8>> {
    loop {
        let head = wire.exactly(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = wire.exactly(length as usize).await?;
        if head[3] == kind {
            return Some(payload);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_only_pings_is_idle_and_still_takes_a_request() {
    let limits = "[limits]\nhead_timeout_ms = 500\n";
    let scripted = ScriptedGateway::open(agree, limits).await;
    let mut wire = scripted.wire().await;
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    wire.send(frame(SETTINGS, 0, 0, &[])).await;
    // Three times as long as an unfinished head may take.
    let until = Instant::now() + Duration::from_millis(1_500);
    while Instant::now() < until {
        wire.send(frame(PING, 0, 0, b"as long.")).await;
        assert!(
            next(&mut wire, PING).await.is_some(),
            "the connection ended"
        );
    }
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/api/a"),
        (":authority", "a"),
        ("x-api-key", scripted.key.plain.as_str()),
    ];
    wire.send(frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &headers(&fields),
    ))
    .await;
    assert_eq!(outcome(&mut wire).await, Outcome::Passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_over_its_time_is_sent_goaway_first() {
    for (limits, unfinished) in [
        ("[limits]\nkeep_alive_timeout_ms = 500\n", vec![]),
        // A header block without an end.
        (
            "[limits]\nhead_timeout_ms = 500\n",
            frame(HEADERS, 0, 1, &headers(&[(":method", "GET")])),
        ),
    ] {
        let scripted = ScriptedGateway::open(agree, limits).await;
        let mut wire = scripted.wire().await;
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        wire.send(frame(SETTINGS, 0, 0, &[])).await;
        wire.send(unfinished).await;
        let goaway = next(&mut wire, GOAWAY)
            .await
            .expect("GOAWAY before the end");
        // NO_ERROR (RFC 9113 section 7).
        assert_eq!(goaway[4..8], [0, 0, 0, 0]);
        // A client that does not answer it is left.
        while wire.exactly(1).await.is_some() {}
    }
}
