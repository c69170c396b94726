//! What people type and what others will read: names that cannot pose as another, hashes and times that
//! mean one thing. (Every character: `model::name::tests`.)

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};

use crate::support::deployment::{Deployment, Engine, Key, Process};
use crate::support::{postgres, tls};

/// Nothing is asked of it by these stories.
const NO_UPSTREAM: &str = "127.0.0.1:9";
const MEMBER: &str = "hana@example.com";
/// The longest that a key can be good for, in seconds: ten years.
const LIFETIME_MAX_S: u64 = 315_360_000;

/// One deployment for each database, and how to change it past genkan.
enum Home {
    Sqlite(Deployment),
    Postgres(Deployment, String),
}

impl Home {
    async fn both() -> [Self; 2] {
        let upstream = NO_UPSTREAM.parse().unwrap();
        let url = postgres::database().await;
        let url = url.split('?').next().unwrap().to_owned();
        [
            Self::Sqlite(Deployment::new(Engine::Sqlite, upstream, "").await),
            Self::Postgres(Deployment::on(&url, upstream, ""), url),
        ]
    }

    fn deployment(&self) -> &Deployment {
        match self {
            Self::Sqlite(deployment) | Self::Postgres(deployment, _) => deployment,
        }
    }

    async fn sql(&self, statement: &str) {
        match self {
            Self::Postgres(_, url) => postgres::execute(url, statement).await,
            Self::Sqlite(deployment) => {
                let path = deployment.folder.path().join("genkan.db");
                let url = format!("sqlite://{}", path.display());
                let mut shell = SqliteConnection::connect(&url).await.unwrap();
                let statement = AssertSqlSafe(statement.to_owned());
                shell.execute(statement).await.unwrap();
            }
        }
    }
}

