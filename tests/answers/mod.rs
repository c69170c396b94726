//! What callers are told: every refusal has one look, says nothing that helps to guess, and lets a
//! client do the right thing next.

mod browsers;
mod headers;
mod mcp;
mod store_away;
mod upstream_trouble;

use std::time::Duration;

use crate::support::client::{self, Mode};
use crate::support::raw::Answer;
use crate::support::scripted_gateway::{ScriptedGateway, agree, get};
use crate::support::within;

/// Words by which some MCP clients decide, in the text of a 401, that the endpoint is absent.
const MISLEADING: [&str; 4] = ["404", "405", "Not Found", "Method Not Allowed"];

fn challenge(answer: &Answer) -> &str {
    // Title case: some clients compare the name as text.
    assert!(
        answer.head.contains("\r\nWww-Authenticate: "),
        "{}",
        answer.head
    );
    answer.header("www-authenticate")[0]
}

/// A well-formed key that nobody has: the alphabet's first digit thirty times, and its checksum.
fn unknown_key() -> String {
    format!("gk_{}2C8GjS", "0".repeat(30))
}

/// The same key with its last digit exchanged.
fn wrong_checksum(key: &str) -> String {
    let other = if key.ends_with('0') { '1' } else { '0' };
    format!("{}{other}", &key[..key.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_is_a_bare_challenge() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let without = [
        ("none", ""),
        ("an empty header", "x-api-key:\r\n"),
        ("an empty header of spaces", "x-api-key:   \r\n"),
        (
            "another scheme",
            "Authorization: Basic aGFuYTpzZWNyZXQ=\r\n",
        ),
        ("a cookie", "Cookie: x-api-key=KEY\r\n"),
        ("an underscore", "x_api_key: KEY\r\n"),
    ];
    let mut wire = scripted.wire().await;
    for (name, headers) in without {
        let request = get("/api/a", &headers.replace("KEY", &scripted.key.plain));
        let answer = wire.ask(request).await;
        assert_eq!(answer.status, 401, "{name}");
        assert_eq!(challenge(&answer), "Bearer realm=\"api\"", "{name}");
        answer.problem();
    }
    for query in ["x-api-key", "api_key", "key", "access_token"] {
        let answer = wire
            .ask(get(&format!("/api/a?{query}={}", scripted.key.plain), ""))
            .await;
        assert_eq!(answer.status, 401, "{query} in the query");
        assert!(!answer.text().contains(&scripted.key.plain));
    }
    // All of it on one connection, which is still good.
    assert_eq!(wire.ask(scripted.get("/api/a", "")).await.status, 200);
    assert_eq!(scripted.upstream.seen().len(), 1);
    let log = scripted.gateway.stderr().join("\n");
    assert!(
        !log.contains(&scripted.key.plain),
        "a key in the query was logged"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_that_does_not_open_gets_the_same_answer() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let revoked = scripted.deployment.key("revoked", &[]);
    assert_eq!(
        scripted
            .ask(get("/api/a", &api_key(&revoked.plain)))
            .await
            .status,
        200
    );
    scripted
        .deployment
        .run(&["keys", "revoke", &revoked.id])
        .ok();
    let expired = scripted.deployment.key("expired", &["--expires", "1s"]);
    within("the key expires", async {
        while scripted
            .ask(get("/api/a", &api_key(&expired.plain)))
            .await
            .status
            == 200
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let seen = scripted.upstream.seen().len();

    let unknown = unknown_key();
    let bad = [
        ("unknown", unknown.clone()),
        ("unknown, asked again", unknown.clone()),
        ("revoked", revoked.plain),
        ("expired", expired.plain),
        ("a wrong checksum", wrong_checksum(&scripted.key.plain)),
        ("too short", "gk_1".to_owned()),
        (
            "of another kind",
            "sk-not-one-of-ours-at-all-0123456789".to_owned(),
        ),
        ("not ASCII", "gk_玄関".to_owned()),
        ("with a space", format!("{} x", scripted.key.plain)),
        ("in upper case", scripted.key.plain.to_uppercase()),
        ("very long", "x".repeat(4_000)),
    ];
    let first = scripted.ask(get("/api/a", &api_key(&unknown))).await;
    assert_eq!(first.status, 401);
    assert_eq!(
        challenge(&first),
        "Bearer realm=\"api\", error=\"invalid_token\""
    );
    let mut wire = scripted.wire().await;
    for (name, key) in bad {
        for header in [api_key(&key), format!("Authorization: Bearer {key}\r\n")] {
            let answer = wire.ask(get("/api/a", &header)).await;
            assert_eq!(answer.without_id(), first.without_id(), "{name}");
            assert!(!answer.text().contains(&key), "{name}");
        }
    }
    assert_eq!(scripted.upstream.seen().len(), seen);
    assert_eq!(wire.ask(scripted.get("/api/a", "")).await.status, 200);
}

fn api_key(key: &str) -> String {
    format!("x-api-key: {key}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_may_come_in_many_ways() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let key = &scripted.key.plain;
    let ways = [
        format!("x-api-key: {key}"),
        format!("X-API-KEY:\t {key} \t"),
        format!("Authorization: Bearer {key}"),
        format!("authorization: bearer {key}"),
        format!("Authorization:  BEARER    {key}  "),
        format!("Authorization: Bearer\t{key}"),
        // The same key twice, in two headers, leaves nothing to guess.
        format!("x-api-key: {key}\r\nAuthorization: Bearer {key}"),
        format!("x-api-key:\r\nAuthorization: Bearer {key}"),
        format!("Connection: x-api-key\r\nx-api-key: {key}"),
    ];
    for way in ways {
        let seen = scripted.passed(get("/api/a", &format!("{way}\r\n"))).await;
        assert!(
            !seen.head.contains(key.as_str()),
            "{way} reached the upstream"
        );
        assert!(seen.header("x-api-key").is_empty() && seen.header("authorization").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_credentials_are_a_malformed_request() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let key = &scripted.key.plain;
    let other = scripted.deployment.key("other", &[]).plain;
    let both = [
        (
            "two headers",
            format!("x-api-key: {key}\r\nAuthorization: Bearer {other}\r\n"),
        ),
        (
            "one good, one not",
            format!("x-api-key: {key}\r\nAuthorization: Bearer no\r\n"),
        ),
        (
            "one good, one empty",
            format!("x-api-key: {key}\r\nAuthorization: Bearer\r\n"),
        ),
        (
            "x-api-key twice",
            format!("x-api-key: {key}\r\nx-api-key: {other}\r\n"),
        ),
        (
            "x-api-key twice the same",
            format!("x-api-key: {key}\r\nx-api-key: {key}\r\n"),
        ),
        (
            "Authorization twice",
            format!("Authorization: Bearer {key}\r\nAuthorization: Basic eA==\r\n"),
        ),
    ];
    for (name, headers) in both {
        let answer = scripted.ask(get("/api/a", &headers)).await;
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(
            challenge(&answer),
            "Bearer realm=\"api\", error=\"invalid_request\"",
            "{name}"
        );
        answer.problem();
    }
    assert!(scripted.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_the_scope_is_told_which_one_it_lacks() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let narrow = scripted.deployment.key("narrow", &["--scope", "mcp"]);
    let mut wire = scripted.wire().await;
    let answer = wire.ask(get("/api/a", &api_key(&narrow.plain))).await;
    assert_eq!(answer.status, 403);
    let expected = "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"api\"";
    assert_eq!(challenge(&answer), expected);
    answer.problem();
    assert!(scripted.upstream.seen().is_empty());
    assert_eq!(
        wire.ask(get("/mcp", &api_key(&narrow.plain))).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_above_its_rate_is_told_when_to_come_back() {
    let scripted =
        ScriptedGateway::open(agree, "[limits]\nrequests_per_second_per_key = 2\n").await;
    let other = scripted.deployment.key("other", &[]);
    let mut wire = scripted.wire().await;
    let refused = within("the rate is used up", async {
        loop {
            let answer = wire.ask(scripted.get("/api/a", "")).await;
            if answer.status != 200 {
                return answer;
            }
        }
    })
    .await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), ["1"]);
    assert!(refused.header("www-authenticate").is_empty());
    refused.problem();
    let answer = wire.ask(get("/api/a", &api_key(&other.plain))).await;
    assert_eq!(answer.status, 200, "another key has a rate of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_refusal_of_a_key_holds_a_word_that_misleads_mcp_clients() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let narrow = scripted
        .deployment
        .key("narrow", &["--scope", "manage"])
        .plain;
    let mut wire = scripted.wire().await;
    // Request ids differ each time: none of them may hold such a word either.
    for _ in 0..200 {
        for (headers, status) in [
            (String::new(), 401),
            (api_key("gk_no"), 401),
            (api_key(&narrow), 403),
        ] {
            let answer = wire.ask(get("/mcp", &headers)).await;
            assert_eq!(answer.status, status);
            for word in MISLEADING {
                assert!(!answer.text().contains(word), "{word} in {}", answer.text());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nowhere_is_404_and_public_paths_need_no_key() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let answer = scripted.ask(scripted.get("/elsewhere", "")).await;
    assert_eq!(answer.status, 404);
    answer.problem();
    assert!(scripted.upstream.seen().is_empty());
    let seen = scripted
        .passed(get("/api/public", "X-Genkan-User-Id: root\r\n"))
        .await;
    assert!(
        !seen.head.to_ascii_lowercase().contains("x-genkan-"),
        "{}",
        seen.head
    );
    // A key there is neither asked for nor passed on.
    let seen = scripted
        .passed(get("/api/public", &api_key(&unknown_key())))
        .await;
    assert!(seen.header("x-api-key").is_empty());
    for near in [
        "/api/public/",
        "/api/publicity",
        "/api/public/../a",
        "/api/%70ublic/x",
    ] {
        let answer = scripted.ask(get(near, "")).await;
        assert!(
            matches!(answer.status, 400 | 401),
            "{near}: {}",
            answer.status
        );
    }
    scripted.passed(get("/api/%70ublic", "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_head_has_no_body_and_keeps_the_connection_in_step() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let mut wire = scripted.wire().await;
    let answer = wire.ask(get("/api/a", "").replacen("GET", "HEAD", 1)).await;
    assert_eq!((answer.status, answer.body.len()), (401, 0));
    assert_eq!(challenge(&answer), "Bearer realm=\"api\"");
    assert_eq!(wire.ask(scripted.get("/api/a", "")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_the_answers_are_the_same_and_one_refusal_does_not_end_the_others() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let narrow = scripted.deployment.key("narrow", &["--scope", "mcp"]).plain;
    let target = scripted.deployment.target(&scripted.gateway, None);
    let mut connection = target.connect(Mode::TlsHttp2).await;
    let bare = "Bearer realm=\"api\"";
    for (key, status, challenge) in [
        (None, 401, bare.to_owned()),
        (
            Some("gk_no"),
            401,
            format!("{bare}, error=\"invalid_token\""),
        ),
        (
            Some(&*narrow),
            403,
            format!("{bare}, error=\"insufficient_scope\", scope=\"api\""),
        ),
    ] {
        let request = target.request(Mode::TlsHttp2, "GET", "/api/a");
        let request = key
            .into_iter()
            .fold(request, |it, key| it.header("x-api-key", key));
        let answer = connection
            .send(request.body(client::empty()).unwrap())
            .await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["www-authenticate"], challenge);
        let id = answer.headers()["x-request-id"].clone();
        assert_eq!(
            client::json(answer).await["request_id"],
            id.to_str().unwrap()
        );
    }
    let good = target
        .request(Mode::TlsHttp2, "GET", "/api/a")
        .header("x-api-key", &scripted.key.plain);
    let answer = connection.send(good.body(client::empty()).unwrap()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(scripted.upstream.seen().len(), 1);
}
