//! Where a client is, behind trusted proxies and without: in log lines, in what is noted of keys, in the audit log;
//! and what a request is called.

use serde_json::Value;

use crate::support::deployment::{Process, field};
use crate::support::raw::Wire;
use crate::support::scripted_gateway::{ScriptedGateway, agree, get};
use crate::support::within;

/// The balancer's chain: what a client wrote itself, the client, and a proxy of ours.
const CHAIN: &str = "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.2.3\r\n";
const NETWORKS: [&str; 2] = ["127.0.0.0/8", "10.0.0.0/8"];
const LOG: &str = "[log]\nformat = \"json\"\nrequests = \"all\"\n";

/// A gateway whose peers are trusted proxies, and a log with every request.
async fn behind_a_balancer() -> ScriptedGateway {
    ScriptedGateway::open_behind(agree, &NETWORKS, LOG).await
}

/// The log line of a request.
async fn logged(gateway: &mut Process, path: &str) -> String {
    let is_it = |line: &str| field(line, "path") == path && field(line, "message") == "request";
    gateway.stderr_line(path, is_it).await
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_trusted_proxies_the_clients_own_address_is_logged() {
    let mut scripted = behind_a_balancer().await;
    for (path, headers, client) in [
        ("/api/chain", CHAIN, "203.0.113.9"),
        (
            "/api/one",
            "X-Forwarded-For: 203.0.113.9:4711\r\n",
            "203.0.113.9",
        ),
        (
            "/api/six",
            "X-Forwarded-For: 2001:db8::5\r\n",
            "2001:db8::5",
        ),
        (
            "/api/lines",
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.1.2.3\r\n",
            "203.0.113.9",
        ),
        (
            "/api/broken",
            "X-Forwarded-For: 6.6.6.6, unknown, 10.1.2.3\r\n",
            "10.1.2.3",
        ),
        (
            "/api/forwarded",
            "Forwarded: for=6.6.6.6, for=\"203.0.113.9:80\";proto=https, for=10.1.2.3\r\n",
            "203.0.113.9",
        ),
        (
            "/api/both",
            "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 203.0.113.9\r\n",
            "203.0.113.9",
        ),
    ] {
        let request = scripted.get(path, headers);
        assert_eq!(scripted.ask(request).await.status, 200);
        assert_eq!(
            field(&logged(&mut scripted.gateway, path).await, "client"),
            client
        );
    }
    // A key that does not open: whoever tries it is named, and not the balancer.
    let revoked = scripted.deployment.key("revoked", &[]);
    scripted
        .deployment
        .run_beside(&["keys", "revoke", &revoked.id])
        .await
        .ok();
    let request = get(
        "/api/refused",
        &format!("x-api-key: {}\r\n{CHAIN}", revoked.plain),
    );
    assert_eq!(scripted.ask(request).await.status, 401);
    let line = logged(&mut scripted.gateway, "/api/refused").await;
    assert_eq!(field(&line, "client"), "203.0.113.9", "{line}");
    assert_eq!(field(&line, "refusal"), "key_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_a_trusted_proxy_is_where_its_connection_comes_from() {
    let mut scripted = ScriptedGateway::open(agree, LOG).await;
    let claims = format!("{CHAIN}Forwarded: for=6.6.6.6\r\nX-Request-Id: theirs\r\n");
    let request = scripted.get("/api/stranger", &claims);
    let seen = scripted.passed(request).await;
    assert_ne!(seen.header("x-request-id"), ["theirs"]);
    let line = logged(&mut scripted.gateway, "/api/stranger").await;
    assert!(field(&line, "client").starts_with("127.0.0.1:"), "{line}");
    assert_ne!(field(&line, "request_id"), "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxys_request_id_is_kept_logged_and_passed_on() {
    let mut scripted = behind_a_balancer().await;
    let id = "Root=1-67891233-abcdef012345678912345678";
    let request = scripted.get("/api/named", &format!("X-Request-Id: {id}\r\n"));
    let seen = scripted.passed(request).await;
    assert_eq!(seen.header("x-request-id"), [id]);
    assert_eq!(
        field(
            &logged(&mut scripted.gateway, "/api/named").await,
            "request_id"
        ),
        id
    );
    let refused = scripted
        .ask(get("/api/unnamed", "X-Request-Id: abc-1\r\n"))
        .await;
    assert_eq!(refused.header("x-request-id"), ["abc-1"]);
    assert_eq!(refused.problem()["request_id"], "abc-1");
    // What is no id, or looks like a key, is replaced as a stranger's is.
    let key = scripted.key.plain.clone();
    let long = "x".repeat(65);
    for bad in [key.as_str(), &long, "a b", "a\"b", "a\r\nX-Request-Id: b"] {
        let request = scripted.get("/api/a", &format!("X-Request-Id: {bad}\r\n"));
        let seen = scripted.passed(request).await;
        let ids = seen.header("x-request-id");
        assert!(ids.len() == 1 && ids[0].len() == 24, "{bad}: {ids:?}");
    }
    let lines = scripted.gateway.stderr();
    assert!(!lines.iter().any(|line| line.contains(&key)));
}

#[tokio::test(flavor = "multi_thread")]
async fn last_use_and_the_audit_log_have_the_clients_address() {
    let scripted = behind_a_balancer().await;
    let request = scripted.get("/api/used", CHAIN);
    assert_eq!(scripted.ask(request).await.status, 200);
    let manager = scripted.deployment.key(
        "manager",
        &["--scope", "api", "--scope", "mcp", "--scope", "manage"],
    );
    let admin = scripted.gateway.address("admin");
    let api = async |method: &str, path: &str| -> Value {
        let mut wire = Wire::connect(admin).await;
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: {admin}\r\nx-api-key: {}\r\n{CHAIN}\r\n",
            manager.plain
        );
        let answer = wire.ask(head).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    };
    let last_use = async {
        loop {
            let usage = api("GET", &format!("/keys/{}/usage", scripted.key.id)).await;
            if usage["last_address"].is_string() {
                return usage;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let usage = within("the use is told", last_use).await;
    assert_eq!(usage["last_address"], "203.0.113.9", "{usage}");
    let ended = scripted.deployment.key("ended", &[]);
    api("DELETE", &format!("/keys/{}", ended.id)).await;
    let audit = api("GET", "/audit?limit=20").await.to_string();
    assert!(audit.contains("203.0.113.9"), "{audit}");
    assert!(!audit.contains("127.0.0.1"), "{audit}");
}

/// What a balancer passes on that knows `X-Forwarded-For` and `-Proto` alone, as many do.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_balancer_passes_on_for_its_client_chooses_no_host() {
    let scripted = behind_a_balancer().await;
    let written = "X-Forwarded-Host: evil.example\r\nForwarded: for=6.6.6.6;host=evil.example\r\n";
    let appended = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: gopher, https\r\n";
    let request = scripted.get("/api/a", &format!("{written}{appended}"));
    let seen = scripted.passed(request).await;
    assert_eq!(seen.header("x-forwarded-host"), ["genkan.test"]);
    assert_eq!(seen.header("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.header("forwarded"), ["for=127.0.0.1;proto=http"]);
    for wrong in ["evil", "6.6.6.6", "gopher"] {
        assert!(!seen.head.contains(wrong), "{wrong} in {}", seen.head);
    }
    // What is no scheme is not believed.
    for odd in ["gopher", "https,", "", "https, javascript:"] {
        let request = scripted.get("/api/a", &format!("X-Forwarded-Proto: {odd}\r\n"));
        let seen = scripted.passed(request).await;
        assert_eq!(seen.header("x-forwarded-proto"), ["http"], "{odd:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_route_keeps_the_forwarded_host_the_nearest_proxys_word_counts() {
    let keeps = |text: String| {
        let prefix = "path_prefix = \"/api/\"\n";
        assert!(text.contains(prefix), "{text}");
        let kept = format!("{prefix}keep_headers = [\"X-Forwarded-Host\"]\n");
        let text = text.replacen(prefix, &kept, 1);
        format!("trusted_proxies = {NETWORKS:?}\n{text}")
    };
    let scripted = ScriptedGateway::open_changed(agree, "", keeps).await;
    let long = "a".repeat(254);
    let long = format!("X-Forwarded-Host: {long}\r\n");
    for (lines, host) in [
        ("X-Forwarded-Host: api.example:8443\r\n", "api.example:8443"),
        (
            "X-Forwarded-Host: evil.example, api.example\r\n",
            "api.example",
        ),
        (
            "X-Forwarded-Host: evil.example\r\nX-Forwarded-Host: api.example\r\n",
            "api.example",
        ),
        ("X_Forwarded_Host: evil.example\r\n", "genkan.test"),
        ("X-Forwarded-Host: api.example,\r\n", "genkan.test"),
        ("X-Forwarded-Host: user@evil.example\r\n", "genkan.test"),
        ("X-Forwarded-Host: evil.example/a\r\n", "genkan.test"),
        (&long, "genkan.test"),
        ("", "genkan.test"),
    ] {
        let seen = scripted.passed(scripted.get("/api/a", lines)).await;
        assert_eq!(seen.header("x-forwarded-host"), [host], "{lines}");
        assert_eq!(seen.header("host"), ["genkan.test"]);
    }
    // Another route does not.
    let request = scripted.get("/mcp", "X-Forwarded-Host: evil.example\r\n");
    let seen = scripted.passed(request).await;
    assert_eq!(seen.header("x-forwarded-host"), ["genkan.test"]);
}
