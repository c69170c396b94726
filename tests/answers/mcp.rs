//! What MCP clients depend on.

use crate::support::scripted::{Reply, Seen};
use crate::support::scripted_gateway::{ScriptedGateway, agree, get};

use serde_json::Value;

use super::unknown_key;

const SESSION: &str = "HTTP/1.1 200 OK\r\nMcp-Session-Id: mine\r\nContent-Length: 2\r\n\r\nok";

/// Who was led into OAuth reads it, and who sent a wrong key.
const TAKES_KEYS: &str = "This server takes API keys, not OAuth.";

fn opens_sessions(seen: &Seen) -> Reply {
    if seen.head.starts_with("POST /mcp ") && seen.header("mcp-session-id").is_empty() {
        return Reply::Bytes(SESSION);
    }
    agree(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn oauth_discovery_is_answered_with_json() {
    let scripted = ScriptedGateway::open(agree, "").await;
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
            let answer = scripted.ask(get(path, "").replacen("GET", method, 1)).await;
            assert_eq!(answer.status, 404, "{method} {path}");
            let problem = answer.problem();
            assert_eq!(problem["error"], "not_supported", "{path}");
            // A client that finds no description shows an empty error.
            let described = problem["error_description"].as_str().unwrap();
            assert!(described.starts_with(TAKES_KEYS), "{path}: {described}");
            assert!(answer.header("www-authenticate").is_empty());
        }
    }
    assert!(scripted.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_belongs_to_the_key_that_opened_it() {
    let scripted = ScriptedGateway::open(opens_sessions, "").await;
    let other = scripted.deployment.key("other", &[]).plain;
    let opened = scripted
        .ask(scripted.get("/mcp", "").replacen("GET", "POST", 1))
        .await;
    let held = opened.header("mcp-session-id");
    assert_eq!(held.len(), 1, "{}", opened.head);
    let session = &format!("Mcp-Session-Id: {}\r\n", held[0]);
    for method in ["GET", "POST", "DELETE"] {
        let seen = scripted
            .passed(scripted.get("/mcp", session).replacen("GET", method, 1))
            .await;
        assert_eq!(seen.header("mcp-session-id"), ["mine"], "{}", seen.head);
        let before = scripted.upstream.seen().len();
        let stolen = get("/mcp", &format!("x-api-key: {other}\r\n{session}"));
        let answer = scripted.ask(stolen.replacen("GET", method, 1)).await;
        assert_eq!(answer.status, 404, "{method}");
        answer.problem();
        assert!(answer.header("www-authenticate").is_empty());
        assert_eq!(scripted.upstream.seen().len(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_is_refused_without_a_challenge() {
    let scripted = ScriptedGateway::open(agree, "").await;
    for origin in [
        "https://evil.example",
        "null",
        "http://genkan.test.evil.example",
        "genkan.test",
        // What the request says of its own host is no evidence.
        "http://genkan.test",
    ] {
        let answer = scripted
            .ask(scripted.get("/mcp", &format!("Origin: {origin}\r\n")))
            .await;
        assert_eq!(answer.status, 403, "{origin}");
        assert!(answer.header("www-authenticate").is_empty(), "{origin}");
        answer.problem();
    }
    assert!(scripted.upstream.seen().is_empty());
    let own = format!("Origin: http://{}\r\n", scripted.gateway.address("plain"));
    scripted.passed(scripted.get("/mcp", &own)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_authenticated_and_forwarded_with_the_headers_of_the_protocol() {
    let scripted = ScriptedGateway::open(agree, "").await;
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
        let refused = scripted
            .ask(get("/mcp", &lines).replacen("GET", method, 1))
            .await;
        assert_eq!(refused.status, 401, "{method}");
        let seen = scripted
            .passed(scripted.get("/mcp", &lines).replacen("GET", method, 1))
            .await;
        assert!(seen.head.starts_with(method), "{}", seen.head);
        for (name, value) in own {
            assert_eq!(seen.header(name), [value], "{method}");
        }
    }
}

fn call(headers: &str) -> String {
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
    let length = body.len();
    let headers = format!("{headers}Content-Length: {length}\r\n");
    get("/mcp", &headers).replacen("GET", "POST", 1) + body
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_in_jsonrpc_is_refused_in_jsonrpc() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let api_only = scripted.deployment.key("api", &["--scope", "api"]).plain;
    for (key, status, words) in [
        (
            String::new(),
            401,
            vec!["An API key is required", TAKES_KEYS],
        ),
        (
            format!("x-api-key: {}\r\n", unknown_key()),
            401,
            vec![
                "The API key is not valid",
                TAKES_KEYS,
                "unknown, expired or revoked",
            ],
        ),
        (
            format!("x-api-key: {api_only}\r\n"),
            403,
            vec!["The API key may not do this", "`mcp`"],
        ),
    ] {
        for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
            let answer = scripted
                .ask(call(&format!("{key}Content-Type: {content_type}\r\n")))
                .await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("content-type"), ["application/json"]);
            let error: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(error["jsonrpc"], "2.0");
            assert_eq!(error["id"], Value::Null);
            assert_eq!(error["error"]["code"], -32_003);
            let message = error["error"]["message"].as_str().unwrap();
            for words in &words {
                assert!(message.contains(words), "{message}");
            }
            let problem = &error["error"]["data"];
            assert_eq!(problem["status"], status);
            let id = answer.header("x-request-id");
            assert_eq!(id, [problem["request_id"].as_str().unwrap()]);
        }
        // Who asked otherwise reads problem details, in the order in which people read.
        let answer = scripted
            .ask(call(&format!("{key}Content-Type: text/plain\r\n")))
            .await;
        answer.problem();
        let text = answer.text();
        let places: Vec<_> = [
            "\"type\"",
            "\"title\"",
            "\"status\"",
            "\"detail\"",
            "\"request_id\"",
        ]
        .iter()
        .map(|name| text.find(name).unwrap())
        .collect();
        assert!(places.is_sorted(), "{text}");
    }
    assert!(scripted.upstream.seen().is_empty());
}
