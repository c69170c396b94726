//! Pages can read why a request was refused, and what is no preflight needs a key.

use crate::support::scripted_gateway::{ScriptedGateway, agree, get};

const ORIGIN: &str = "Origin: https://pages.example\r\n";
const ASKS: &str = "Access-Control-Request-Method: POST\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_preflight_needs_a_key() {
    let scripted = ScriptedGateway::open(agree, "").await;
    for (name, method, headers) in [
        ("no origin", "OPTIONS", ASKS.to_owned()),
        ("no method asked for", "OPTIONS", ORIGIN.to_owned()),
        ("another method", "GET", format!("{ORIGIN}{ASKS}")),
        (
            "another method, that writes",
            "POST",
            format!("{ORIGIN}{ASKS}"),
        ),
    ] {
        let refused = get("/api/a", &headers).replacen("GET", method, 1);
        assert_eq!(scripted.ask(refused).await.status, 401, "{name}");
        let passed = scripted.get("/api/a", &headers).replacen("GET", method, 1);
        scripted.passed(passed).await;
    }
    // A route that names no origins knows no preflights.
    let request = get("/mcp", ASKS).replacen("GET", "OPTIONS", 1);
    assert_eq!(scripted.ask(request).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_read_why_it_was_refused() {
    let scripted = ScriptedGateway::open(agree, "").await;
    for key in ["", "x-api-key: gk_no\r\n"] {
        let answer = scripted.ask(get("/api/a", &format!("{ORIGIN}{key}"))).await;
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            ["https://pages.example"]
        );
        assert!(answer.header("access-control-expose-headers")[0].contains("WWW-Authenticate"));
        assert_eq!(answer.header("vary"), ["Origin"]);
    }
    let stranger = scripted
        .ask(get("/api/a", "Origin: https://evil.example\r\n"))
        .await;
    assert_eq!(stranger.status, 401);
    assert!(stranger.header("access-control-allow-origin").is_empty());
}
