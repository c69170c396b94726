//! The state of this instance's follower: for metrics, for readiness, and for look-ups, which do
//! not ask a store that is known not to answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use crate::model::change::Sequence;

/// Upper bounds in seconds of the time from a change's log entry to its application here: around the
/// 10 ms and 50 ms that a receipt may take, then the poll, then the lease.
const DELAY_BUCKETS_S: [f64; 11] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0,
];

/// Written by the follower, read by anybody.
#[derive(Debug)]
pub struct Progress {
    head: AtomicU64,
    applied: AtomicU64,
    store_silent: AtomicBool,
    registrations: AtomicU64,
    histories_lost: AtomicU64,
    streams_cut: AtomicU64,
    delay: Histogram,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            head: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            store_silent: AtomicBool::new(false),
            registrations: AtomicU64::new(0),
            histories_lost: AtomicU64::new(0),
            streams_cut: AtomicU64::new(0),
            delay: Histogram::new(DELAY_BUCKETS_S),
        }
    }
}

impl Progress {
    /// The log was seen to end at `head`.
    pub(super) fn saw_head(&self, head: Sequence) {
        self.head.store(head.get(), Ordering::Relaxed);
    }

    /// The log is applied up to here.
    pub(super) fn applied_to(&self, applied: Sequence) {
        self.applied.store(applied.get(), Ordering::Relaxed);
    }

    /// An entry was applied so long after it was written, by the store's clock.
    pub(super) fn applied_after(&self, delay: Duration) {
        self.delay.observe(delay.as_secs_f64());
    }

    /// Whether the last call to the store was answered.
    pub(super) fn store_answered(&self, answered: bool) {
        self.store_silent.store(!answered, Ordering::Relaxed);
    }

    /// Registered, for the first time or anew.
    pub(super) fn registered(&self) {
        self.registrations.fetch_add(1, Ordering::Relaxed);
    }

    /// The database was found to have another history than the one that was applied.
    pub(super) fn history_lost(&self) {
        self.histories_lost.fetch_add(1, Ordering::Relaxed);
    }

    /// An open request or stream was cut.
    pub fn stream_cut(&self) {
        self.streams_cut.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether asking the store is known to be in vain. The follower goes on asking, and knows within
    /// a tenth of a second when it is not any more.
    pub fn is_store_unresponsive(&self) -> bool {
        self.store_silent.load(Ordering::Relaxed)
    }

    /// Entries of the log that are known and not applied yet.
    pub fn lag(&self) -> u64 {
        let head = self.head.load(Ordering::Relaxed);
        head.saturating_sub(self.applied.load(Ordering::Relaxed))
    }

    /// How far the log is applied.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// How often this process has registered.
    pub fn registrations(&self) -> u64 {
        self.registrations.load(Ordering::Relaxed)
    }

    /// How often the database was found with another history.
    pub fn histories_lost(&self) -> u64 {
        self.histories_lost.load(Ordering::Relaxed)
    }

    /// How many open requests and streams were cut.
    pub fn streams_cut(&self) -> u64 {
        self.streams_cut.load(Ordering::Relaxed)
    }

    /// From log entry to application, in seconds.
    pub fn delay(&self) -> &Histogram {
        &self.delay
    }
}
