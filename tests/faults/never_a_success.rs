//! What cannot be done is never said to be done.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::block_in_place;

use super::{alone, ask_gateway};
use crate::support::deployment::{Deployment, Done, Engine, genkan};
use crate::support::postgres::{self, Server, execute, scalar};
use crate::support::upstream::Upstream;

const NO_KEY: &str = "key_00000000000000000000000000000000";
const LEASE: Duration = Duration::from_secs(1);

/// Everything of a database that a change of keys would touch.
const CONTENT: &str = "SELECT (SELECT seq FROM revocation_head) || ' ' || \
    (SELECT count(*) FROM revocation_log) || ' ' || (SELECT count(*) FROM keys) || ' ' || \
    (SELECT count(*) FROM keys WHERE revoked_at IS NOT NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn to_revoke_what_is_revoked_waits_again_and_says_so() {
    let _alone = alone().await;
    let upstream = Upstream::start().await;
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let limits = format!("[limits]\nlease_ms = {}\n", LEASE.as_millis());
        let deployment = Deployment::new(engine, upstream.plain, &limits).await;
        let key = deployment.key("ci", &[]);
        let gateway = deployment.start().await;
        assert_eq!(ask_gateway(&gateway, &key).await, 200);
        let revoke = ["keys", "revoke", &key.id];
        // Stopped in the middle of a write, it would keep SQLite's lock: then it goes on, and is stopped
        // again.
        for last in [false, false, true] {
            gateway.signal(Signal::STOP);
            let done = deployment
                .run_beside(&[&revoke[..], &["--no-wait"]].concat())
                .await;
            if last || !done.stderr.contains("locked by another process") {
                done.ok();
                break;
            }
            gateway.signal(Signal::CONT);
        }
        let begun = Instant::now();
        let again = deployment.run_beside(&revoke).await;
        let took = begun.elapsed();
        println!("{engine:?}: again after {took:?}: {}", again.stderr);
        assert_eq!(again.code, Some(0), "{again:#?}");
        for words in ["was revoked already", "confirmed by 1 gateway", "fenced"] {
            assert!(again.stderr.contains(words), "{again:#?}");
        }
        assert!(took >= LEASE * 9 / 10, "it did not wait: {took:?}");
        gateway.signal(Signal::CONT);
        assert_ne!(ask_gateway(&gateway, &key).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_an_error_and_changes_nothing() {
    let upstream = Upstream::start().await;
    let url = postgres::database().await;
    let deployment = Deployment::on(&url, upstream.plain, "");
    let key = deployment.key("ci", &[]);
    let gateway = deployment.start().await;
    assert_eq!(ask_gateway(&gateway, &key).await, 200);
    let before = scalar(&url, CONTENT).await;
    for more in [&[][..], &["--no-wait"], &["--output", "json"]] {
        let done = deployment
            .run_beside(&[&["keys", "revoke", NO_KEY], more].concat())
            .await;
        done.failed(5, &[NO_KEY]);
        assert_eq!(done.stdout, "");
    }
    assert_eq!(scalar(&url, CONTENT).await, before);
    assert_eq!(ask_gateway(&gateway, &key).await, 200);
}

/// Every change of keys, on a database that takes none: each fails, with this word and nothing on
/// standard output.
async fn every_change_fails(deployment: &Deployment, key: &str, word: &str) {
    let hash = "5".repeat(64);
    let whose = ["--name", "x", "--member", "hana@example.com"];
    let import = ["keys", "import", "--sha256", &hash];
    let changes: [&[&str]; 5] = [
        &["keys", "revoke", key],
        &["keys", "revoke-all", "--everybody"],
        &["members", "remove", "hana@example.com"],
        &[&["keys", "create"][..], &whose].concat(),
        &[&import[..], &whose].concat(),
    ];
    for change in changes {
        for more in [&[][..], &["--no-wait"]] {
            let makes = ["create", "import"].contains(&change[1]);
            if makes && !more.is_empty() {
                continue;
            }
            let done: Done = deployment.run_beside(&[change, more].concat()).await;
            println!("{}: {}", change[..2].join(" "), done.stderr.trim_end());
            done.failed(4, &[word]);
            assert_eq!(done.stdout, "", "{done:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_writes_or_is_away_never_yields_a_success() {
    let _alone = alone().await;
    let upstream = Upstream::start().await;
    let server = Server::start_private();
    let url = server.database("genkan").await;
    let deployment = Deployment::on(&url, upstream.plain, "");
    let key = deployment.key("ci", &[]);
    let gateway = deployment.start().await;
    assert_eq!(ask_gateway(&gateway, &key).await, 200);
    let before = scalar(&url, CONTENT).await;

    execute(
        &url,
        "ALTER DATABASE genkan SET default_transaction_read_only = on",
    )
    .await;
    every_change_fails(&deployment, &key.id, "read-only").await;
    assert_eq!(ask_gateway(&gateway, &key).await, 200);
    let admin = server.url("postgres");
    execute(
        &admin,
        "ALTER DATABASE genkan RESET default_transaction_read_only",
    )
    .await;
    assert_eq!(scalar(&url, CONTENT).await, before);

    block_in_place(|| server.stop());
    every_change_fails(&deployment, &key.id, "cannot be reached").await;
    block_in_place(|| server.start());
    assert_eq!(scalar(&url, CONTENT).await, before);
    deployment
        .run_beside(&["keys", "revoke", &key.id])
        .await
        .ok();
    assert_eq!(ask_gateway(&gateway, &key).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_standby_never_yields_a_success() {
    let _alone = alone().await;
    let upstream = Upstream::start().await;
    let primary = Server::start_private();
    let deployment = Deployment::on(&primary.database("genkan").await, upstream.plain, "");
    let key = deployment.key("ci", &[]);
    let gateway = deployment.start().await;
    assert_eq!(ask_gateway(&gateway, &key).await, 200);
    let standby = block_in_place(|| primary.standby());
    standby.catch_up(&primary).await;
    // The same deployment, but its configuration names the standby.
    let of_primary = std::fs::read_to_string(deployment.config()).unwrap();
    let [own, other] = [&primary, &standby].map(|server| server.address().to_string());
    std::fs::write(deployment.config(), of_primary.replace(&own, &other)).unwrap();
    let before = scalar(&primary.url("genkan"), CONTENT).await;

    every_change_fails(&deployment, &key.id, "name the primary").await;
    let config = deployment.config();
    let serve = ["serve", "--config", config.to_str().unwrap()];
    let served = block_in_place(|| genkan(&serve));
    println!("serve: {served:?}");
    served.failed_at_length(4, &["it is a standby", "name the primary"]);
    // Nor when what it shows is old.
    standby.pause_replay().await;
    std::fs::write(deployment.config(), &of_primary).unwrap();
    deployment
        .run_beside(&["keys", "revoke", &key.id])
        .await
        .ok();
    assert_eq!(ask_gateway(&gateway, &key).await, 401);
    let after = scalar(&primary.url("genkan"), CONTENT).await;
    assert_ne!(before, after);
    std::fs::write(deployment.config(), of_primary.replace(&own, &other)).unwrap();
    every_change_fails(&deployment, &key.id, "not a standby").await;
    assert_eq!(scalar(&standby.url("genkan"), CONTENT).await, before);
    assert_eq!(scalar(&primary.url("genkan"), CONTENT).await, after);
}