/// What the API answers to the owner's key: the status and the body.
async fn ask(
    gateway: &Process,
    key: &Key,
    (method, path): (&str, &str),
    body: Option<Value>,
    language: &str,
) -> (u16, Value) {
    tls::install_provider();
    let url = format!("http://{}{path}", gateway.address("admin"));
    let request = reqwest::Client::new()
        .request(method.parse().unwrap(), url)
        .bearer_auth(&key.plain)
        .header("accept-language", language);
    let request = match body {
        Some(body) => request
            .header("content-type", "application/json")
            .body(body.to_string()),
        None => request,
    };
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

async fn post(gateway: &Process, key: &Key, path: &str, body: Value) -> (u16, Value) {
    ask(gateway, key, ("POST", path), Some(body), "en").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_an_imported_key_has_digits_and_no_signs() {
    let deployment = Deployment::new(Engine::Sqlite, NO_UPSTREAM.parse().unwrap(), "").await;
    let rest = "a".repeat(62);
    for hash in [
        format!("+f{rest}"),
        format!("-1{rest}"),
        format!("{rest}+f"),
        format!("0x{rest}"),
    ] {
        let sha256 = format!("--sha256={hash}");
        let import = ["keys", "import", &sha256, "--name", "x", "--member", MEMBER];
        let done = deployment.run(&import);
        assert_ne!(done.code, Some(0), "{hash}: {done:?}");
        let message = "expected 64 hexadecimal digits";
        assert!(done.stderr.contains(message), "{done:?}");
    }
    // Small or capital, it is one hash.
    let import = |hash: &str| {
        let import = ["keys", "import", "--sha256", hash, "--name", "x"];
        deployment.run(&[&import[..], &["--member", MEMBER, "-q"]].concat())
    };
    import(&format!("ff{rest}")).ok();
    import(&format!("FF{}", rest.to_uppercase())).failed(6, &["exists"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_has_a_nonsense_end() {
    let deployment = Deployment::new(Engine::Sqlite, NO_UPSTREAM.parse().unwrap(), "").await;
    for too_long in ["18446744073709551615s", "3651d", "30000000000000w"] {
        let create = ["keys", "create", "--name", "x", "--member", MEMBER];
        let done = deployment.run(&[&create[..], &["--expires", too_long]].concat());
        assert_ne!(done.code, Some(0), "{done:?}");
        assert!(done.stderr.contains("3650d"), "{done:?}");
    }
    deployment.key("ten years", &["--expires", "3650d"]);

    let key = deployment.key(
        "m",
        &["--scope", "api", "--scope", "mcp", "--scope", "manage"],
    );
    let gateway = deployment.start().await;
    for seconds in [u64::MAX, u64::MAX / 1_000, LIFETIME_MAX_S + 1] {
        for (language, message) in [("en", "ten years"), ("ja", "10年"), ("ko", "10년")] {
            let body = json!({ "name": "x", "expires_in_s": seconds });
            let post = ("POST", "/api/v1/keys");
            let (status, body) = ask(&gateway, &key, post, Some(body), language).await;
            assert_eq!(status, 422, "{seconds}: {body}");
            let error = &body["errors"][0];
            assert_eq!(error["pointer"], "/expires_in_s");
            assert!(
                error["detail"].as_str().unwrap().contains(message),
                "{body}"
            );
        }
    }
    let body = json!({ "name": "x", "expires_in_s": LIFETIME_MAX_S });
    let (status, body) = post(&gateway, &key, "/api/v1/keys", body).await;
    assert_eq!(status, 201, "{body}");
    let end = body["expires_at"].as_str().unwrap();
    assert!(end.starts_with("20") && end.ends_with('Z'), "{body}");
    // The other times of the API, out of their bounds.
    let rotation = format!("/api/v1/keys/{}/rotation", key.id);
    for field in ["overlap_s", "silent_s"] {
        let (status, body) = post(&gateway, &key, &rotation, json!({ field: u64::MAX })).await;
        assert_eq!(
            (status, &body["errors"][0]["pointer"]),
            (422, &json!(format!("/{field}")))
        );
    }
    // Beyond what the type of the field holds.
    let body = r#"{"name":"x","expires_in_s":18446744073709551616}"#;
    let body = serde_json::from_str(body).unwrap();
    let (status, _body) = post(&gateway, &key, "/api/v1/keys", body).await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_a_character_that_is_not_seen_is_refused() {
    let deployment = Deployment::new(Engine::Sqlite, NO_UPSTREAM.parse().unwrap(), "").await;
    let key = deployment.key(
        "m",
        &["--scope", "api", "--scope", "mcp", "--scope", "manage"],
    );
    let gateway = deployment.start().await;
    for hidden in [
        "ci\u{200b}",
        "c\u{200d}i",
        "c\u{ad}i",
        "c\u{3164}i",
        "ci\u{fe0f}",
        "ci\u{e0041}",
        "ci\u{e000}",
        "ci\u{10ffff}",
    ] {
        let create = ["keys", "create", "--name", hidden, "--member", MEMBER];
        let done = deployment.run(&create);
        assert_ne!(done.code, Some(0), "{hidden:?}: {done:?}");
        assert!(done.stderr.contains("cannot be seen"), "{done:?}");
        for (path, language, message) in [
            ("/api/v1/keys", "en", "cannot be seen"),
            ("/api/v1/service-accounts", "ja", "見えない文字"),
            ("/api/v1/keys", "ko", "보이지 않는 문자"),
        ] {
            let body = json!({ "name": hidden });
            let (status, body) = ask(&gateway, &key, ("POST", path), Some(body), language).await;
            assert_eq!(status, 422, "{hidden:?}: {body}");
            let detail = body["errors"][0]["detail"].as_str().unwrap();
            assert!(detail.contains(message), "{body}");
        }
    }
    for seen in ["玄関", "열쇠", "👩‍💻 laptop", "❤️", "Zoë"] {
        let (status, body) = post(&gateway, &key, "/api/v1/keys", json!({ "name": seen })).await;
        assert_eq!((status, &body["name"]), (201, &json!(seen)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_looks_like_one_that_is_there_exists_already() {
    for home in Home::both().await {
        let deployment = home.deployment();
        // With a Greek o, and with a no-break space where a space was.
        for twin in ["Stοry", "Story"] {
            let done = deployment.run(&["organizations", "create", twin]);
            done.failed(6, &["Story", "exists already"]);
        }
        deployment.run(&["organizations", "create", "My Team"]).ok();
        for twin in ["My\u{a0}Team", "My  Team", "My \u{a0}\u{2003}Team"] {
            let done = deployment.run(&["organizations", "create", twin]);
            done.failed(6, &["exists already"]);
        }
        deployment.run(&["organizations", "create", "Storey"]).ok();

        let key = deployment.key(
            "m",
            &["--scope", "api", "--scope", "mcp", "--scope", "manage"],
        );
        let gateway = deployment.start().await;
        let accounts = "/api/v1/service-accounts";
        let (status, _made) = post(&gateway, &key, accounts, json!({ "name": "build" })).await;
        assert_eq!(status, 201);
        // Cyrillic і, a Roman numeral, the same.
        for twin in ["buіld", "buⅰld", "build"] {
            let (status, body) = post(&gateway, &key, accounts, json!({ "name": twin })).await;
            assert_eq!(
                (status, &body["type"]),
                (409, &json!("urn:genkan:problem:exists"))
            );
        }
        let (status, _made) = post(&gateway, &key, accounts, json!({ "name": "builder" })).await;
        assert_eq!(status, 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_before_the_rules_are_still_read() {
    for home in Home::both().await {
        let deployment = home.deployment();
        let key = deployment.key(
            "m",
            &["--scope", "api", "--scope", "mcp", "--scope", "manage"],
        );
        let old = "o\u{200b}ld \u{e000}";
        for table in ["keys", "users", "organizations"] {
            home.sql(&format!("UPDATE {table} SET name = '{old}'"))
                .await;
        }
        for command in [
            &["keys", "list"][..],
            &["keys", "show", &key.id],
            &["members", "list"],
            &["organizations", "list"],
        ] {
            let text = deployment
                .run(&[command, &["--output", "json"]].concat())
                .ok();
            assert!(text.contains("ld "), "{command:?}: {text}");
        }
        let gateway = deployment.start().await;
        let path = format!("/api/v1/keys/{}", key.id);
        let (status, body) = ask(&gateway, &key, ("GET", &path), None, "en").await;
        assert_eq!((status, &body["name"]), (200, &json!(old)));
        // It can be given a better one.
        let body = json!({ "name": "new" });
        let (status, body) = ask(&gateway, &key, ("PATCH", &path), Some(body), "en").await;
        assert_eq!((status, &body["name"]), (200, &json!("new")));
    }
}
