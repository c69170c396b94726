//! The connection that listens for changes, lost again and again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use genkan::model::clock::SystemClock;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;

use super::{BUSY, alone, ask, make_key, no_panic, percentile, service};
use crate::support::deployment::{Deployment, Process};
use crate::support::postgres;
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;
use crate::support::within;

const CUTS: usize = 1_000;
/// Fewer have no 99th percentile.
const REVOCATIONS_MIN: usize = 200;
/// What a gateway needs at most to notice a change that nobody tells it of, and to apply it.
const POLL_AND_APPLY: Duration = Duration::from_millis(100 + 50);
/// Requests to each gateway after a revocation returned.
const TRIES: usize = 3;
/// Ends every connection that listens on this database, and says which.
const CUT: &str = "SELECT pid FROM pg_stat_activity \
    WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pg_terminate_backend(pid)";

/// Cuts whoever listens, as soon as it listens again; tells how often.
async fn cut_again_and_again(url: &str, count: watch::Sender<usize>) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let mut cut = HashSet::new();
    while cut.len() < CUTS {
        // One that is still ending is listed again, and counts once.
        let listening: Vec<i32> = sqlx::query_scalar(CUT)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        cut.extend(listening);
        count.send_replace(cut.len());
    }
}

async fn wires(gateways: &[Process]) -> Vec<Wire> {
    let mut wires = Vec::new();
    for gateway in gateways {
        wires.push(Wire::connect(gateway.address("plain")).await);
    }
    wires
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_cuts_of_the_listening_connection_make_no_revocation_late() {
    let _alone = alone().await;
    let upstream = Upstream::start().await;
    let url = postgres::database().await;
    let deployment = Deployment::on(&url, upstream.plain, "");
    let gateways = [deployment.start().await, deployment.start().await];
    let service = service(&deployment, Arc::new(SystemClock)).await;
    let mut wires = wires(&gateways).await;
    let count = watch::Sender::new(0);
    let message = count.subscribe();
    let cutting = tokio::spawn(async move { cut_again_and_again(&url, count).await });

    let (mut took, mut late) = (Vec::new(), 0);
    let begun = Instant::now();
    while took.len() < REVOCATIONS_MIN || *message.borrow() < CUTS {
        let key = make_key(&service).await;
        for wire in &mut wires {
            assert_eq!(ask(wire, &key.plain).await, 200);
        }
        let begun = Instant::now();
        let revoked = service.revoke_key(key.id.parse().unwrap()).await.unwrap();
        let settling = service.wait_for_acknowledgements(revoked.sequence);
        let receipt = within("the revocation settles", settling).await.unwrap();
        took.push(begun.elapsed());
        assert_eq!(receipt.instances.len(), gateways.len(), "{receipt:?}");
        for wire in &mut wires {
            for _ in 0..TRIES {
                late += usize::from(ask(wire, &key.plain).await != 401);
            }
        }
    }
    within("the last cut", cutting).await.unwrap();
    let (revocations, p50) = (took.len(), percentile(&mut took, 50));
    let (p99, worst) = (percentile(&mut took, 99), percentile(&mut took, 100));
    println!(
        "listening: {} cuts and {revocations} revocations in {:?}; p50 {p50:?}, p99 {p99:?}, worst \
         {worst:?}; {late} late accepts",
        *message.borrow(),
        begun.elapsed(),
    );
    assert_eq!(late, 0);
    assert!(p99 <= POLL_AND_APPLY + BUSY, "{p99:?}");
    no_panic(&gateways);
}
