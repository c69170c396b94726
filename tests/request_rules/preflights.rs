//! Preflight requests come without a key by their nature: they are answered here, and what else they bring
//! goes nowhere. And what a page may read of answers.

use super::SWAP;
use crate::support::client::{self, Mode};
use crate::support::raw::Answer;
use crate::support::scripted::{OK, Reply, Seen};
use crate::support::scripted_gateway::{ScriptedGateway, agree, get};

const PAGE: &str = "https://pages.example";

fn preflight(path: &str, origin: &str, headers: &str) -> String {
    let asks = "Access-Control-Request-Method: POST\r\n";
    let request = get(path, &format!("Origin: {origin}\r\n{asks}{headers}"));
    request.replacen("GET", "OPTIONS", 1)
}

fn cors_headers(answer: &Answer) -> Vec<&str> {
    let lines = answer.head.split("\r\n");
    lines
        .filter(|line| line.to_ascii_lowercase().starts_with("access-control-"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_here_and_nothing_of_it_is_forwarded() {
    let scripted = ScriptedGateway::open(agree, SWAP).await;
    let with_key = format!("x-api-key: {}\r\n", scripted.key.plain);
    let web_socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let bodies = [
        ("Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Content-Length: 5\r\nExpect: 100-continue\r\n", ""),
    ];
    let plain = [
        "",
        "Cookie: session=1\r\n",
        "X-HTTP-Method-Override: DELETE\r\n",
        web_socket,
        &with_key,
        "x-api-key: gk_no\r\n",
        "Authorization: Basic eA==\r\nAuthorization: Basic eQ==\r\n",
    ];
    let mut wrong = Vec::new();
    for path in ["/api/a", "/api/public", "/api/", "/swap/a", "/swap/open"] {
        for (headers, body) in bodies.iter().copied().chain(plain.map(|it| (it, ""))) {
            let mut wire = scripted.wire().await;
            let answer = wire.ask(preflight(path, PAGE, headers) + body).await;
            let allowed = answer.header("access-control-allow-origin") == [PAGE];
            let has_body = headers.contains("Content-Length") || headers.contains("chunked");
            let ended = !has_body || wire.is_closed().await;
            if answer.status != 204 || !allowed || !ended {
                let status = answer.status;
                wrong.push(format!("{path} {headers:?}: {status}, {allowed}, {ended}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        scripted.upstream.seen().is_empty(),
        "{:?}",
        scripted.upstream.seen()
    );
    // The connection is good for what comes next.
    let mut wire = scripted.wire().await;
    assert_eq!(wire.ask(preflight("/api/a", PAGE, "")).await.status, 204);
    assert_eq!(wire.ask(get("/api/a", "")).await.status, 401);
    assert_eq!(wire.ask(scripted.get("/api/a", "")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_preflight_with_many_names_the_first_are_looked_at() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let names: Vec<_> = (0..1_000).map(|it| format!("mcp-{it}")).collect();
    let asked = format!("Access-Control-Request-Headers: {}\r\n", names.join(","));
    let answer = scripted.ask(preflight("/api/a", PAGE, &asked)).await;
    assert_eq!(answer.status, 204, "{}", answer.head);
    let allowed = answer.header("access-control-allow-headers");
    assert_eq!(allowed, [names[..64].join(", ")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_told_what_the_page_may_send() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let asked = "Access-Control-Request-Headers: x-api-key, Authorization,content-type , x-other\r\n\
                 Access-Control-Request-Headers: Last-Event-ID, mcp-session-id, MCP-Protocol-Version\r\n\
                 Access-Control-Request-Headers: mcp-param-x, x-genkan-user-id, x_api_key, a b, , accept, accept\r\n";
    let answer = scripted.ask(preflight("/api/a", PAGE, asked)).await;
    assert_eq!(answer.status, 204, "{}", answer.head);
    assert_eq!(
        answer.header("access-control-allow-headers"),
        [
            "x-api-key, authorization, content-type, last-event-id, mcp-session-id, \
          mcp-protocol-version, mcp-param-x, accept"
        ]
    );
    assert_eq!(
        answer.header("access-control-allow-methods"),
        ["GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]
    );
    assert_eq!(answer.header("access-control-max-age"), ["600"]);
    assert_eq!(
        answer.header("vary"),
        ["Origin, Access-Control-Request-Method, Access-Control-Request-Headers"]
    );
    assert_eq!(answer.header("x-request-id").len(), 1);
    assert!(answer.header("access-control-allow-credentials").is_empty());
    let other = "Access-Control-Request-Headers: x-other\r\n";
    for none in ["", other] {
        let answer = scripted.ask(preflight("/api/a", PAGE, none)).await;
        assert_eq!(answer.status, 204);
        assert!(answer.header("access-control-allow-headers").is_empty());
    }
    assert!(scripted.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_let_pages_send_more_headers() {
    let more = "[[routes]]\nname = \"more\"\npath_prefix = \"/more/\"\nupstream = \"genesis\"\n\
                scope = \"mcp\"\nmcp = true\ncors_origins = [\"*\"]\ncors_headers = [\"X-Other\"]\n";
    let scripted = ScriptedGateway::open(agree, more).await;
    let asked = "Access-Control-Request-Headers: x-other, x-another\r\n";
    for origin in ["https://anywhere.example", "null"] {
        let answer = scripted.ask(preflight("/more/a", origin, asked)).await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-headers"), ["x-other"]);
        // Never a star: which origin asked is what the answer is for.
        assert_eq!(answer.header("access-control-allow-origin"), [origin]);
    }
    assert!(scripted.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_not_named_is_told_nothing_and_not_forwarded() {
    let scripted = ScriptedGateway::open(agree, SWAP).await;
    let twice = format!("{PAGE}\r\nOrigin: {PAGE}");
    for origin in [
        "https://evil.example",
        "null",
        "http://pages.example",
        "https://pages.example.evil.example",
        "https://pages.example:8443",
        &twice,
    ] {
        for path in ["/api/a", "/api/public", "/swap/open"] {
            let answer = scripted.ask(preflight(path, origin, "")).await;
            assert_eq!(answer.status, 403, "{origin} {path}");
            assert_eq!(cors_headers(&answer), Vec::<&str>::new(), "{origin} {path}");
            answer.problem();
        }
    }
    assert!(
        scripted.upstream.seen().is_empty(),
        "{:?}",
        scripted.upstream.seen()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_a_preflight_is_answered_here_too() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let target = scripted.deployment.target(&scripted.gateway, None);
    let mut connection = target.connect(Mode::TlsHttp2).await;
    for body in [client::empty(), client::full("hello")] {
        let request = target
            .request(Mode::TlsHttp2, "OPTIONS", "/api/a")
            .header("origin", PAGE)
            .header("access-control-request-method", "PUT");
        let answer = connection.send(request.body(body).unwrap()).await;
        assert_eq!(answer.status(), 204);
        assert_eq!(answer.headers()["access-control-allow-origin"], PAGE);
    }
    assert!(scripted.upstream.seen().is_empty());
}

const SAYS_NOTHING: &str =
    "HTTP/1.1 200 OK\r\nVary: Accept-Encoding\r\nMcp-Session-Id: s\r\nContent-Length: 2\r\n\r\nok";
const SAYS_ITS_OWN: &str = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: accept, origin\r\n\
    Access-Control-Expose-Headers: X-Mine\r\nContent-Length: 2\r\n\r\nok";

fn says(seen: &Seen) -> Reply {
    Reply::Bytes(match seen.target() {
        "/api/own" => SAYS_ITS_OWN,
        "/api/nothing" => SAYS_NOTHING,
        _other => OK,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_read_answers_and_what_an_upstream_says_itself_stays() {
    let scripted = ScriptedGateway::open(says, "").await;
    let page = format!("Origin: {PAGE}\r\n");
    let answer = scripted.ask(scripted.get("/api/nothing", &page)).await;
    assert_eq!(answer.header("access-control-allow-origin"), [PAGE]);
    assert_eq!(
        answer.header("access-control-expose-headers"),
        ["WWW-Authenticate, Mcp-Session-Id"]
    );
    assert_eq!(answer.header("vary"), ["Accept-Encoding", "Origin"]);

    let answer = scripted.ask(scripted.get("/api/own", &page)).await;
    assert_eq!(answer.header("access-control-allow-origin"), ["*"]);
    assert_eq!(answer.header("access-control-expose-headers"), ["X-Mine"]);
    assert_eq!(answer.header("vary"), ["accept, origin"]);

    // A cache keeps answers to strangers and to no page apart from those to a page.
    for nobody in ["", "Origin: https://evil.example\r\n"] {
        let answer = scripted.ask(scripted.get("/api/a", nobody)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(cors_headers(&answer), Vec::<&str>::new(), "{nobody}");
        assert_eq!(answer.header("vary"), ["Origin"]);
    }
    // No origins are named for MCP here; and where there is no route, nobody is told anything.
    let answer = scripted.ask(scripted.get("/mcp", "")).await;
    assert!(cors_headers(&answer).is_empty() && answer.header("vary").is_empty());
    let answer = scripted.ask(scripted.get("/elsewhere", &page)).await;
    assert_eq!(answer.status, 404);
    assert!(cors_headers(&answer).is_empty(), "{}", answer.head);
    let refused = scripted.ask(get("/api/a", &page)).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("access-control-allow-origin"), [PAGE]);
    let readable = refused.header("access-control-expose-headers")[0];
    for name in [
        "WWW-Authenticate",
        "Mcp-Session-Id",
        "Retry-After",
        "X-Request-Id",
    ] {
        assert!(readable.contains(name), "{readable}");
    }
}

fn allows_credentials(seen: &Seen) -> Reply {
    let _target = seen.target();
    Reply::Bytes(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Credentials: true\r\n\r\nok",
    )
}

/// `*` is for requests without cookies: no page is named beside an upstream's word on credentials.
#[tokio::test(flavor = "multi_thread")]
async fn every_origin_is_never_one_by_name() {
    let every = |text: String| text.replace("[\"https://pages.example\"]", "[\"*\"]");
    let scripted = ScriptedGateway::open_changed(allows_credentials, "", every).await;
    for origin in ["https://evil.example", "null"] {
        let answer = scripted
            .ask(scripted.get("/api/x", &format!("Origin: {origin}\r\n")))
            .await;
        assert_eq!(answer.header("access-control-allow-origin"), ["*"]);
    }
}
