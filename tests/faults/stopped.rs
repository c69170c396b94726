//! A gateway that is stopped in its tracks while a key that it remembers is revoked, and goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use super::load::Three;
use super::{COMMAND, alone, ask, no_panic, outcomes, receipt, request};
use crate::support::deployment::{Key, Process};
use crate::support::postgres;
use crate::support::raw::Wire;
use crate::support::within;

const CONNECTIONS: usize = 8;
/// Answers wanted of a gateway that goes on.
const TRIES: usize = 1_000;
/// A revocation waits for a silent gateway's lease, and this long at most beyond it.
const BEYOND_THE_LEASE: Duration = Duration::from_millis(200);
const LEASES_SHORT_MS: [u64; 3] = [300, 400, 500];
const REPEATS: usize = 3;

/// Stops a process, and waits until the kernel says that it is.
async fn stop(gateway: &Process) {
    gateway.signal(Signal::STOP);
    let path = format!("/proc/{}/stat", gateway.id());
    let is_stopped = || {
        let stat = std::fs::read_to_string(&path).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    };
    within("the gateway is stopped", async {
        while !is_stopped() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Connections on which this key was accepted.
async fn cached(gateway: &Process, key: &Key) -> Vec<Wire> {
    let mut wires = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut wire = Wire::connect(gateway.address("plain")).await;
        assert_eq!(ask(&mut wire, &key.plain).await, 200);
        wires.push(wire);
    }
    wires
}

/// Requests in a tight loop on all connections; every second one was sent while the gateway still
/// stood. Returns how many answers there were of each status.
async fn hammer(gateway: &Process, mut wires: Vec<Wire>, key: &Key) -> (usize, usize, usize) {
    for wire in wires.iter_mut().step_by(2) {
        wire.send(request(&key.plain)).await;
    }
    gateway.signal(Signal::CONT);
    let answers = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for (number, mut wire) in wires.into_iter().enumerate() {
        let (answers, request) = (Arc::clone(&answers), request(&key.plain));
        let mut was_sent = number % 2 == 0;
        clients.spawn(async move {
            let mut statuses = Vec::new();
            while answers.fetch_add(1, Ordering::Relaxed) < TRIES {
                if !std::mem::take(&mut was_sent) {
                    wire.send(&request).await;
                }
                statuses.push(wire.answer().await.expect("an answer").status);
            }
            statuses
        });
    }
    let statuses = within("every answer", clients.join_all()).await.concat();
    let count = |wanted| statuses.iter().filter(|&&status| status == wanted).count();
    (count(401), count(503), statuses.len())
}

/// The whole of it, once: the revocation does not wait for the stopped one longer than for its lease,
/// and not one request is accepted when it goes on.
async fn stop_revoke_continue(three: &Three, lease: Duration, at_least: Duration) {
    let key = three.deployment.key("ci", &[]);
    three.known(&key).await;
    let gateway = &three.gateways[0];
    let wires = cached(gateway, &key).await;
    let stopped = Instant::now();
    stop(gateway).await;
    let begun = Instant::now();
    let revoke = ["keys", "revoke", &key.id, "--output", "json"];
    let receipt = receipt(three.deployment.run_beside(&revoke).await);
    let command = begun.elapsed();
    let (outcomes, settled) = outcomes(&receipt);
    // The fault has its length.
    tokio::time::sleep_until((stopped + at_least).into()).await;
    let stopped_for = stopped.elapsed();
    let (refused, unavailable, tries) = hammer(gateway, wires, &key).await;
    println!(
        "lease {lease:?}, stopped for {stopped_for:?}: command {command:?}, settled after \
         {settled:?}, {outcomes:?}; then of {tries} answers {refused} were 401 and {unavailable} 503"
    );
    assert_eq!(outcomes, ["acknowledged", "acknowledged", "fenced"]);
    assert!(settled <= lease + BEYOND_THE_LEASE, "{settled:?}");
    assert!(command <= lease + BEYOND_THE_LEASE + COMMAND, "{command:?}");
    assert_eq!(tries, TRIES);
    assert_eq!(refused + unavailable, tries, "the rest was accepted");
    within("it is back in service", async {
        while three.ask_all(&three.remembered).await != [200; 3] {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(three.ask_all(&key).await, [401; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_stopped_beyond_its_lease_accepts_nothing_that_was_revoked() {
    let _alone = alone().await;
    let lease = Duration::from_secs(3);
    let three = Three::on(&postgres::database().await, "").await;
    stop_revoke_continue(&three, lease, lease + Duration::from_secs(2)).await;
    no_panic(&three.gateways);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_goes_on_in_the_moment_of_its_eviction_accepts_nothing_either() {
    let _alone = alone().await;
    for lease_ms in LEASES_SHORT_MS {
        let limits = format!("[limits]\nlease_ms = {lease_ms}\n");
        let three = Three::on(&postgres::database().await, &limits).await;
        let lease = Duration::from_millis(lease_ms);
        for _ in 0..REPEATS {
            stop_revoke_continue(&three, lease, Duration::ZERO).await;
        }
        no_panic(&three.gateways);
    }
}
