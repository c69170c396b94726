//! What MCP clients depend on.

use crate::support::door::{Door, agree, get};
use crate::support::scripted::{Reply, Seen};

const SESSION: &str = "HTTP/1.1 200 OK\r\nMcp-Session-Id: mine\r\nContent-Length: 2\r\n\r\nok";

fn opens_sessions(seen: &Seen) -> Reply {
    if seen.head.starts_with("POST /mcp ") && seen.header("mcp-session-id").is_empty() {
        return Reply::Bytes(SESSION);
    }
    agree(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth_discovery_is_answered_with_json() {
    let door = Door::open(agree, "").await;
    let paths = [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/openid-configuration",
        "/mcp/.well-known/oauth-authorization-server",
        "/register",
        "/token",
        "/authorize",
    ];
    for path in paths {
        for method in ["GET", "POST"] {
            let answer = door.ask(get(path, "").replacen("GET", method, 1)).await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert!(
                answer.problem()["error"].is_string(),
                "{path}: {}",
                answer.text()
            );
            assert!(answer.header("www-authenticate").is_empty());
        }
    }
    assert!(door.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_belongs_to_the_key_that_opened_it() {
    let door = Door::open(opens_sessions, "").await;
    let other = door.house.key("other", &[]).plain;
    let opened = door
        .ask(door.get("/mcp", "").replacen("GET", "POST", 1))
        .await;
    let held = opened.header("mcp-session-id");
    assert_eq!(held.len(), 1, "{}", opened.head);
    let session = &format!("Mcp-Session-Id: {}\r\n", held[0]);
    for method in ["GET", "POST", "DELETE"] {
        let seen = door
            .passed(door.get("/mcp", session).replacen("GET", method, 1))
            .await;
        assert_eq!(seen.header("mcp-session-id"), ["mine"], "{}", seen.head);
        let before = door.upstream.seen().len();
        let stolen = get("/mcp", &format!("x-api-key: {other}\r\n{session}"));
        let answer = door.ask(stolen.replacen("GET", method, 1)).await;
        assert_eq!(answer.status, 404, "{method}");
        answer.problem();
        assert!(answer.header("www-authenticate").is_empty());
        assert_eq!(door.upstream.seen().len(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_is_refused_without_a_challenge() {
    let door = Door::open(agree, "").await;
    for origin in [
        "https://evil.example",
        "null",
        "http://genkan.test.evil.example",
        "genkan.test",
        // What the request says of its own host is no evidence.
        "http://genkan.test",
    ] {
        let answer = door
            .ask(door.get("/mcp", &format!("Origin: {origin}\r\n")))
            .await;
        assert_eq!(answer.status, 403, "{origin}");
        assert!(answer.header("www-authenticate").is_empty(), "{origin}");
        answer.problem();
    }
    assert!(door.upstream.seen().is_empty());
    let own = format!("Origin: http://{}\r\n", door.gateway.address("plain"));
    door.passed(door.get("/mcp", &own)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_authenticated_and_forwarded_with_the_headers_of_the_protocol() {
    let door = Door::open(agree, "").await;
    let own = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "trigger"),
        ("mcp-param-anything", "1"),
        ("last-event-id", "7"),
        ("accept", "application/json, text/event-stream"),
    ];
    let lines = own
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .concat();
    for method in ["GET", "POST", "DELETE", "PUT", "OPTIONS", "PATCH"] {
        let refused = door
            .ask(get("/mcp", &lines).replacen("GET", method, 1))
            .await;
        assert_eq!(refused.status, 401, "{method}");
        let seen = door
            .passed(door.get("/mcp", &lines).replacen("GET", method, 1))
            .await;
        assert!(seen.head.starts_with(method), "{}", seen.head);
        for (name, value) in own {
            assert_eq!(seen.header(name), [value], "{method}");
        }
    }
}
