//! Waiting until a change holds everywhere, and the receipt that says so.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::observer::Observer;
use crate::model::change::Sequence;
use crate::model::clock::{BootInstant, Clock, Timestamp};
use crate::model::id::InstanceId;
use crate::store::{InstanceRow, Store, StoreError};

/// The first pause between two looks at the instances: a healthy one answers within milliseconds.
const POLL_MIN: Duration = Duration::from_millis(1);
/// The longest pause: one that is silent is waited for until its lease ends, without hurry.
const POLL_MAX: Duration = Duration::from_millis(20);

/// How much longer than its lease an instance is waited for that renews it and does not acknowledge:
/// time for one that is dead to be seen without a renewal for its whole lease, and evicted.
const FENCE_MARGIN: Duration = Duration::from_millis(50);

/// A store that does not answer is asked again for this long before the wait is given up: a moment
/// without a connection must not cost a receipt.
const STORE_UNRESPONSIVE_MAX: Duration = Duration::from_secs(5);

/// How an instance confirmed a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It applied the log up to the change and said so.
    Acknowledged,
    /// Its lease ran out: it answers 503 until it registers anew, with nothing remembered.
    Fenced,
    /// It ended.
    Deregistered,
}

impl Outcome {
    /// The word shown to people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Fenced => "fenced",
            Self::Deregistered => "deregistered",
        }
    }
}

/// One instance's line of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InstanceReceipt {
    /// The process.
    #[serde(serialize_with = "text")]
    pub id: InstanceId,
    /// How it confirmed the change.
    #[serde(rename = "result")]
    pub outcome: Outcome,
    /// Milliseconds after the wait began.
    pub after_ms: u64,
    /// How many of its open requests and streams the change ended.
    pub streams_cut: u64,
    /// When it last accepted a request with what was revoked. `None`: not that it remembers.
    /// RFC 3339 in UTC, with milliseconds.
    #[serde(serialize_with = "optional_millis")]
    pub last_accepted_at: Option<Timestamp>,
}

/// Which instances confirmed a change, and when: no request that begins after `confirmed_at` is
/// decided without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The change's place in the log.
    #[serde(serialize_with = "number")]
    pub sequence: Sequence,
    /// When the wait began, which is right after the commit. RFC 3339 in UTC, with milliseconds.
    #[serde(serialize_with = "millis")]
    pub committed_at: Timestamp,
    /// When the last instance confirmed it. RFC 3339 in UTC, with milliseconds.
    #[serde(serialize_with = "millis")]
    pub confirmed_at: Timestamp,
    /// The instances that were waited for, in the order in which they confirmed it.
    pub instances: Vec<InstanceReceipt>,
    /// How many open requests and streams the change ended, on all instances that reported.
    pub streams_cut: u64,
    /// When the last request was accepted with what was revoked, on any instance that remembers.
    /// RFC 3339 in UTC, with milliseconds.
    #[serde(serialize_with = "optional_millis")]
    pub last_accepted_at: Option<Timestamp>,
}

impl Receipt {
    /// Without the instances' reports on the entry: only who confirmed it, and when.
    #[must_use]
    pub fn without_reports(mut self) -> Self {
        self.streams_cut = 0;
        self.last_accepted_at = None;
        for one in &mut self.instances {
            one.streams_cut = 0;
            one.last_accepted_at = None;
        }
        self
    }
}

/// Why there is no complete receipt. The change itself is committed all the same.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The time was over before every instance confirmed the change.
    #[error(
        "the change is committed, but {} gateway instance(s) have not confirmed it yet: {}. Each \
         stops by itself when its lease ends; `genkan status` shows them",
        waiting.len(),
        list(waiting)
    )]
    Unconfirmed {
        /// What was confirmed until then.
        receipt: Receipt,
        /// The instances that did not confirm it.
        waiting: Vec<InstanceId>,
    },
    /// The database no longer has the change: it was failed over to a standby that is behind, or
    /// restored.
    #[error(
        "the database lost the change after committing it: it was failed over, or restored from a \
         backup. Do it again; gateways that knew of it tell the database, see their logs"
    )]
    HistoryLost,
    /// The store could not say which instances have acknowledged the change.
    #[error(
        "the change is committed, but the store cannot say whether every gateway has acknowledged it: {0}. \
         `genkan status` shows them when it answers again"
    )]
    Store(#[from] StoreError),
}

/// Waits until every registered instance has applied `sequence`, has ended, or is evicted because it
/// has not renewed its lease for as long as that lasts; at most `at_most`.
///
/// Who registers after the commit begins at a head that holds the change: its row shows an applied
/// position of at least `sequence` from the start, and is never waited for.
pub async fn wait_for_acknowledgements(
    store: &dyn Store,
    clock: &dyn Clock,
    sequence: Sequence,
    at_most: Duration,
) -> Result<Receipt, ReceiptError> {
    wait_for_all_acknowledgements(store, clock, (sequence, sequence), at_most).await
}

