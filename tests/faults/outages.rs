//! PostgreSQL killed, frozen, or slow, under half load.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use super::load::{Caller, Log, Seen, Three};
use super::{BUSY, alone, no_panic, outage};
use crate::support::deployment::PROMPTLY;
use crate::support::fault_proxy::FaultProxy;
use crate::support::postgres::Server;

/// Everything is normal so soon after the database is back.
const RECOVERY: Duration = Duration::from_secs(1);
/// The default.
const LEASE: Duration = Duration::from_secs(3);
const KILLED_FOR: Duration = Duration::from_secs(2);
/// To the database and back.
const SLOWNESS: Duration = Duration::from_millis(500);

/// A fault has its length, and the load goes on for a while before and after it: there is no event
/// to wait for.
async fn lasts(until: Instant) {
    tokio::time::sleep_until(until.into()).await;
}

fn recovered(fault: &str, log: &Log, back: Instant) {
    let recovery = log.recovery(back);
    println!("{fault}: normal {recovery:?} after it is back");
    assert!(recovery <= RECOVERY + BUSY, "{recovery:?}");
    let decided = log
        .of(Caller::Unknown)
        .filter(|seen| seen.begun > back && seen.status == 401);
    assert!(decided.count() > 0, "nothing was looked up afterwards");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_is_killed_for_two_seconds_costs_no_remembered_key_anything() {
    let _alone = alone().await;
    let server = Server::start_private();
    let url = server.database("genkan").await;
    let begun = Instant::now();
    block_in_place(|| {
        server.stop();
        server.start();
    });
    let restart = begun.elapsed();
    let three = Three::on(&url, "").await;
    let load = three.load().await;
    lasts(Instant::now() + PROMPTLY / 2).await;

    let leases = three.leases().await;
    let killed = Instant::now();
    block_in_place(|| server.stop());
    lasts(killed + KILLED_FOR.saturating_sub(restart)).await;
    block_in_place(|| server.start());
    let back = Instant::now();
    lasts(back + RECOVERY + PROMPTLY / 2).await;
    let log = load.ended().await;

    println!(
        "killed: away for {:?}; leases held for {:?} more",
        back - killed,
        leases.map(|end| end.saturating_duration_since(killed)),
    );
    log.always("killed");
    let failed = log.of(Caller::Remembered).filter(|seen| seen.status != 200);
    println!(
        "killed: {} failures on remembered keys",
        failed.clone().count()
    );
    // A restart that takes longer than two seconds, as on a busy machine, may outlast a lease; within the
    // lease nothing fails.
    let failed: Vec<&Seen> = failed
        .filter(|seen| back <= killed + KILLED_FOR || seen.ended < leases[seen.gateway])
        .collect();
    let misses = log
        .of(Caller::Unknown)
        .filter(|seen| seen.begun > killed + BUSY && seen.ended < back);
    assert!(misses.clone().count() > 0);
    assert!(misses.clone().all(|seen| seen.status == 503));
    recovered("killed", &log, back);
    assert!(failed.is_empty(), "{failed:#?}");
    three.revoke(&three.remembered).await;
    no_panic(&three.gateways);
}

/// From the first failure on, no gateway answers from memory before `back`, and none fails before its
/// lease ends.
fn remembered_until_the_lease_ends(
    log: &Log,
    leases: [Instant; 3],
    frozen: Instant,
    back: Instant,
) {
    for (gateway, end) in leases.into_iter().enumerate() {
        let of_this = log
            .of(Caller::Remembered)
            .filter(|seen| seen.gateway == gateway && seen.ended > frozen && seen.ended < back);
        let refused = of_this.clone().filter(|seen| seen.status == 503);
        let first = refused.min_by_key(|seen| seen.ended);
        let first = first.expect("the lease ends");
        println!(
            "gateway {gateway}: remembered keys worked for {:?}",
            first.ended - frozen
        );
        assert!(
            first.ended >= end,
            "{first:?} but the lease held until {end:?}"
        );
        assert!(first.ended <= frozen + LEASE + BUSY, "{first:?}");
        let late = of_this.filter(|seen| seen.begun > first.ended && seen.status != 503);
        assert_eq!(late.count(), 0, "accepted after the lease");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_is_frozen_is_503_from_the_leases_end_until_it_goes_on() {
    let _alone = alone().await;
    let server = Server::start_private();
    let three = Three::on(&server.database("genkan").await, "").await;
    let load = three.load().await;
    lasts(Instant::now() + PROMPTLY / 2).await;

    let leases = three.leases().await;
    let frozen = Instant::now();
    server.freeze();
    lasts(frozen + outage()).await;
    // It goes on process by process, and gateways are back before the last of them.
    let thawing = Instant::now();
    server.thaw();
    let back = Instant::now();
    lasts(back + RECOVERY + PROMPTLY / 2).await;
    let log = load.ended().await;

    log.always("frozen");
    remembered_until_the_lease_ends(&log, leases, frozen, thawing);
    let misses = log
        .of(Caller::Unknown)
        .filter(|seen| seen.begun > frozen + BUSY && seen.ended < thawing);
    assert!(misses.clone().all(|seen| seen.status == 503));
    recovered("frozen", &log, back);
    three.revoke(&three.remembered).await;
    no_panic(&three.gateways);
}

/// How many of a caller's answers between two moments were not 503, of how many.
fn served(log: &Log, caller: Caller, from: Instant, to: Instant) -> (usize, usize) {
    let during = log
        .of(caller)
        .filter(|seen| seen.begun > from && seen.ended < to);
    let served = during.clone().filter(|seen| seen.status != 503);
    (served.count(), during.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_is_slow_holds_no_request_up() {
    let _alone = alone().await;
    let server = Server::start_private();
    let proxy = FaultProxy::before(server.address()).await;
    let url = server.database("genkan").await;
    let port = |port: u16| format!(":{port}/");
    let url = url.replace(
        &port(server.address().port()),
        &port(proxy.address().port()),
    );
    let three = Three::on(&url, "").await;
    let late = three.deployment.key("late", &[]);
    three.known(&late).await;
    let load = three.load().await;
    lasts(Instant::now() + PROMPTLY / 2).await;

    let leases = three.leases().await;
    let slow = Instant::now();
    proxy.delay(SLOWNESS / 2);
    lasts(slow + LEASE).await;
    let done = three
        .deployment
        .run_beside(&["keys", "revoke", &late.id])
        .await;
    println!(
        "slow: a revocation ended after {:?}: {done:?}",
        slow.elapsed().saturating_sub(LEASE)
    );
    if done.code == Some(0) {
        let statuses = three.ask_all(&late).await;
        assert!(
            statuses.iter().all(|status| [401, 503].contains(status)),
            "{statuses:?}"
        );
    }
    lasts(slow + outage()).await;
    proxy.delay(Duration::ZERO);
    let back = Instant::now();
    lasts(back + RECOVERY + PROMPTLY / 2).await;
    let log = load.ended().await;

    for caller in [Caller::Remembered, Caller::Unknown, Caller::Revoked] {
        let (decided, all) = served(&log, caller, slow, back);
        println!("slow: {caller:?}: {decided} of {all} were not 503");
    }
    log.always("slow");
    for seen in log.of(Caller::Remembered).filter(|seen| seen.status == 503) {
        let end = leases[seen.gateway];
        assert!(
            seen.ended >= end,
            "{seen:?} but the lease held until {end:?}"
        );
    }
    recovered("slow", &log, back);
    three.revoke(&three.remembered).await;
    no_panic(&three.gateways);
}
