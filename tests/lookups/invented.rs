//! Floods of invented keys, beside callers who use a new key for the first time.

use std::time::Duration;

use genkan::model::key::PlainKey;
use genkan::model::random::SystemEntropy;

use super::flood::Flood;
use super::{Manager, ask, foreign_key, import, metric};
use crate::support::deployment::{Deployment, Engine, Process};
use crate::support::fault_proxy::FaultProxy;
use crate::support::postgres::Server;
use crate::support::upstream::Upstream;
use crate::support::{ALONE, within};

/// New keys, each used once.
const FRESH: u64 = 40;
const CONNECTIONS: usize = 200;
const REST: Duration = Duration::from_millis(20);
/// One look-up at a time, and time for it on a busy machine: what a flood takes is soon missed.
const LIMITS: &str = "[limits]\nlookups_max = 1\nlookup_timeout_ms = 2_000\n";

/// Valid keys that nobody presented before, used one after the other; the statuses that were not 200.
async fn first_uses(manager: &Manager, gateway: &Process) -> Vec<u16> {
    let mut failed = Vec::new();
    for _ in 0..FRESH {
        let status = ask(gateway, &manager.new_key().await).await;
        if status != 200 {
            failed.push(status);
        }
    }
    failed
}

async fn no_look_up_before_an_import(engine: Engine) {
    let _alone = ALONE.lock().await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(engine, upstream.plain, LIMITS).await;
    let gateway = deployment.start().await;
    let manager = Manager::of(&deployment, &gateway);
    let flood = Flood::start(gateway.address("plain"), CONNECTIONS, REST, foreign_key).await;
    let failed = first_uses(&manager, &gateway).await;
    manager.everything_answers().await;
    let tally = flood.ended().await;
    let lookups = metric(&gateway, "genkan_store_lookups_total").await;
    let remembered = metric(&gateway, "genkan_cache_unknown").await;
    println!(
        "{engine:?}: {tally:?}, {lookups} look-ups, {remembered} remembered, failed {failed:?}"
    );
    assert!(failed.is_empty(), "first uses of valid keys: {failed:?}");
    assert_eq!(lookups, FRESH, "one for each valid key, none else");
    assert_eq!(remembered, 0, "invented keys are not remembered");
    assert_eq!((tally.unavailable, tally.other), (0, 0), "{tally:?}");
    assert!(tally.refused > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_keys_of_other_systems_need_no_look_up_before_an_import_on_sqlite() {
    no_look_up_before_an_import(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_keys_of_other_systems_need_no_look_up_before_an_import_on_postgresql() {
    no_look_up_before_an_import(Engine::Postgres).await;
}

async fn a_budget_of_their_own_after_an_import(engine: Engine) {
    let _alone = ALONE.lock().await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(engine, upstream.plain, LIMITS).await;
    let gateway = deployment.start().await;
    let manager = Manager::of(&deployment, &gateway);
    let imported = foreign_key();
    import(&deployment, &imported).await;
    assert_eq!(ask(&gateway, &imported).await, 200);
    let flood = Flood::start(gateway.address("plain"), CONNECTIONS, REST, foreign_key).await;
    let failed = first_uses(&manager, &gateway).await;
    manager.everything_answers().await;
    // What is remembered of the imported key is not driven out.
    let known = ask(&gateway, &imported).await;
    let tally = flood.ended().await;
    println!("{engine:?}: {tally:?}, failed {failed:?}");
    assert!(failed.is_empty(), "first uses of valid keys: {failed:?}");
    assert_eq!((known, tally.other), (200, 0), "{tally:?}");
    let lookups = async |budget: &str| {
        metric(
            &gateway,
            &format!("genkan_lookups_total{{budget=\"{budget}\"}}"),
        )
        .await
    };
    assert_eq!(lookups("genkan").await, FRESH);
    assert!(lookups("imported").await > 1);
    let refused = metric(&gateway, "genkan_lookups_refused_total{budget=\"genkan\"}").await;
    assert_eq!(refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_keys_of_other_systems_have_a_budget_of_their_own_after_an_import_on_sqlite() {
    a_budget_of_their_own_after_an_import(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_keys_of_other_systems_have_a_budget_of_their_own_after_an_import_on_postgresql() {
    a_budget_of_their_own_after_an_import(Engine::Postgres).await;
}

/// Anybody can compute a checksum. On a database that is 20 ms away, keys like that take every place there
/// is for look-ups.
#[tokio::test(flavor = "multi_thread")]
async fn invented_keys_of_ours_keep_no_readiness_no_management_and_no_revocation_waiting() {
    let _alone = ALONE.lock().await;
    let upstream = Upstream::start().await;
    let server = Server::start_private();
    let proxy = FaultProxy::before(server.address()).await;
    let url = server.database("genkan").await;
    let port = |port: u16| format!(":{port}/");
    let far = url.replace(
        &port(server.address().port()),
        &port(proxy.address().port()),
    );
    let limits = "[limits]\nlookups_max = 300\nlookup_timeout_ms = 3_000\n";
    let deployment = Deployment::on(&far, upstream.plain, limits);
    let near = Deployment::on(&url, upstream.plain, limits);
    let gateway = deployment.start().await;
    let manager = Manager::of(&near, &gateway);
    let revoked = near.key("revoked", &[]);
    assert_eq!(ask(&gateway, &revoked.plain).await, 200);
    // Once before: to connect takes longer than readiness waits for.
    manager.everything_answers().await;
    proxy.delay(Duration::from_millis(10));
    let own_key = || PlainKey::generate(&SystemEntropy).expose().to_owned();
    let flood = Flood::start(gateway.address("plain"), 300, REST, own_key).await;
    within("look-ups queue", async {
        while metric(&gateway, "genkan_store_lookups_total").await < 300 {}
    })
    .await;
    for _ in 0..5 {
        manager.everything_answers().await;
    }
    let done = near.run_beside(&["keys", "revoke", &revoked.id]).await;
    let status = ask(&gateway, &revoked.plain).await;
    let registrations = metric(&gateway, "genkan_registrations_total").await;
    let tally = flood.ended().await;
    println!("{tally:?}; {}", done.stderr);
    assert_eq!(done.stderr.matches("acknowledged").count(), 1, "{done:#?}");
    // A key that is no longer remembered has to be looked up as any other.
    assert!([401, 503].contains(&status), "{status}");
    assert_eq!(registrations, 1, "the lease was kept");
}