/// As [`wait_for_acknowledgements`], of a change with several entries of the log, from the first to the last: the
/// receipt shows what all of them ended.
pub async fn wait_for_all_acknowledgements(
    store: &dyn Store,
    clock: &dyn Clock,
    (first, sequence): (Sequence, Sequence),
    at_most: Duration,
) -> Result<Receipt, ReceiptError> {
    let mut wait = Wait {
        first,
        begun: clock.boot(),
        waiting: BTreeSet::new(),
        receipt: Receipt {
            sequence,
            committed_at: clock.now(),
            confirmed_at: clock.now(),
            instances: Vec::new(),
            streams_cut: 0,
            last_accepted_at: None,
        },
        observer: Observer::default(),
        history: None,
    };
    let deadline = tokio::time::Instant::now() + at_most;
    let mut answered_at = tokio::time::Instant::now();
    let mut pause = POLL_MIN;
    loop {
        match wait.look(store, clock).await {
            Ok(()) if wait.waiting.is_empty() => return Ok(wait.with_reports(store).await),
            Ok(()) => answered_at = tokio::time::Instant::now(),
            Err(ReceiptError::Store(error))
                if may_pass(&error) && answered_at.elapsed() <= STORE_UNRESPONSIVE_MAX => {}
            Err(error) => return Err(error),
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(ReceiptError::Unconfirmed {
                receipt: wait.receipt,
                waiting: wait.waiting.into_iter().collect(),
            });
        }
        let next = tokio::time::Instant::now() + pause;
        tokio::time::sleep_until(next.min(deadline)).await;
        pause = (pause * 2).min(POLL_MAX);
    }
}

/// Whether asking again may help.
const fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Locked(_))
}

/// The instances that have not confirmed the change yet, and what is known of the others.
struct Wait {
    /// The first entry of the change; its last is the receipt's.
    first: Sequence,
    begun: BootInstant,
    waiting: BTreeSet<InstanceId>,
    receipt: Receipt,
    observer: Observer,
    /// The database's history at the first look.
    history: Option<String>,
}

impl Wait {
    /// One look at every row.
    async fn look(&mut self, store: &dyn Store, clock: &dyn Clock) -> Result<(), ReceiptError> {
        let seen = store.instances().await?;
        let now = clock.boot();
        let history = self.history.get_or_insert_with(|| seen.history.clone());
        // Rows of another history say nothing about who knows this change.
        if seen.head < self.receipt.sequence || *history != seen.history {
            return Err(ReceiptError::HistoryLost);
        }
        let mut evicted = Vec::new();
        for (id, renewals) in self.observer.overdue(&seen.rows, now) {
            if self.waiting.contains(&id) && store.evict(id, renewals).await? {
                evicted.push(id);
            }
        }
        for row in &seen.rows {
            match self.judge(row, evicted.contains(&row.id), now) {
                None => {
                    self.waiting.insert(row.id);
                }
                Some(outcome) => self.confirmed(row.id, outcome, clock),
            }
        }
        let gone: Vec<_> = self
            .waiting
            .iter()
            .filter(|id| seen.rows.iter().all(|row| row.id != **id))
            .copied()
            .collect();
        for id in gone {
            self.confirmed(id, Outcome::Deregistered, clock);
        }
        Ok(())
    }

    /// How an instance that has a row confirmed the change; `None`: not yet.
    ///
    /// After its lease, counted from the commit, it does in any case: an instance reads the log after each
    /// renewal and before it counts on it, so a lease that was granted after the commit is one of an
    /// instance that knows of the change, and one that was granted before is over.
    fn judge(&self, row: &InstanceRow, evicted_now: bool, now: BootInstant) -> Option<Outcome> {
        let is_out_of_time = now.since(self.begun) >= row.lease.saturating_add(FENCE_MARGIN);
        if row.evicted || evicted_now {
            Some(Outcome::Fenced)
        } else if row.applied >= self.receipt.sequence {
            Some(Outcome::Acknowledged)
        } else if is_out_of_time {
            Some(Outcome::Fenced)
        } else {
            None
        }
    }

    /// The receipt with the instances' reports. It is valid without them: the reports are for
    /// people, not for safety.
    async fn with_reports(self, store: &dyn Store) -> Receipt {
        let mut receipt = self.receipt;
        let reports = store.reports(self.first, receipt.sequence).await;
        let reports = reports.unwrap_or_default();
        for (id, report) in reports {
            receipt.streams_cut += report.streams_cut;
            receipt.last_accepted_at = receipt.last_accepted_at.max(report.last_accepted_at);
            if let Some(known) = receipt.instances.iter_mut().find(|it| it.id == id) {
                known.streams_cut += report.streams_cut;
                known.last_accepted_at = known.last_accepted_at.max(report.last_accepted_at);
            }
        }
        receipt
    }

    fn confirmed(&mut self, id: InstanceId, outcome: Outcome, clock: &dyn Clock) {
        self.waiting.remove(&id);
        if self.receipt.instances.iter().any(|known| known.id == id) {
            return;
        }
        let elapsed = clock.boot().since(self.begun);
        self.receipt.confirmed_at = clock.now();
        self.receipt.instances.push(InstanceReceipt {
            id,
            outcome,
            after_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            streams_cut: 0,
            last_accepted_at: None,
        });
    }
}

fn list(ids: &[InstanceId]) -> String {
    ids.iter()
        .map(InstanceId::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn text<S: Serializer>(id: &InstanceId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn number<S: Serializer>(sequence: &Sequence, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(sequence.get())
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn millis<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.with_millis())
}

#[expect(clippy::ref_option, reason = "serde asks for a reference to the field")]
fn optional_millis<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_some(&time.with_millis()),
        None => serializer.serialize_none(),
    }
}
