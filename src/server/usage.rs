//! Writes the usage of keys to the store, and ends replaced keys that have become idle.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::model::clock::{Clock, Timestamp};
use crate::model::id::InstanceId;
use crate::model::random::Entropy;
use crate::model::usage::KeyUse;
use crate::record::usage::{PendingUsage, USAGE_REPORTED_EVERY};
use crate::service::Service;
use crate::store::Management;

/// Reports of workers that may wait to be merged. Each worker reports every few seconds, so a full queue means that
/// the store does not answer; reports that do not fit are dropped.
const QUEUED_REPORTS_MAX: usize = 64;
/// Interval between two checks for keys that have been idle for as long as their rotation allows.
const IDLE_KEYS_CHECKED_EVERY: Duration = Duration::from_secs(30);

/// Interval between two deletions of usage that is too old to be shown. Long, because each deletion is a write.
const OLD_USAGE_DELETED_EVERY: Duration = Duration::from_mins(10);
/// Keys written to the store in one transaction.
const KEYS_PER_WRITE: usize = 500;

/// One worker's report of key usage.
struct WorkerUsage {
    worker: usize,
    uses: Vec<KeyUse>,
    dropped: u64,
}

/// Where workers send their reports. It never waits: a report that does not fit the queue is dropped with a log line.
#[derive(Clone)]
pub(super) struct UsageSender(mpsc::Sender<WorkerUsage>);

impl UsageSender {
    pub(super) fn report(&self, worker: usize, uses: Vec<KeyUse>, dropped: u64) {
        let report = WorkerUsage {
            worker,
            uses,
            dropped,
        };
        if let Err(error) = self.0.try_send(report) {
            tracing::debug!(%error, "a report of key usage was dropped");
        }
    }
}

/// The task that writes key usage to the store.
pub(super) struct UsageFlusher {
    store: Arc<dyn Management>,
    service: Service,
    clock: Arc<dyn Clock>,
    /// Identifies this process among those that write usage.
    id: InstanceId,
    reports: mpsc::Receiver<WorkerUsage>,
    /// Since when no usage has been lost on the way to the store. Idle time is counted from here at the earliest.
    usage_complete_since: Timestamp,
}

impl UsageFlusher {
    pub(super) fn new(
        store: Arc<dyn Management>,
        service: Service,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> (UsageSender, Self) {
        let (sender, reports) = mpsc::channel(QUEUED_REPORTS_MAX);
        let usage_complete_since = clock.now();
        let id = InstanceId::generate(usage_complete_since, entropy);
        let flusher = Self {
            store,
            service,
            clock,
            id,
            reports,
            usage_complete_since,
        };
        (UsageSender(sender), flusher)
    }

    /// Writes usage at intervals until `end` is true, then once more.
    pub(super) async fn run(mut self, mut end: watch::Receiver<bool>) {
        let mut pending = PendingUsage::default();
        let every = |period| interval_at(Instant::now() + period, period);
        let mut write_ticks = every(USAGE_REPORTED_EVERY);
        let mut idle_check_ticks = every(IDLE_KEYS_CHECKED_EVERY);
        let mut deletion_ticks = every(OLD_USAGE_DELETED_EVERY);
        for ticks in [&mut write_ticks, &mut idle_check_ticks, &mut deletion_ticks] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some(report) => self.merge(&mut pending, report),
                    None => break,
                },
                _ = write_ticks.tick() => self.write(&mut pending).await,
                _ = idle_check_ticks.tick() => self.end_idle_keys().await,
                _ = deletion_ticks.tick() => self.delete_old_usage().await,
                () = wait_for_end(&mut end) => break,
            }
        }
        while let Ok(report) = self.reports.try_recv() {
            self.merge(&mut pending, report);
        }
        self.write(&mut pending).await;
    }

    async fn write(&mut self, pending: &mut PendingUsage) {
        let mut uses = pending.take();
        while !uses.is_empty() {
            let batch = uses.split_off(uses.len().saturating_sub(KEYS_PER_WRITE));
            if let Err(error) = self.store.record_usage(self.id, &batch).await {
                tracing::debug!(%error, "cannot write key usage now; trying again later");
                // Batches that were written already are not written again: they would count twice.
                pending.give_back(batch);
                pending.give_back(uses);
                self.usage_complete_since = self.clock.now();
                return;
            }
        }
    }

    async fn delete_old_usage(&self) {
        if let Err(error) = self.store.forget_usage(self.id, self.clock.now()).await {
            tracing::debug!(%error, "cannot delete old key usage now; trying again later");
        }
    }

    fn merge(&mut self, pending: &mut PendingUsage, report: WorkerUsage) {
        let now = self.clock.now();
        let dropped = pending.add(report.worker, report.uses, now) + report.dropped;
        if dropped > 0 {
            self.usage_complete_since = now;
            tracing::warn!(
                dropped,
                "more keys were used at once than can be tracked: their last use is unknown"
            );
        }
    }

    async fn end_idle_keys(&self) {
        match self.service.end_idle_keys(self.usage_complete_since).await {
            Ok(ended) => {
                for id in ended {
                    tracing::info!(key_id = %id, "a replaced key was idle for too long and was ended");
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot check for idle keys now; trying again later");
            }
        }
    }
}

/// Returns when `end` is true, or when the server has been dropped.
async fn wait_for_end(end: &mut watch::Receiver<bool>) {
    drop(end.wait_for(|end| *end).await);
}
