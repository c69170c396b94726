//! On a path that needs no key nobody looks at the caller's credentials: they are meant for the upstream,
//! and the platform's own is not meant for the caller.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

use super::SWAP;
use crate::support::scripted_gateway::{ScriptedGateway, agree, get};

#[tokio::test(flavor = "multi_thread")]
async fn on_a_public_path_the_callers_own_credentials_reach_the_upstream() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let theirs = [
        ("x-api-key", "theirs"),
        ("x-api-key", "gk_no"),
        ("authorization", "Bearer theirs"),
        ("authorization", "Basic aGFuYTpzZWNyZXQ="),
        (
            "authorization",
            "Digest username=\"hana\", response=\"6629fae4\"",
        ),
        (
            "authorization",
            "bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        ),
    ];
    for (name, value) in theirs {
        let seen = scripted
            .passed(get("/api/public", &format!("{name}: {value}\r\n")))
            .await;
        assert_eq!(seen.header(name), [value], "{name}");
    }
    let both = "x-api-key: one\r\nAuthorization: Bearer two\r\nX-Genkan-User-Id: root\r\nx_api_key: three\r\n";
    let seen = scripted.passed(get("/api/public", both)).await;
    assert_eq!(seen.header("x-api-key"), ["one"]);
    assert_eq!(seen.header("authorization"), ["Bearer two"]);
    assert!(
        !seen.head.contains("root") && !seen.head.contains("three"),
        "{}",
        seen.head
    );
    // Elsewhere they are the gateway's to read, and stay here.
    let seen = scripted
        .passed(scripted.get("/api/a", "Authorization: Basic aGFuYTpzZWNyZXQ=\r\n"))
        .await;
    assert!(seen.header("authorization").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_ours_reaches_no_upstream_on_a_public_path_either() {
    let scripted = ScriptedGateway::open(agree, "").await;
    // What passes beside it shows that the credentials of this path do pass.
    let theirs = "Bearer theirs";
    let key = scripted.key.plain.as_str();
    let unknown = format!("gk_{}2C8GjS", "0".repeat(30));
    let mistyped = format!("gk_{}", "x".repeat(36));
    for key in [key, unknown.as_str(), mistyped.as_str()] {
        for value in [
            key.to_owned(),
            format!("key={key}, v=1"),
            format!("gk_{key}"),
        ] {
            let headers = format!("x-api-key: {value}\r\nAuthorization: {theirs}\r\n");
            let seen = scripted.passed(get("/api/public", &headers)).await;
            assert!(!seen.head.contains(key), "{value}: {}", seen.head);
            assert_eq!(seen.header("authorization"), [theirs], "{value}");
        }
        let pair = |engine: &base64::engine::GeneralPurpose| engine.encode(format!("hana:{key}"));
        for value in [
            format!("Bearer {key}"),
            format!("bearer\t{key}"),
            format!("Token token=\"{key}\""),
            format!("Basic {}", pair(&STANDARD)),
            format!("Basic {}", pair(&STANDARD_NO_PAD)),
            format!("basic  {}", pair(&URL_SAFE)),
            format!("Basic {}", STANDARD.encode(format!("{key}:"))),
            format!("Basic {}==", pair(&STANDARD)),
            format!("Basic {}====", pair(&STANDARD_NO_PAD)),
            format!("Basic \"{}\"", pair(&URL_SAFE)),
            format!("Token token={}", pair(&STANDARD)),
            format!("Token token=\"{}\"; x=1", pair(&URL_SAFE)),
            format!("Basic:{}", pair(&STANDARD)),
            format!("Basic/{}", pair(&STANDARD_NO_PAD)),
        ] {
            let headers = format!("Authorization: {value}\r\nx-api-key: theirs\r\n");
            let seen = scripted.passed(get("/api/public", &headers)).await;
            assert!(
                seen.header("authorization").is_empty(),
                "{value}: {}",
                seen.head
            );
            assert_eq!(seen.header("x-api-key"), ["theirs"], "{value}");
        }
        let twice = format!("x-api-key: theirs\r\nx-api-key: {key}\r\n");
        let seen = scripted.passed(get("/api/public", &twice)).await;
        assert!(!seen.head.contains(key), "{}", seen.head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_ours_passes_in_no_header_of_any_route() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let key = scripted.key.plain.as_str();
    for path in ["/api/a", "/api/public", "/mcp"] {
        for line in [
            format!("X-Auth-Token: {key}"),
            format!("api-key: {key}"),
            format!("Referer: https://pages.example/?key={key}&x=1"),
            format!("X-Note: a\r\nX-Note: {key}"),
            format!("Cookie: token={key}"),
        ] {
            let seen = scripted
                .passed(scripted.get(path, &format!("{line}\r\nX-Kept: 1\r\n")))
                .await;
            assert!(!seen.head.contains(key), "{line}: {}", seen.head);
            assert_eq!(seen.header("x-kept"), ["1"]);
        }
        let cookies = format!("Cookie: a=1; token={key}; b=2\r\n");
        let seen = scripted.passed(scripted.get(path, &cookies)).await;
        assert_eq!(seen.header("cookie"), ["a=1; b=2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_ours_passes_in_no_other_part_of_a_head_nor_in_a_trailer() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let key = scripted.key.plain.as_str();
    for path in ["/api/a", "/api/public", "/mcp"] {
        let chunked = "Transfer-Encoding: chunked\r\nTrailer: X-Note, X-Sum\r\nTE: trailers\r\n";
        let request = scripted.get(path, chunked).replacen("GET", "POST", 1);
        let end = format!("0\r\nX-Note: key={key}\r\nX-Sum: 1\r\n\r\n");
        let seen = scripted.passed(request + &end).await;
        assert_eq!(seen.trailers.to_ascii_lowercase(), "x-sum: 1\r\n", "{path}");
        let upgrade = format!("Connection: upgrade\r\nUpgrade: {key}\r\n");
        let named = format!("{key}: 1\r\n");
        for lines in [upgrade, named] {
            let seen = scripted.passed(scripted.get(path, &lines)).await;
            let head = seen.head.to_ascii_lowercase();
            assert!(!head.contains(&key.to_ascii_lowercase()), "{head}");
        }
        let before = scripted.upstream.seen().len();
        for (host, status) in [
            (key.to_owned(), 400),
            (format!("{key}.example.com:80"), 400),
            (format!("a.{key}"), 400),
        ] {
            let request = scripted.get(path, "").replacen("genkan.test", &host, 1);
            assert_eq!(scripted.ask(request).await.status, status, "{host}");
        }
        let request = scripted.get(path, "").replacen("GET", key, 1);
        assert_eq!(scripted.ask(request).await.status, 405);
        assert_eq!(scripted.upstream.seen().len(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_under_escapes_is_not_logged() {
    let log = "[log]\nformat = \"json\"\nlevel = \"info\"\nrequests = \"all\"\n";
    let mut scripted = ScriptedGateway::open(agree, log).await;
    let key = scripted.key.plain.clone();
    let secret = &key[3..];
    let half = format!(
        "gk_{}%{:02x}{}",
        &secret[..9],
        secret.as_bytes()[9],
        &secret[10..]
    );
    for (name, path, status) in [
        ("a", format!("/api/%67k_{secret}"), 401),
        ("b", format!("/nowhere/g%6b%5F{secret}"), 404),
        ("c", format!("/api/%2567k_{secret}"), 400),
        ("d", format!("/api//%67k_{secret}"), 400),
        ("e", format!("/nowhere/{half}"), 404),
    ] {
        // Each is told from the others by its method.
        let method = format!("STORY-{name}");
        let answer = scripted
            .ask(get(&path, "").replacen("GET", &method, 1))
            .await;
        assert_eq!(answer.status, status, "{path}");
        let is_it = |line: &str| line.contains(&method);
        let line = scripted.gateway.stderr_line(&path, is_it).await;
        assert!(line.contains("gk_…"), "{line}");
        let shown = [&secret[..8], &secret[12..20], &secret[26..]];
        assert!(!shown.iter().any(|it| line.contains(it)), "{line}");
    }
    let method = key.clone();
    assert_eq!(
        scripted
            .ask(get("/api/a", "").replacen("GET", &method, 1))
            .await
            .status,
        405
    );
    let is_it = |line: &str| line.contains("method_not_allowed");
    let line = scripted.gateway.stderr_line("a method", is_it).await;
    assert!(!line.contains(secret), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_credential_is_for_callers_with_a_key() {
    let scripted = ScriptedGateway::open(agree, SWAP).await;
    for headers in ["", "x-api-key: gk_no\r\n", "x-api-key: platform2\r\n"] {
        let seen = scripted.passed(get("/swap/open", headers)).await;
        assert!(
            !seen.header("x-api-key").contains(&"platform"),
            "{}",
            seen.head
        );
    }
    let seen = scripted.passed(scripted.get("/swap/a", "")).await;
    assert_eq!(seen.header("x-api-key"), ["platform"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_path_gets_the_platforms_credential_where_it_is_named() {
    let swap = format!("{SWAP}public_paths = [\"/swap/free\"]\n");
    let scripted = ScriptedGateway::open(agree, &swap).await;
    let seen = scripted
        .passed(get("/swap/free", "x-api-key: theirs\r\n"))
        .await;
    assert_eq!(seen.header("x-api-key"), ["platform"]);
    let seen = scripted.passed(get("/swap/open", "")).await;
    assert!(seen.header("x-api-key").is_empty(), "{}", seen.head);
    assert_eq!(scripted.ask(get("/swap/free/x", "")).await.status, 401);
}
