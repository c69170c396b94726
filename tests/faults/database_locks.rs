//! A write lock on SQLite's file that another process holds.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection, raw_sql};
use tokio::task::block_in_place;

use super::files::{FAULT, remembered_works};
use super::{ask, no_panic};
use crate::support::deployment::{Deployment, Engine};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;

async fn holder(deployment: &Deployment) -> SqliteConnection {
    let file = deployment.folder.path().join("genkan.db");
    let mut holder = SqliteConnectOptions::new()
        .filename(file)
        .connect()
        .await
        .unwrap();
    raw_sql("BEGIN IMMEDIATE")
        .execute(&mut holder)
        .await
        .unwrap();
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_lock_that_another_process_holds_costs_no_key_anything() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let (key, other) = (deployment.key("ci", &[]), deployment.key("other", &[]));
    let gateways = [deployment.start().await, deployment.start().await];
    for gateway in &gateways {
        let mut wire = Wire::connect(gateway.address("plain")).await;
        assert_eq!(ask(&mut wire, &key.plain).await, 200);
    }
    let mut holder = holder(&deployment).await;
    let [first, second] = &gateways;
    tokio::join!(
        remembered_works(first, &key, FAULT),
        remembered_works(second, &key, FAULT)
    );
    let mut wire = Wire::connect(first.address("plain")).await;
    assert_eq!(ask(&mut wire, &other.plain).await, 200);
    let (code, said) = {
        let done = block_in_place(|| deployment.run(&["keys", "revoke", &other.id]));
        (done.code, done.stderr)
    };
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("locked by another process"), "{said}");
    raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    let revoked =
        block_in_place(|| deployment.run(&["keys", "revoke", &other.id, "--output", "json"]));
    let receipt: serde_json::Value = serde_json::from_str(&revoked.ok()).unwrap();
    for instance in receipt["instances"].as_array().unwrap() {
        assert_eq!(instance["result"], "acknowledged", "{receipt:#}");
    }
    assert_eq!(ask(&mut wire, &other.plain).await, 401);
    no_panic(&gateways);
}
