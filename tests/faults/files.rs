//! What stories of files and disks have in common.

use std::time::{Duration, Instant};

use super::ask;
use crate::support::deployment::{Deployment, Key, PROMPTLY, Process};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;

/// Longer than two leases of the default length.
pub(super) const FAULT: Duration = Duration::from_secs(8);
/// Everything is normal so soon after the fault has ended.
pub(super) const RECOVERY: Duration = Duration::from_secs(1);
/// Between two requests of the client.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// Asks with a key that the gateway remembers, for as long as a fault lasts: every request has to be answered 200.
pub(super) async fn remembered_works(gateway: &Process, key: &Key, lasts: Duration) {
    let mut wire = Wire::connect(gateway.address("plain")).await;
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < lasts {
        let status = ask(&mut wire, &key.plain).await;
        assert_eq!(
            status,
            200,
            "after {:?}: {:#?}",
            begun.elapsed(),
            gateway.stderr()
        );
        asked += 1;
        tokio::time::sleep(PAUSE).await;
    }
    println!("{asked} requests with a remembered key in {lasts:?}, none failed");
}

/// What `/readyz` says.
pub(super) async fn readiness(gateway: &Process) -> serde_json::Value {
    let answer = gateway.operators("/readyz").await;
    serde_json::from_str(answer.body()).unwrap()
}

/// How long a command of this deployment takes until it succeeds.
pub(super) fn recovery(succeeds: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !succeeds() {
        assert!(begun.elapsed() < RECOVERY + PROMPTLY, "it does not recover");
    }
    begun.elapsed()
}

/// A deployment whose database is in a folder that holds nothing else.
pub(super) fn deployment_in_a_folder(upstream: &Upstream) -> Deployment {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/genkan.db");
    Deployment::at(folder, &format!("sqlite = {file:?}"), upstream.plain, "")
}
