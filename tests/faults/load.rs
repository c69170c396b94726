//! Half load: a client rests for as long as its request took, so that a gateway is busy half the time.

use std::time::{Duration, Instant};

use genkan::model::key::PlainKey;
use genkan::model::random::SystemEntropy;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{BUSY, ask_gateway, request};
use crate::support::deployment::{Deployment, Key, Process};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;
use crate::support::within;

/// The least and the longest rest of a client between two requests.
const REST: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];
/// The longest that a request may wait for the store, by default.
const STORE_WAIT: Duration = Duration::from_millis(250);

/// Whose key a client presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// A good one that every gateway remembers.
    Remembered,
    /// One that nobody knows, another each time: the store has to be asked.
    Unknown,
    /// One that was revoked before.
    Revoked,
}

/// One request and its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) caller: Caller,
    /// Which gateway.
    pub(super) gateway: usize,
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    pub(super) status: u16,
    retry_after: bool,
}

/// Three gateways on one database, and a key that each has seen good and then revoked.
pub(super) struct Three {
    pub(super) deployment: Deployment,
    pub(super) gateways: [Process; 3],
    pub(super) remembered: Key,
    pub(super) revoked: Key,
    _upstream: Upstream,
}

impl Three {
    /// On the PostgreSQL database at `url`, with more configuration.
    pub(super) async fn on(url: &str, extra: &str) -> Self {
        let upstream = Upstream::start().await;
        let deployment = Deployment::on(url, upstream.plain, extra);
        let (remembered, revoked) = (
            deployment.key("remembered", &[]),
            deployment.key("revoked", &[]),
        );
        let gateways = [
            deployment.start().await,
            deployment.start().await,
            deployment.start().await,
        ];
        let three = Self {
            deployment,
            gateways,
            remembered,
            revoked,
            _upstream: upstream,
        };
        for key in [&three.remembered, &three.revoked] {
            three.known(key).await;
        }
        three.revoke(&three.revoked).await;
        three
    }

    /// One request to each gateway.
    pub(super) async fn ask_all(&self, key: &Key) -> [u16; 3] {
        let mut statuses = [0; 3];
        for (status, gateway) in statuses.iter_mut().zip(&self.gateways) {
            *status = ask_gateway(gateway, key).await;
        }
        statuses
    }

    /// Waits until every gateway accepts a key: a busy machine may not look it up in the time that a
    /// request waits for the store.
    pub(super) async fn known(&self, key: &Key) {
        within("every gateway knows the key", async {
            while self.ask_all(key).await != [200; 3] {}
        })
        .await;
    }

    /// Ends a key: every gateway obeys (a busy machine may have one miss its lease, which is a way to
    /// obey), and none accepts it.
    pub(super) async fn revoke(&self, key: &Key) {
        let done = self
            .deployment
            .run_beside(&["keys", "revoke", &key.id])
            .await;
        let obeys = |outcome| done.stderr.matches(outcome).count();
        assert!(obeys("acknowledged") + obeys("fenced") >= 3, "{done:#?}");
        within("every gateway refuses the key", async {
            loop {
                let statuses = self.ask_all(key).await;
                assert!(!statuses.contains(&200), "{statuses:?}");
                if statuses == [401; 3] {
                    return;
                }
            }
        })
        .await;
    }

    /// For each gateway: until when it may surely answer from what it remembers, as of now.
    pub(super) async fn leases(&self) -> [Instant; 3] {
        let mut ends = [Instant::now(); 3];
        for (end, gateway) in ends.iter_mut().zip(&self.gateways) {
            // Before it is asked: then the end is not put too late.
            let asked = Instant::now();
            let left = gauge(gateway, "genkan_lease_left_seconds").await;
            *end = asked + Duration::from_secs_f64(left);
        }
        ends
    }

