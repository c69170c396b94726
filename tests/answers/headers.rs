//! What an upstream is told of a caller: who it is, once, by us; where it came from, by us or by whom
//! we trust; and never its key.

use crate::support::scripted::{Reply, Seen};
use crate::support::scripted_gateway::{ScriptedGateway, agree};

const IDENTITY: [&str; 5] = [
    "x-genkan-key-id",
    "x-genkan-organization-id",
    "x-genkan-user-id",
    "x-genkan-user-email",
    "x-genkan-scopes",
];

/// The lines of a head that a reader who folds all but letters and digits takes for one of ours.
fn folded<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    let fold = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        name.replace(|it: char| !it.is_ascii_alphanumeric(), "-")
    };
    seen.head
        .split("\r\n")
        .skip(1)
        .filter(|line| fold(line) == name)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_cannot_be_brought_along() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let spoofs = [
        "X-Genkan-User-Id: root",
        "x_genkan_user_id: root",
        "X.Genkan.User.Id: root",
        "X-Genkan_User.Id: root",
        "X!Genkan!User!Id: root",
        "x~genkan|user^id: root",
        "X-Genkan-User-Id: root\r\nX-Genkan-User-Id: root",
        "Connection: x-genkan-user-id",
        "Connection: x-genkan-user-id\r\nX-Genkan-User-Id: root",
        "Connection: close, x-genkan-user-email, x-genkan-key-id",
        "X-Genkan-Anything: root",
        "X.Genkan.User: root",
        "X-GENKAN-SCOPES: manage",
    ];
    for spoof in spoofs {
        let seen = scripted
            .passed(scripted.get("/api/a", &format!("{spoof}\r\n")))
            .await;
        for name in IDENTITY {
            assert_eq!(
                folded(&seen, name).len(),
                1,
                "{spoof}: {name} in {}",
                seen.head
            );
        }
        assert!(!seen.head.contains("root"), "{spoof}: {}", seen.head);
        assert_eq!(seen.header("x-genkan-user-email"), ["hana@example.com"]);
        assert_eq!(seen.header("x-genkan-key-id"), [scripted.key.id.as_str()]);
        assert!(
            !seen.header("x-genkan-scopes")[0].contains("manage"),
            "{spoof}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_never_passed_on_under_any_name() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let key = &scripted.key.plain;
    let copies =
        format!("x_api_key: {key}\r\nx.api.key: {key}\r\nProxy-Authorization: Bearer {key}\r\n");
    let seen = scripted.passed(scripted.get("/api/a", &copies)).await;
    assert!(!seen.head.contains(key.as_str()), "{}", seen.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_one_hop_stays_there() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let hop = "Connection: keep-alive, X-Mine, x-forwarded-for\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\n\
               Proxy-Connection: keep-alive\r\nTE: gzip\r\nX-Kept: 1\r\n";
    let seen = scripted
        .passed(scripted.get("/api/a?x=%2F&y=1;2", hop))
        .await;
    for name in [
        "connection",
        "keep-alive",
        "x-mine",
        "proxy-connection",
        "te",
    ] {
        assert!(seen.header(name).is_empty(), "{name} in {}", seen.head);
    }
    assert_eq!(seen.header("x-kept"), ["1"]);
    assert_eq!(
        seen.header("x-forwarded-for"),
        ["127.0.0.1"],
        "ours are set last"
    );
    assert_eq!(
        seen.target(),
        "/api/a?x=%2F&y=1;2",
        "a query is passed as it came"
    );
    // `Connection: host` must not take away what the route was chosen by.
    let seen = scripted
        .passed(scripted.get("/api/a", "Connection: host\r\n"))
        .await;
    assert_eq!(seen.header("host"), ["genkan.test"]);
}

const FORWARDED: &str = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\n\
    X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Prefix: /evil\r\n\
    X_Forwarded_For: 7.7.7.7\r\nX-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9;proto=https\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_not_believed_about_where_it_came_from() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let seen = scripted.passed(scripted.get("/api/a", FORWARDED)).await;
    assert_eq!(seen.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.header("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.header("x-forwarded-host"), ["genkan.test"]);
    assert_eq!(seen.header("forwarded"), ["for=127.0.0.1;proto=http"]);
    for wrong in ["9.9.9.9", "8.8.8.8", "7.7.7.7", "evil"] {
        assert!(!seen.head.contains(wrong), "{wrong} in {}", seen.head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_is_believed_and_continued() {
    let scripted = ScriptedGateway::open_trusting(agree, "127.0.0.0/8").await;
    let seen = scripted.passed(scripted.get("/api/a", FORWARDED)).await;
    assert_eq!(
        seen.header("x-forwarded-for"),
        ["9.9.9.9, 8.8.8.8, 127.0.0.1"]
    );
    assert_eq!(seen.header("x-forwarded-proto"), ["https"]);
    // The route was chosen by `Host`; and where there is X-Forwarded-For, Forwarded is the client's own word.
    assert_eq!(seen.header("x-forwarded-host"), ["genkan.test"]);
    assert_eq!(seen.header("forwarded"), ["for=127.0.0.1;proto=http"]);
    assert!(!seen.head.contains("7.7.7.7"), "{}", seen.head);
    let alone = "Forwarded: for=9.9.9.9;proto=https\r\n";
    let seen = scripted.passed(scripted.get("/api/a", alone)).await;
    assert_eq!(
        seen.header("forwarded"),
        ["for=9.9.9.9;proto=https, for=127.0.0.1;proto=http"]
    );
    assert_eq!(seen.header("x-forwarded-for"), ["127.0.0.1"]);
}

fn knows_another_way(_: &Seen) -> Reply {
    Reply::Bytes(
        "HTTP/1.1 200 OK\r\nAlt-Svc: h3=\":443\"; ma=3600\r\nalt-svc: h2=\"up.example:443\"\r\n\
         Content-Length: 0\r\n\r\n",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_not_told_where_else_the_upstream_is() {
    let scripted = ScriptedGateway::open(knows_another_way, "").await;
    let answer = scripted.ask(scripted.get("/api/a", "")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("alt-svc").is_empty(), "{}", answer.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_own_credential_takes_the_place_of_the_callers() {
    let swap = "[[routes]]\nname = \"swap\"\npath_prefix = \"/swap/\"\nupstream = \"genesis\"\n\
                scope = \"api\"\n[routes.upstream_credential]\nheader = \"x-api-key\"\nvalue = \"platform\"\n";
    let scripted = ScriptedGateway::open(agree, swap).await;
    let seen = scripted
        .passed(scripted.get("/swap/a", "Connection: x-api-key\r\n"))
        .await;
    assert_eq!(seen.header("x-api-key"), ["platform"]);
    let seen = scripted.passed(scripted.get("/api/a", "")).await;
    assert!(
        seen.header("x-api-key").is_empty(),
        "only where the route says so"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_that_was_authorised_is_the_path_that_arrives() {
    let scripted = ScriptedGateway::open(agree, "").await;
    for path in [
        "/api/..;/mcp",
        "/api/a/..",
        "/api/../mcp",
        "/api/./a",
        "/api/%2e%2e/mcp",
        "/api/.%2E/mcp",
        "/api/%252e%252e/mcp",
        "/api//a",
        "//api/a",
        "/api/a%2fb",
        "/api/a%2Fb",
        "/api/a\\b",
        "/api/a%5cb",
        "/api/a%00",
        "/api/a%0d%0aX-One:1",
        "/api/a%",
        "/api/a%zz",
        "/api/é",
    ] {
        let answer = scripted.ask(scripted.get(path, "")).await;
        assert_eq!(answer.status, 400, "{path}");
    }
    assert!(scripted.upstream.seen().is_empty());
    for (path, canonical) in [
        ("/%61pi/%7eb", "/api/~b"),
        ("/api/%e3%81%82", "/api/%E3%81%82"),
        ("/api/@evil", "/api/@evil"),
    ] {
        assert_eq!(
            scripted.passed(scripted.get(path, "")).await.target(),
            canonical
        );
    }
    // Not yet 400: the parser drops a fragment before anybody sees it. Nobody behind sees it either.
    let fragment = scripted.get("/api/a#/../../mcp", "");
    assert_eq!(scripted.passed(fragment).await.target(), "/api/a");
    let absolute = scripted
        .get("/api/a?b", "")
        .replacen("/api", "http://genkan.test/api", 1);
    assert_eq!(scripted.passed(absolute).await.target(), "/api/a?b");
}
