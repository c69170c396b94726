//! The clock of the database's host jumps by an hour: nothing of safety reads it.
//!
//! The host's clock cannot be set, so its database is given a `clock_timestamp()` of the test's own, which
//! the search path finds before PostgreSQL's. genkan's functions are as they were.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::load::{Caller, Three};
use super::{BUSY, alone, no_panic, outcomes, receipt};
use crate::support::deployment::Key;
use crate::support::postgres::{self, execute, scalar};
use crate::support::within;

const HOURS: [i64; 4] = [1, -1, 1, 0];
const LEASE: Duration = Duration::from_secs(1);
const BEYOND_THE_LEASE: Duration = Duration::from_millis(200);
const OWN_CLOCK: [&str; 3] = [
    "CREATE TABLE public.jump (hours BIGINT NOT NULL)",
    "INSERT INTO public.jump VALUES (0)",
    "CREATE FUNCTION public.clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE sql VOLATILE AS $$ \
        SELECT pg_catalog.clock_timestamp() + (SELECT hours FROM public.jump) * INTERVAL '1 hour' $$",
];

/// A fresh database whose clock can be turned.
async fn database() -> String {
    let url = postgres::database().await;
    let name = scalar(&url, "SELECT current_database()::TEXT").await;
    for statement in OWN_CLOCK {
        execute(&url, statement).await;
    }
    // Before genkan's functions are made: they keep the path of that moment.
    let path = format!("ALTER DATABASE {name} SET search_path = public, pg_catalog");
    execute(&url, &path).await;
    url
}

async fn jump(url: &str, hours: i64) {
    execute(url, &format!("UPDATE public.jump SET hours = {hours}")).await;
    let apart = "SELECT round(extract(epoch FROM clock_timestamp() - now()) / 3600)::BIGINT::TEXT";
    assert_eq!(scalar(url, apart).await, hours.to_string());
}

/// Makes a key that all accept, and revokes it while the first gateway is stopped and the clock jumps.
async fn fenced_across(url: &str, three: &Three, hours: i64) -> Key {
    let key = three.deployment.key("ci", &[]);
    three.known(&key).await;
    three.gateways[0].signal(Signal::STOP);
    let revoke = ["keys", "revoke", &key.id, "--output", "json"];
    let begun = Instant::now();
    let (done, ()) = tokio::join!(three.deployment.run_beside(&revoke), async {
        committed(url, &key).await;
        jump(url, hours).await;
    });
    let (command, receipt) = (begun.elapsed(), receipt(done));
    let (outcomes, settled) = outcomes(&receipt);
    println!("jump to {hours} h: command {command:?}, settled after {settled:?}, {outcomes:?}");
    assert_eq!(outcomes, ["acknowledged", "acknowledged", "fenced"]);
    assert!(settled <= LEASE + BEYOND_THE_LEASE + BUSY, "{settled:?}");
    three.gateways[0].signal(Signal::CONT);
    let first = three.ask_all(&key).await;
    assert!(
        first.iter().all(|status| [401, 503].contains(status)),
        "{first:?}"
    );
    key
}

/// Waits until the key is revoked in the database, whoever obeys.
async fn committed(url: &str, key: &Key) {
    let question = format!(
        "SELECT (revoked_at IS NOT NULL)::TEXT FROM keys WHERE id = '{}'",
        key.id
    );
    within("the revocation is committed", async {
        while scalar(url, &question).await != "true" {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_jump_of_the_databases_clock_evicts_anybody_or_lets_a_revocation_return_early() {
    let _alone = alone().await;
    let url = database().await;
    let limits = format!("[limits]\nlease_ms = {}\n", LEASE.as_millis());
    let three = Three::on(&url, &limits).await;
    let at = "SELECT (at - extract(epoch FROM now()) * 1000 > 3000000)::TEXT FROM revocation_log \
        ORDER BY seq DESC LIMIT 1";
    let load = three.load().await;
    for hours in HOURS {
        jump(&url, hours).await;
        // Each renews under this clock: three rounds of it are longer than a lease.
        let renewals = "SELECT sum(renewals)::TEXT FROM instances WHERE NOT evicted";
        let number = async || -> i64 { scalar(&url, renewals).await.parse().unwrap() };
        let before = number().await;
        within("leases are renewed", async {
            while number().await < before + 12 {}
        })
        .await;
        let key = three.deployment.key("jumped", &[]);
        assert_eq!(
            scalar(&url, at).await,
            (hours == 1).to_string(),
            "the log has the clock's time"
        );
        three.known(&key).await;
        three.revoke(&key).await;
    }
    let log = load.ended().await;
    log.always("the database's clock");
    let failed = log.of(Caller::Remembered).filter(|seen| seen.status != 200);
    assert_eq!(failed.count(), 0);
    for gateway in &three.gateways {
        assert_eq!(gateway.metric("genkan_registrations_total").await, 1);
    }
    for hours in [1, -1] {
        let key = fenced_across(&url, &three, hours).await;
        within("the stopped one is back", async {
            while three.ask_all(&three.remembered).await != [200; 3] {}
        })
        .await;
        assert_eq!(three.ask_all(&key).await, [401; 3]);
    }
    no_panic(&three.gateways);
}
