//! A failover to a standby that is behind: a revocation that was confirmed is not in the new primary.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::block_in_place;

use super::load::{Caller, Three};
use super::{BUSY, alone, no_panic};
use crate::support::deployment::{Key, Process, field};
use crate::support::fault_proxy::FaultProxy;
use crate::support::postgres::{Server, scalar};
use crate::support::within;

/// From the new primary being there until every gateway serves on it.
const BACK_IN_SERVICE: Duration = Duration::from_secs(1);

/// A primary with a standby, both behind one address, as a virtual address or a name is.
struct Pair {
    primary: Server,
    standby: Server,
    proxy: FaultProxy,
    three: Three,
}

impl Pair {
    async fn new() -> Self {
        let primary = Server::start_private();
        let url = primary.database("genkan").await;
        let proxy = FaultProxy::before(primary.address()).await;
        let [own, shown] = [primary.address(), proxy.address()].map(|one| one.to_string());
        let three = Three::on(&url.replace(&own, &shown), "").await;
        let standby = block_in_place(|| primary.standby());
        standby.catch_up(&primary).await;
        Self {
            primary,
            standby,
            proxy,
            three,
        }
    }

    /// The primary dies, the standby takes its place. Returns when the primary died, and when the new
    /// one could be reached.
    async fn fail_over(&self) -> [Instant; 2] {
        let died = Instant::now();
        block_in_place(|| self.primary.stop());
        self.standby.promote().await;
        self.proxy.aim(self.standby.address());
        [died, Instant::now()]
    }

    /// Whether the new primary has the key revoked.
    async fn is_revoked(&self, key: &Key) -> bool {
        let id = &key.id;
        let question = format!("SELECT (revoked_at IS NOT NULL)::TEXT FROM keys WHERE id = '{id}'");
        scalar(&self.standby.url("genkan"), &question).await == "true"
    }
}

fn errors(gateway: &Process) -> Vec<String> {
    let lines = gateway.stderr().into_iter();
    lines
        .filter(|line| field(line, "level") == "ERROR")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_a_failover_lost_is_told_to_the_new_primary() {
    let _alone = alone().await;
    let pair = Pair::new().await;
    let three = &pair.three;
    pair.standby.fall_behind().await;
    let lost = three.deployment.key("lost with its creation", &[]);
    three.revoke(&three.remembered).await;
    assert!(
        !pair.is_revoked(&three.remembered).await,
        "the standby is not behind"
    );
    let load = three.load().await;

    let [died, back] = pair.fail_over().await;
    println!(
        "failover: the new primary was there {:?} after the old one died",
        back - died
    );
    for gateway in &three.gateways {
        within("the gateway notices", async {
            while gateway.metric("genkan_histories_lost_total").await == 0 {}
        })
        .await;
    }
    let normal = async { while three.ask_all(&three.revoked).await != [401; 3] {} };
    within("every gateway serves", normal).await;
    println!(
        "failover: every gateway serves {:?} after that",
        back.elapsed()
    );
    let log = load.ended().await;

    // In `remembered` the load has the key whose revocation was lost.
    let accepted = log.of(Caller::Remembered).filter(|seen| seen.status == 200);
    assert_eq!(
        accepted.count(),
        0,
        "accepted although its revocation was confirmed"
    );
    let fenced = log.of(Caller::Revoked).filter(|seen| seen.status == 503);
    println!("failover: {} answers were 503", fenced.clone().count());
    assert!(fenced.count() > 0, "it fences itself for a moment");
    assert!(
        log.recovery(back) <= BACK_IN_SERVICE + BUSY,
        "{:?}",
        log.recovery(back)
    );
    assert!(
        pair.is_revoked(&three.remembered).await,
        "not told to the new primary"
    );
    assert_eq!(three.ask_all(&three.remembered).await, [401; 3]);
    for gateway in &three.gateways {
        let errors = errors(gateway);
        println!("failover: {}", errors.join("\n"));
        assert!(!errors.is_empty(), "nobody is told");
    }
    // What was created on the old primary alone is gone, and what is new works.
    assert_eq!(three.ask_all(&lost).await, [401; 3]);
    let new = three.deployment.key("new", &[]);
    three.known(&new).await;
    three.revoke(&new).await;
    no_panic(&three.gateways);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_lost_while_it_is_waited_for_is_no_success() {
    let _alone = alone().await;
    let pair = Pair::new().await;
    let three = &pair.three;
    let key = &three.remembered;
    pair.standby.fall_behind().await;
    // One that does not answer, so that the wait is long enough.
    three.gateways[0].signal(Signal::STOP);
    let revoke = ["keys", "revoke", &key.id];
    let old = pair.primary.url("genkan");
    // Committed, and known to the two that answer.
    let question = format!(
        "SELECT (revoked_at IS NOT NULL AND 2 = (SELECT count(*) FROM instances \
         WHERE applied = (SELECT seq FROM revocation_head)))::TEXT FROM keys WHERE id = '{}'",
        key.id
    );
    let (done, _) = tokio::join!(three.deployment.run_beside(&revoke), async {
        within("it is committed", async {
            while scalar(&old, &question).await != "true" {}
        })
        .await;
        pair.fail_over().await
    });
    println!("lost while waited for: {done:?}");
    assert_ne!(done.code, Some(0), "{done:#?}");
    assert_eq!(done.code, Some(7), "{done:#?}");
    three.gateways[0].signal(Signal::CONT);
    // The two that had applied it tell the new primary, and refuse the key.
    within("the key is revoked on the new primary", async {
        while !pair.is_revoked(key).await {}
    })
    .await;
    within("every gateway refuses", async {
        while three.ask_all(key).await != [401; 3] {}
    })
    .await;
    no_panic(&three.gateways);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_loses_nothing_costs_a_moment_and_no_key() {
    let _alone = alone().await;
    let pair = Pair::new().await;
    let three = &pair.three;
    let load = three.load().await;
    pair.standby.catch_up(&pair.primary).await;
    let [died, back] = pair.fail_over().await;
    for gateway in &three.gateways {
        within("the gateway notices", async {
            while gateway.metric("genkan_histories_lost_total").await == 0 {}
        })
        .await;
    }
    let normal = async { while three.ask_all(&three.remembered).await != [200; 3] {} };
    within("every gateway serves", normal).await;
    let log = load.ended().await;
    log.always("a failover that loses nothing");
    println!(
        "failover without loss: away for {:?}, normal {:?} after it",
        back - died,
        log.recovery(back)
    );
    assert!(log.recovery(back) <= BACK_IN_SERVICE + BUSY);
    three.revoke(&three.remembered).await;
    no_panic(&three.gateways);
}
