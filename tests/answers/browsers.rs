//! Pages: their preflights pass without a key, and they can read why a request was refused.

use crate::support::door::{Door, agree, get};

const ORIGIN: &str = "Origin: https://pages.example\r\n";

fn preflight(path: &str, origin: &str) -> String {
    let asks =
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-api-key\r\n";
    get(path, &format!("{origin}{asks}")).replacen("GET", "OPTIONS", 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_of_a_served_origin_passes_without_a_key() {
    let door = Door::open(agree, "").await;
    let seen = door.passed(preflight("/api/a", ORIGIN)).await;
    assert!(seen.head.starts_with("OPTIONS /api/a "), "{}", seen.head);
    let refused = [
        (
            "another origin",
            preflight("/api/a", "Origin: https://evil.example\r\n"),
        ),
        ("no origin", preflight("/api/a", "")),
        (
            "no preflight",
            get("/api/a", ORIGIN).replacen("GET", "OPTIONS", 1),
        ),
        (
            "another method",
            preflight("/api/a", ORIGIN).replacen("OPTIONS", "GET", 1),
        ),
    ];
    for (name, request) in refused {
        assert_eq!(door.ask(request).await.status, 401, "{name}");
    }
    assert_eq!(door.upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_can_read_why_it_was_refused() {
    let door = Door::open(agree, "").await;
    for key in ["", "x-api-key: gk_no\r\n"] {
        let answer = door.ask(get("/api/a", &format!("{ORIGIN}{key}"))).await;
        assert_eq!(answer.status, 401);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            ["https://pages.example"]
        );
        assert!(answer.header("access-control-expose-headers")[0].contains("WWW-Authenticate"));
        assert_eq!(answer.header("vary"), ["Origin"]);
    }
    let stranger = door
        .ask(get("/api/a", "Origin: https://evil.example\r\n"))
        .await;
    assert_eq!(stranger.status, 401);
    assert!(stranger.header("access-control-allow-origin").is_empty());
}
