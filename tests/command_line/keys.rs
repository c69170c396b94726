//! What an operator does with keys and service accounts by command, with a gateway that runs.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor};

use super::{deployment, sqlite};
use crate::support::deployment::{Deployment, Engine, Process};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;

/// Keys of a list that is as long as lists get here: several parts of it.
const MANY: usize = 2_500;

async fn status(gateway: &Process, key: &str) -> u16 {
    let request =
        format!("GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {key}\r\n\r\n");
    let mut wire = Wire::connect(gateway.address("plain")).await;
    wire.ask(request).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_with_an_overlap_of_choice() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let upstream = Upstream::start().await;
        let deployment = Deployment::new(engine, upstream.plain, "").await;
        let gateway = deployment.start().await;
        let old = deployment.key("ci", &["--expires", "90d", "--scope", "api"]);
        let json = ["keys", "rotate", &old.id, "--output", "json"];
        let made: Value = serde_json::from_str(&deployment.run(&json).ok()).unwrap();
        let new = made["key"].as_str().unwrap();
        assert_eq!(
            (&made["name"], &made["scopes"]),
            (&"ci".into(), &serde_json::json!(["api"]))
        );
        assert!(made["expires_at"].is_string(), "as long a life: {made}");
        for key in [&old.plain, new] {
            assert_eq!(status(&gateway, key).await, 200, "both, for a day");
        }
        // It is being replaced already; its successor is not.
        deployment
            .run(&["keys", "rotate", &old.id])
            .failed(6, &["replaced"]);
        let new_id = made["id"].as_str().unwrap();
        let done = deployment.run(&["keys", "rotate", new_id, "--overlap", "0"]);
        assert!(
            done.stderr
                .contains(&format!("The old key {new_id} works until")),
            "{done:?}"
        );
        let newest = done.ok();
        assert_eq!(status(&gateway, new).await, 401, "no overlap");
        assert_eq!(status(&gateway, newest.trim()).await, 200);
        // By silence; and what is out of bounds says what the bounds are.
        let other = deployment.key("other", &[]);
        let too_short = ["keys", "rotate", &other.id, "--until-unused-for", "59m"];
        deployment
            .run(&too_short)
            .failed(6, &["one hour", "90 days"]);
        deployment
            .run(&["keys", "rotate", &other.id, "--overlap", "91d"])
            .failed(6, &["90 days"]);
        let by_silence = ["keys", "rotate", &other.id, "--until-unused-for", "2h"];
        let done = deployment.run(&by_silence);
        assert!(
            done.stderr
                .contains("ends once it has not been used for 2 h"),
            "{done:?}"
        );
        deployment
            .run(&["keys", "rotate", super::NO_KEY])
            .failed(5, &[super::NO_KEY]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_renamed_and_goes_on_working() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let gateway = deployment.start().await;
    let key = deployment.key("ci", &[]);
    let done = deployment.run(&["keys", "rename", &key.id, "配備"]);
    assert!(done.stderr.contains("from `ci` to `配備`"), "{done:?}");
    assert!(
        deployment
            .run(&["keys", "show", &key.id])
            .ok()
            .contains("配備")
    );
    assert_eq!(status(&gateway, &key.plain).await, 200);
    deployment
        .run(&["keys", "rename", super::NO_KEY, "x"])
        .failed(5, &[super::NO_KEY]);
    let log = deployment.run(&["audit", "export"]).ok();
    assert!(log.contains("key.renamed"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_is_made_given_a_key_and_removed() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let gateway = deployment.start().await;
    let address = deployment
        .run(&["service-accounts", "create", "ci", "-q"])
        .ok();
    let address = address.trim();
    let key = deployment.key_of(address, "deploy", &[]);
    assert_eq!(status(&gateway, &key.plain).await, 200);
    let again = deployment.run(&["service-accounts", "create", "ci"]);
    again.failed(6, &["ci", "exists already"]);
    let owner = ["service-accounts", "create", "boss", "--role", "owner"];
    deployment.run(&owner).failed(6, &["not an owner"]);
    let listed = deployment
        .run(&["service-accounts", "list", "--output", "json"])
        .ok();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["email"]),
        (1, &address.into())
    );
    let person = deployment.run(&["service-accounts", "remove", "hana@example.com"]);
    person.failed(6, &["is a person", "genkan members remove"]);
    let done = deployment.run(&["service-accounts", "remove", address]);
    assert!(done.stderr.contains("1 key ended"), "{done:?}");
    assert_eq!(status(&gateway, &key.plain).await, 401);
}

/// The list comes in parts: nothing is missing, nothing comes twice, and JSON is one array.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_many_keys_is_whole() {
    let deployment = deployment().await;
    let key = deployment.key("first", &[]);
    let config = std::fs::read_to_string(deployment.config()).unwrap();
    let path = config
        .lines()
        .find_map(|line| line.strip_prefix("sqlite = "));
    let path = path.unwrap().trim_matches('"');
    let path = deployment.config().parent().unwrap().join(path);
    let mut database = sqlite(&path).await;
    let fill = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) \
         INSERT INTO keys (id, hash, hint, name, membership_id, organization_id, user_id, scopes, \
             created_at, revoked_at) \
         SELECT 'key_' || printf('%032x', i), randomblob(32), 'gk_…0000', 'key ' || i, \
             k.membership_id, k.organization_id, k.user_id, k.scopes, i, \
             CASE WHEN i % 5 = 0 THEN i END \
         FROM n, keys k WHERE k.id = '{}'",
        key.id
    );
    database.execute(AssertSqlSafe(fill)).await.unwrap();
    for (more, expected) in [(&["--all"][..], MANY + 1), (&[], MANY - MANY / 5 + 1)] {
        let list = [&["keys", "list"][..], more].concat();
        let json = deployment
            .run(&[&list[..], &["--output", "json"]].concat())
            .ok();
        let json: Value = serde_json::from_str(&json).unwrap();
        let ids = json
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap());
        let ids: Vec<_> = ids.collect();
        assert!(ids.is_sorted_by(|a, b| a > b), "newest first, each once");
        assert_eq!((ids.len(), ids[0]), (expected, key.id.as_str()));
        let table = deployment.run(&list).ok();
        assert_eq!(table.lines().count(), expected + 1, "and one heading");
        assert_eq!(table.matches("created at").count(), 1);
    }
    let nobody = deployment.run(&[
        "members",
        "add",
        "jun@example.com",
        "--name",
        "J",
        "--role",
        "admin",
    ]);
    nobody.ok();
    let empty = [
        "keys",
        "list",
        "--member",
        "jun@example.com",
        "--output",
        "json",
    ];
    let empty: Value = serde_json::from_str(&deployment.run(&empty).ok()).unwrap();
    assert_eq!(empty, serde_json::json!([]));
}

/// Two of them on one machine: each link leads to the gateway of its own data folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_link_knows_where_the_running_gateway_is() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let listen = ["--proxy", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let mut gateway = Process::start(&[&["dev", "--data", data][..], &listen].concat());
    let admin = gateway.stdout_line("the admin address", |line| line.contains("/metrics"));
    let admin = admin.await;
    let admin = admin
        .split("http://")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let link = ["sign-in-link", "owner@localhost", "--data", data, "-q"];
    let done = super::genkan(&link).ok();
    assert!(
        done.starts_with(&format!("http://{admin}/sign-in/")),
        "{done}"
    );
    gateway.signal(rustix::process::Signal::TERM);
    assert_eq!(gateway.ended().await, Some(0));
    let done = super::genkan(&link).ok();
    assert!(done.starts_with("http://127.0.0.1:8081/sign-in/"), "{done}");
}
