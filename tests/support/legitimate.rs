//! Honest traffic beside an attack: so many requests a second, and what became of each of them.
//!
//! The pace does not depend on the answers: a request that waits does not keep the next from being sent, and
//! its latency counts from the moment at which it was due.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::raw::Wire;

/// An honest client has given up by then: counted as failed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Every so many requests come on a connection of their own; the others on kept ones.
const NEW_CONNECTION_EVERY: usize = 4;

/// What is sent.
pub struct Plan {
    /// The listener of the gateway.
    pub address: SocketAddr,
    pub requests_per_second: u32,
    /// A key that the gateway has seen before.
    pub remembered: String,
    /// Keys that it has not seen: each is presented once, as every second request, as long as they last.
    pub fresh: Vec<String>,
}

/// Traffic that goes on until it is told to end.
pub struct Legitimate {
    stop: watch::Sender<bool>,
    client: JoinHandle<Seen>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of requests that were answered 200, sorted.
    pub latencies: Vec<Duration>,
    /// What happened to the others.
    pub failed: Vec<String>,
    /// How many of all were the first use of a key.
    pub fresh: usize,
}

impl Seen {
    /// The latency that 99 of 100 did not exceed.
    pub fn p99(&self) -> Duration {
        self.percentile(99)
    }

    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len().checked_sub(1).expect("an answer");
        self.latencies[(self.latencies.len() * percent / 100).min(last)]
    }

    /// Every request was answered, and there were some of each kind.
    pub fn none_failed(&self, during: &str) {
        assert!(!self.latencies.is_empty() && self.fresh > 0, "{during}");
        let failed = &self.failed;
        assert!(
            failed.is_empty(),
            "{during}: {} of {} failed, such as {:?}",
            failed.len(),
            failed.len() + self.latencies.len(),
            &failed[..failed.len().min(3)]
        );
    }
}

impl Legitimate {
    pub fn begin(plan: Plan) -> Self {
        let (stop, stopped) = watch::channel(false);
        let client = tokio::spawn(run(plan, stopped));
        Self { stop, client }
    }

    /// Sends nothing more, waits for the answers, and tells.
    pub async fn ended(self) -> Seen {
        self.stop.send_replace(true);
        self.client.await.unwrap()
    }

    /// Traffic for so long.
    pub async fn during(plan: Plan, time: Duration) -> Seen {
        let traffic = Self::begin(plan);
        tokio::time::sleep(time).await;
        traffic.ended().await
    }
}

type Kept = Arc<Mutex<Vec<Wire>>>;

async fn run(plan: Plan, mut stopped: watch::Receiver<bool>) -> Seen {
    let mut pace = interval(Duration::from_secs(1) / plan.requests_per_second);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let kept = Kept::default();
    let mut fresh = plan.fresh.into_iter();
    let mut requests = JoinSet::new();
    let mut seen = Seen::default();
    let mut number = 0;
    loop {
        let due = tokio::select! {
            due = pace.tick() => due,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        number += 1;
        let new_key = (number % 2 == 0).then(|| fresh.next()).flatten();
        seen.fresh += usize::from(new_key.is_some());
        let key = new_key.unwrap_or_else(|| plan.remembered.clone());
        let is_alone = number % NEW_CONNECTION_EVERY == 0;
        requests.spawn(one(plan.address, key, is_alone, Arc::clone(&kept), due));
    }
    for one in requests.join_all().await {
        match one {
            Ok(latency) => seen.latencies.push(latency),
            Err(failed) => seen.failed.push(failed),
        }
    }
    seen.latencies.sort_unstable();
    seen
}

/// One request; its latency, or what happened instead of a 200.
async fn one(
    address: SocketAddr,
    key: String,
    is_alone: bool,
    kept: Kept,
    due: Instant,
) -> Result<Duration, String> {
    let asking = async {
        let idle = if is_alone {
            None
        } else {
            kept.lock().unwrap().pop()
        };
        let mut wire = match idle {
            Some(wire) => wire,
            None => Wire::try_connect(address)
                .await
                .map_err(|e| e.to_string())?,
        };
        wire.send(format!(
            "GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {key}\r\n\r\n"
        ))
        .await;
        let answer = wire.answer().await.ok_or("the connection was closed")?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.head, answer.text()));
        }
        if !is_alone {
            kept.lock().unwrap().push(wire);
        }
        Ok(due.elapsed())
    };
    timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_elapsed| Err(format!("no answer in {PATIENCE:?}")))
}

/// The median of several runs.
pub fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of[of.len() / 2]
}