    /// Every caller at every gateway, from now on.
    pub(super) async fn load(&self) -> Load {
        let stop = watch::Sender::new(false);
        let mut clients = JoinSet::new();
        // Two of the first: where one's answer stands still with the lease, the other tells when that was.
        let callers = [
            Caller::Remembered,
            Caller::Remembered,
            Caller::Unknown,
            Caller::Revoked,
        ];
        for (number, gateway) in self.gateways.iter().enumerate() {
            for caller in callers {
                let key = match caller {
                    Caller::Remembered => Some(self.remembered.plain.clone()),
                    Caller::Unknown => None,
                    Caller::Revoked => Some(self.revoked.plain.clone()),
                };
                let wire = Wire::connect(gateway.address("plain")).await;
                let client = Client {
                    caller,
                    gateway: number,
                    key,
                    wire,
                };
                clients.spawn(client.run(stop.subscribe()));
            }
        }
        Load { stop, clients }
    }
}

/// One number of `/metrics`, whole or not.
pub(super) async fn gauge(gateway: &Process, name: &str) -> f64 {
    let text = gateway.operators("/metrics").await.into_body();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
        .parse()
        .unwrap()
}

struct Client {
    caller: Caller,
    gateway: usize,
    key: Option<String>,
    wire: Wire,
}

impl Client {
    async fn run(mut self, stop: watch::Receiver<bool>) -> Vec<Seen> {
        let mut seen = Vec::new();
        while !*stop.borrow() {
            let key = self.key.clone();
            let key = key.unwrap_or_else(|| PlainKey::generate(&SystemEntropy).expose().to_owned());
            let request = request(&key);
            let begun = Instant::now();
            let answer = self.wire.ask(request).await;
            let ended = Instant::now();
            seen.push(Seen {
                caller: self.caller,
                gateway: self.gateway,
                begun,
                ended,
                status: answer.status,
                retry_after: !answer.header("retry-after").is_empty(),
            });
            tokio::time::sleep((ended - begun).clamp(REST[0], REST[1])).await;
        }
        seen
    }
}

/// Clients that go on until they are told to stop.
pub(super) struct Load {
    stop: watch::Sender<bool>,
    clients: JoinSet<Vec<Seen>>,
}

impl Load {
    /// Ends it; what all of them saw.
    pub(super) async fn ended(self) -> Log {
        self.stop.send_replace(true);
        let seen = within("every client ends", self.clients.join_all()).await;
        Log(seen.into_iter().flatten().collect())
    }
}

/// What all clients saw.
pub(super) struct Log(Vec<Seen>);

impl Log {
    pub(super) fn of(&self, caller: Caller) -> impl Iterator<Item = &Seen> + Clone {
        self.0.iter().filter(move |seen| seen.caller == caller)
    }

    /// What holds in every fault: revoked keys stay out, every 503 says when to come again, and nobody
    /// waited for the store for longer than it is allowed.
    pub(super) fn always(&self, fault: &str) {
        let longest = self.0.iter().map(|seen| seen.ended - seen.begun).max();
        let unavailable = self.0.iter().filter(|seen| seen.status == 503);
        println!(
            "{fault}: {} requests, {} answered 503, the longest took {:?}",
            self.0.len(),
            unavailable.clone().count(),
            longest.unwrap(),
        );
        assert!(unavailable.clone().all(|seen| seen.retry_after));
        for seen in &self.0 {
            let is_late = seen.ended - seen.begun > STORE_WAIT + BUSY;
            // An answer that was on its way when the lease ended stands still with it.
            let was_frozen = seen.status == 200 && self.lease_ended_during(seen);
            assert!(!is_late || was_frozen, "{seen:?}");
            let expected: &[u16] = match seen.caller {
                Caller::Remembered => &[200, 503],
                Caller::Unknown | Caller::Revoked => &[401, 503],
            };
            assert!(expected.contains(&seen.status), "{seen:?}");
        }
    }

    fn lease_ended_during(&self, seen: &Seen) -> bool {
        let of_its_gateway = self.0.iter().filter(|it| it.gateway == seen.gateway);
        let refused =
            of_its_gateway.filter(|it| it.status == 503 && it.caller == Caller::Remembered);
        let first = refused.map(|it| it.ended).min();
        first.is_some_and(|first| seen.begun <= first && first <= seen.ended)
    }

    /// When the last 503 came, after `back`: from then on everything was normal.
    pub(super) fn recovery(&self, back: Instant) -> Duration {
        let unavailable = self.0.iter().filter(|seen| seen.status == 503);
        let last = unavailable.map(|seen| seen.ended).max().unwrap_or(back);
        last.saturating_duration_since(back)
    }
}
