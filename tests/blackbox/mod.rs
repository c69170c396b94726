//! A minute of revocations under faults, seen from outside: what a returned receipt promises, whatever
//! happens to gateways and to their connections. The long run is `cargo bench --bench revocations`.

pub mod checker;

use std::time::Duration;

use checker::Plan;

use crate::support::ALONE;

const LEASE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_accepted_after_a_receipt_whatever_fails() {
    let plan = Plan {
        gateways: 3,
        revocations: 3_000,
        time_max: Some(Duration::from_secs(50)),
        seed: 20_261_125,
        with_faults: true,
        lease: LEASE,
        // A machine that tests in parallel is late by itself: the exact figures are the long run's.
        receipt_max: LEASE + Duration::from_secs(3),
        late_max: Duration::from_secs(1),
        outlived_after: Duration::from_secs(2),
        progress_every: None,
    };
    let _alone = ALONE.lock().await;
    let report = checker::run(plan).await;
    println!("{}", report.table);
    assert_eq!(report.failures, [""; 0], "{:#?}", report.message);
}
