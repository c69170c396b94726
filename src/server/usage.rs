//! What gateways tell the store of the use of keys; and the ends that follow from silence.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::model::clock::{Clock, Timestamp};
use crate::model::id::InstanceId;
use crate::model::random::Entropy;
use crate::model::usage::KeyUse;
use crate::record::usage::{TOLD_EVERY, Untold};
use crate::service::Service;
use crate::store::Management;

/// Tellings of workers that wait to be merged. Each worker tells every few seconds: more is a store that
/// does not answer, and then the newest is what counts.
const TELLINGS_MAX: usize = 64;
/// How often keys are looked for that nobody has used for as long as their rotation says.
const SILENCE_LOOKED_AT_EVERY: Duration = Duration::from_secs(30);

/// How often the store is made to forget what is too old to be shown. A write for everybody, so seldom.
const FORGOTTEN_EVERY: Duration = Duration::from_mins(10);
/// Keys told to the store in one transaction.
const KEYS_PER_TELLING: usize = 500;

/// One worker's telling.
struct Told {
    worker: usize,
    uses: Vec<KeyUse>,
    dropped: u64,
}

/// Where workers tell. Never waits: what finds no place is dropped, and counted where somebody looks.
#[derive(Clone)]
pub(super) struct Telling(mpsc::Sender<Told>);

impl Telling {
    pub(super) fn tell(&self, worker: usize, uses: Vec<KeyUse>, dropped: u64) {
        let told = Told {
            worker,
            uses,
            dropped,
        };
        if let Err(error) = self.0.try_send(told) {
            tracing::debug!(%error, "the use of keys was not noted");
        }
    }
}

/// The task that tells the store.
pub(super) struct Bookkeeper {
    store: Arc<dyn Management>,
    service: Service,
    clock: Arc<dyn Clock>,
    /// This process, among those that tell.
    id: InstanceId,
    told: mpsc::Receiver<Told>,
    /// Since when nothing was lost on the way to the store: silence counts from here.
    told_since: Timestamp,
}

impl Bookkeeper {
    pub(super) fn new(
        store: Arc<dyn Management>,
        service: Service,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> (Telling, Self) {
        let (sender, told) = mpsc::channel(TELLINGS_MAX);
        let told_since = clock.now();
        let id = InstanceId::generate(told_since, entropy);
        let keeper = Self {
            store,
            service,
            clock,
            id,
            told,
            told_since,
        };
        (Telling(sender), keeper)
    }

    /// Tells until `end`, and once more then.
    pub(super) async fn run(mut self, mut end: watch::Receiver<bool>) {
        let mut untold = Untold::default();
        let every = |period| interval_at(Instant::now() + period, period);
        let mut telling = every(TOLD_EVERY);
        let mut looking = every(SILENCE_LOOKED_AT_EVERY);
        let mut forgetting = every(FORGOTTEN_EVERY);
        for ticks in [&mut telling, &mut looking, &mut forgetting] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                told = self.told.recv() => match told {
                    Some(told) => self.note(&mut untold, told),
                    None => break,
                },
                _ = telling.tick() => self.tell(&mut untold).await,
                _ = looking.tick() => self.end_silent_keys().await,
                _ = forgetting.tick() => self.forget().await,
                () = ended(&mut end) => break,
            }
        }
        while let Ok(told) = self.told.try_recv() {
            self.note(&mut untold, told);
        }
        self.tell(&mut untold).await;
    }

    async fn tell(&mut self, untold: &mut Untold) {
        let mut uses = untold.take();
        while !uses.is_empty() {
            let some = uses.split_off(uses.len().saturating_sub(KEYS_PER_TELLING));
            if let Err(error) = self.store.record_usage(self.id, &some).await {
                tracing::debug!(%error, "the use of keys is told later");
                // What was told before is not told again: it would count twice.
                untold.give_back(some);
                untold.give_back(uses);
                self.told_since = self.clock.now();
                return;
            }
        }
    }

    async fn forget(&self) {
        if let Err(error) = self.store.forget_usage(self.id, self.clock.now()).await {
            tracing::debug!(%error, "old uses are forgotten later");
        }
    }

    fn note(&mut self, untold: &mut Untold, told: Told) {
        let now = self.clock.now();
        let dropped = untold.add(told.worker, told.uses, now) + told.dropped;
        if dropped > 0 {
            self.told_since = now;
            tracing::warn!(
                dropped,
                "more keys were used at once than are noted: their last use is unknown"
            );
        }
    }

    async fn end_silent_keys(&self) {
        match self.service.end_silent_keys(self.told_since).await {
            Ok(ended) => {
                for id in ended {
                    tracing::info!(key_id = %id, "a key that was replaced has been silent, and ended");
                }
            }
            Err(error) => tracing::debug!(%error, "silent keys are looked for later"),
        }
    }
}

/// An error says that the server is gone: that is an end too.
async fn ended(end: &mut watch::Receiver<bool>) {
    drop(end.wait_for(|end| *end).await);
}
