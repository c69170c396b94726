//! Legitimate traffic beside the attack, measured: rounds with and without it, in turn.
//!
//! `GENKAN_TEST_LONG=1 cargo test --release --test stories lookups::beside -- --nocapture` runs nine rounds of
//! each kind with 1,200 connections, and holds the ratio of the medians, on a machine that has nothing else to
//! do; without it, a short round of each kind shows that nothing fails.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::flood::{Flood, Tally};
use super::{Manager, foreign_key, import, request};
use crate::support::ALONE;
use crate::support::deployment::{Deployment, Engine, Process};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;

/// Legitimate connections, and how long each rests after an answer.
const CLIENTS: usize = 8;
const CLIENT_REST: Duration = Duration::from_millis(5);
/// New keys of each round, used for the first time.
const FRESH: usize = 4;
/// The mark: the 99th percentile beside the attack is at most this many times that without it.
const RATIO_MAX: f64 = 1.5;

/// How it is run.
struct Plan {
    rounds: usize,
    length: Duration,
    connections: usize,
    /// Of a connection of the attack.
    rest: Duration,
    is_long: bool,
}

impl Plan {
    fn of_environment() -> Self {
        let is_long = std::env::var("GENKAN_TEST_LONG").is_ok_and(|value| value == "1");
        let (rounds, length, connections) = if is_long {
            (9, Duration::from_secs(4), 1_200)
        } else {
            (1, Duration::from_secs(1), 300)
        };
        Self {
            rounds,
            length,
            connections,
            // About a thousand requests a second: the cores have room for both, so that what is measured is
            // the gateway, not the scheduler.
            rest: Duration::from_millis(if is_long { 1_200 } else { 300 }),
            is_long,
        }
    }
}

/// What legitimate clients saw in a round.
struct Round {
    p99: Duration,
    requests: usize,
    failures: usize,
    attack: Tally,
}

struct Scene {
    gateway: Process,
    manager: Manager,
    remembered: String,
    plan: Plan,
}

impl Scene {
    async fn round(&self, with_attack: bool) -> Round {
        let address = self.gateway.address("plain");
        let mut fresh = Vec::new();
        for _ in 0..FRESH {
            fresh.push(self.manager.new_key().await);
        }
        let plan = &self.plan;
        let flood = if with_attack {
            Some(Flood::start(address, plan.connections, plan.rest, foreign_key).await)
        } else {
            None
        };
        let end = Instant::now() + plan.length;
        let mut clients = JoinSet::new();
        for key in fresh {
            let remembered = self.remembered.clone();
            clients.spawn(client(address, [remembered, key], end));
        }
        for _ in FRESH..CLIENTS {
            let remembered = self.remembered.clone();
            clients.spawn(client(address, [remembered.clone(), remembered], end));
        }
        self.manager.everything_answers().await;
        let seen: Vec<(u16, Duration)> = clients.join_all().await.into_iter().flatten().collect();
        let attack = match flood {
            Some(flood) => flood.ended().await,
            None => Tally::default(),
        };
        let mut times: Vec<Duration> = seen.iter().map(|(_, time)| *time).collect();
        times.sort_unstable();
        Round {
            p99: times[times.len() * 99 / 100],
            requests: seen.len(),
            failures: seen.iter().filter(|(status, _)| *status != 200).count(),
            attack,
        }
    }

    /// Rounds with and without the attack, in turn: the ratio of the medians.
    async fn rounds(&self, name: &str) -> f64 {
        // What is done for the first time takes longer.
        self.round(false).await;
        let (mut calm, mut beside) = (Vec::new(), Vec::new());
        let mut failures = 0;
        for number in 0..self.plan.rounds {
            // Neither kind is always the first.
            for with_attack in [number % 2 == 0, number % 2 != 0] {
                let round = self.round(with_attack).await;
                let Round {
                    p99,
                    requests,
                    attack,
                    ..
                } = &round;
                println!(
                    "{name}: attack {with_attack}: p99 {p99:?} of {requests}, {} failed; {attack:?}",
                    round.failures
                );
                failures += round.failures;
                let times = if with_attack { &mut beside } else { &mut calm };
                times.push(round.p99);
            }
        }
        let (calm, beside) = (median(calm), median(beside));
        let ratio = beside.as_secs_f64() / calm.as_secs_f64();
        println!(
            "{name}: p99 {calm:?} without, {beside:?} beside it: {ratio:.2} times; {failures} failed"
        );
        assert_eq!(failures, 0);
        ratio
    }
}

/// One connection until the end: the second key once, then the first again and again.
async fn client(
    address: SocketAddr,
    [remembered, once]: [String; 2],
    end: Instant,
) -> Vec<(u16, Duration)> {
    let mut wire = Wire::connect(address).await;
    let mut seen = Vec::new();
    let mut key = &once;
    while Instant::now() < end {
        let begun = Instant::now();
        let status = wire.ask(request(key)).await.status;
        seen.push((status, begun.elapsed()));
        key = &remembered;
        tokio::time::sleep(CLIENT_REST).await;
    }
    seen
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn beside(engine: Engine) {
    let _alone = ALONE.lock().await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(engine, upstream.plain, "").await;
    let gateway = deployment.start().await;
    let scene = Scene {
        manager: Manager::of(&deployment, &gateway),
        gateway,
        remembered: deployment.key("remembered", &[]).plain,
        plan: Plan::of_environment(),
    };
    let before = scene.rounds(&format!("{engine:?}, nothing imported")).await;
    import(&deployment, &foreign_key()).await;
    let after = scene.rounds(&format!("{engine:?}, after an import")).await;
    let is_within = before <= RATIO_MAX && after <= RATIO_MAX;
    assert!(!scene.plan.is_long || is_within, "{before:.2}, {after:.2}");
}

#[tokio::test(flavor = "multi_thread")]
async fn legitimate_traffic_beside_invented_keys_does_not_fail_on_sqlite() {
    beside(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legitimate_traffic_beside_invented_keys_does_not_fail_on_postgresql() {
    beside(Engine::Postgres).await;
}
