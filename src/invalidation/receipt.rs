//! Waiting until a change holds everywhere, and the receipt that says so.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::change::Sequence;
use crate::model::clock::{BootInstant, Clock, Timestamp};
use crate::model::id::InstanceId;
use crate::store::{InstanceRow, Store, StoreError};

/// The first pause between two looks at the instances: a healthy one answers within milliseconds.
const POLL_MIN: Duration = Duration::from_millis(2);
/// The longest pause: one that is silent is waited for until its lease ends, without hurry.
const POLL_MAX: Duration = Duration::from_millis(20);

/// A store that does not answer is asked again for this long before the wait is given up: a moment
/// without a connection must not cost a receipt.
const STORE_SILENCE_MAX: Duration = Duration::from_secs(5);

/// How an instance came to obey.
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
    /// How it came to obey.
    pub outcome: Outcome,
    /// Milliseconds after the wait began.
    pub after_ms: u64,
}

/// Which instances obey a change, and since when: no request that begins after `settled_at` is
/// decided without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The change's place in the log.
    #[serde(serialize_with = "number")]
    pub sequence: Sequence,
    /// When the wait began, which is right after the commit. Milliseconds since 1970, UTC.
    #[serde(serialize_with = "millis")]
    pub committed_at: Timestamp,
    /// When the last instance obeyed. Milliseconds since 1970, UTC.
    #[serde(serialize_with = "millis")]
    pub settled_at: Timestamp,
    /// The instances that were waited for, in the order in which they obeyed.
    pub instances: Vec<InstanceReceipt>,
}

/// Why there is no complete receipt. The change itself is committed all the same.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The time was over before every instance obeyed.
    #[error(
        "the change is committed, but {} gateway instance(s) have not confirmed it yet: {}. Each \
         stops by itself when its lease ends; `genkan status` shows them",
        waiting.len(),
        list(waiting)
    )]
    Unsettled {
        /// What was confirmed until then.
        receipt: Receipt,
        /// Who did not.
        waiting: Vec<InstanceId>,
    },
    /// The store could not say who obeys.
    #[error(
        "the change is committed, but the store cannot say whether every gateway obeys it: {0}. \
         `genkan status` shows them when it answers again"
    )]
    Store(#[from] StoreError),
}

/// Waits until every registered instance has applied `sequence`, has ended, or is evicted because its
/// lease is over; at most `at_most`.
///
/// Who registers after the commit begins at a head that holds the change: its row shows an applied
/// position of at least `sequence` from the start, and is never waited for.
pub async fn settle(
    store: &dyn Store,
    clock: &dyn Clock,
    sequence: Sequence,
    at_most: Duration,
) -> Result<Receipt, SettleError> {
    let mut wait = Wait {
        begun: clock.boot(),
        waiting: BTreeSet::new(),
        receipt: Receipt {
            sequence,
            committed_at: clock.now(),
            settled_at: clock.now(),
            instances: Vec::new(),
        },
    };
    let deadline = tokio::time::Instant::now() + at_most;
    let mut answered_at = tokio::time::Instant::now();
    let mut pause = POLL_MIN;
    loop {
        match wait.look(store, clock).await {
            Ok(()) if wait.waiting.is_empty() => return Ok(wait.receipt),
            Ok(()) => answered_at = tokio::time::Instant::now(),
            Err(error) if !may_pass(&error) || answered_at.elapsed() > STORE_SILENCE_MAX => {
                return Err(error.into());
            }
            Err(_may_pass) => {}
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(SettleError::Unsettled {
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

/// Who was seen behind the change and has not obeyed yet, and what is known of the others.
struct Wait {
    begun: BootInstant,
    waiting: BTreeSet<InstanceId>,
    receipt: Receipt,
}

impl Wait {
    /// One look at every row.
    async fn look(&mut self, store: &dyn Store, clock: &dyn Clock) -> Result<(), StoreError> {
        let rows = store.instances().await?;
        for row in &rows {
            match self.judge(row, store).await? {
                None => {
                    self.waiting.insert(row.id);
                }
                Some(outcome) => self.obeyed(row.id, outcome, clock),
            }
        }
        let gone: Vec<_> = self
            .waiting
            .iter()
            .filter(|id| rows.iter().all(|row| row.id != **id))
            .copied()
            .collect();
        for id in gone {
            self.obeyed(id, Outcome::Deregistered, clock);
        }
        Ok(())
    }

    /// Whether an instance that has a row obeys; none: not yet.
    async fn judge(
        &self,
        row: &InstanceRow,
        store: &dyn Store,
    ) -> Result<Option<Outcome>, StoreError> {
        if row.evicted {
            return Ok(Some(Outcome::Fenced));
        }
        if row.applied >= self.receipt.sequence {
            return Ok(Some(Outcome::Acknowledged));
        }
        let expired = row.lease_left_ms <= 0 && store.evict_if_expired(row.id).await?;
        Ok(expired.then_some(Outcome::Fenced))
    }

    fn obeyed(&mut self, id: InstanceId, outcome: Outcome, clock: &dyn Clock) {
        self.waiting.remove(&id);
        if self.receipt.instances.iter().any(|known| known.id == id) {
            return;
        }
        let elapsed = clock.boot().since(self.begun);
        self.receipt.settled_at = clock.now();
        self.receipt.instances.push(InstanceReceipt {
            id,
            outcome,
            after_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
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
    serializer.serialize_i64(time.as_millis())
}
