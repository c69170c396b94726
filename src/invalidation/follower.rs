//! The follower: one task of each gateway process that keeps its lease and applies the log.
//!
//! The order is the safety. *Write the lease, then read the log*: a revocation that committed before
//! the lease was written is read; one that committed after it finds the row and waits for it. And
//! *apply, then extend, then acknowledge*: nobody is told that a change is known before it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Invalidate;
use super::lease::Lease;
use crate::model::change::Sequence;
use crate::model::clock::Clock;
use crate::model::id::InstanceId;
use crate::store::{Lease as StoreLease, Store, StoreError};

/// The lease is renewed this many times in its duration, so that one lost renewal loses nothing.
const RENEWALS_PER_LEASE: u32 = 3;
/// Entries read from the log at a time; a burst of more is read in rounds.
const CHANGES_PER_READ: u32 = 1_024;
/// After a failed call to the store: how long until the next try. Bounds the load on a store that
/// is coming back, and the time until this instance is back after it (recovery within 1 s).
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What the follower works with.
pub struct Follower {
    /// This process.
    pub id: InstanceId,
    /// Where the log is.
    pub store: Arc<dyn Store>,
    /// The boot clock, for the lease.
    pub clock: Arc<dyn Clock>,
    /// What forgets.
    pub target: Arc<dyn Invalidate>,
    /// What every request asks.
    pub lease: Arc<Lease>,
    /// How long a lease is.
    pub duration: Duration,
}

/// Why a round ended early.
enum Setback {
    /// The store did not answer.
    Store(StoreError),
    /// This instance is no longer registered, or the log has a gap: begin anew.
    Lost(&'static str),
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Follower {
    /// Registers for the first time, so that a store that is away is an error at start.
    pub async fn register(&self) -> Result<Sequence, StoreError> {
        let asked_at = self.clock.boot();
        let head = self
            .bounded(self.store.register(self.id, self.duration))
            .await?;
        self.target.forget_before(head);
        self.lease.extend(asked_at, self.duration);
        Ok(head)
    }

    /// Follows from `applied` on until `stop` says so, then deregisters.
    pub async fn run(self, applied: Sequence, mut stop: watch::Receiver<bool>) {
        let mut applied = applied;
        let mut healthy = true;
        while !*stop.borrow() {
            let setback = tokio::select! {
                setback = self.follow(&mut applied) => setback,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            if healthy {
                tell(&setback);
            }
            healthy = false;
            if let Ok(head) = self.recover(setback, applied).await {
                applied = head;
                healthy = true;
                tracing::info!(%applied, "following the revocation log again");
            }
        }
        self.lease.end();
        if let Err(error) = self.bounded(self.store.deregister(self.id)).await {
            tracing::warn!(%error, "could not deregister; revocations wait for the lease to end");
        }
    }

    /// Goes on from where it was after a store error; registers anew after a loss.
    async fn recover(&self, setback: Setback, applied: Sequence) -> Result<Sequence, StoreError> {
        match setback {
            Setback::Store(_) => {
                tokio::time::sleep(RETRY_AFTER).await;
                // The row may be gone by now; the next renewal says so.
                self.bounded(self.store.head()).await.map(|_head| applied)
            }
            Setback::Lost(_) => {
                self.lease.end();
                self.register().await
            }
        }
    }

    /// Renews and follows until something fails.
    async fn follow(&self, applied: &mut Sequence) -> Setback {
        loop {
            if let Err(setback) = self.renew(applied).await {
                return setback;
            }
            let next_renewal = Instant::now() + self.duration / RENEWALS_PER_LEASE;
            while let Some(left) = next_renewal.checked_duration_since(Instant::now()) {
                self.store.wait_for_change(left).await;
                if let Err(setback) = self.catch_up(applied).await {
                    return setback;
                }
            }
        }
    }

    /// Writes the lease, then reads and applies the log, and only then counts on the lease.
    async fn renew(&self, applied: &mut Sequence) -> Result<(), Setback> {
        let asked_at = self.clock.boot();
        self.standing(self.store.renew(self.id, *applied, self.duration))
            .await?;
        self.catch_up(applied).await?;
        self.lease.extend(asked_at, self.duration);
        Ok(())
    }

    /// Applies all that is new in the log, then acknowledges it.
    async fn catch_up(&self, applied: &mut Sequence) -> Result<(), Setback> {
        let before = *applied;
        loop {
            let read = self.store.changes_after(*applied, CHANGES_PER_READ);
            let changes = self.bounded(read).await?;
            for change in &changes {
                if change.sequence != applied.next() {
                    return Err(Setback::Lost("the revocation log has a gap"));
                }
                self.target.apply(change);
                *applied = change.sequence;
            }
            if changes.len() < CHANGES_PER_READ as usize {
                break;
            }
        }
        if *applied > before {
            self.standing(self.store.acknowledge(self.id, *applied))
                .await?;
        }
        Ok(())
    }

    /// A call that says whether this instance still stands.
    async fn standing(
        &self,
        call: impl Future<Output = Result<StoreLease, StoreError>>,
    ) -> Result<(), Setback> {
        match self.bounded(call).await? {
            StoreLease::Renewed => Ok(()),
            StoreLease::Lost => Err(Setback::Lost("this instance was evicted")),
        }
    }

    /// No call outlives a renewal's turn: a frozen store must not freeze the follower.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.duration / RENEWALS_PER_LEASE;
        timeout(limit, call).await.unwrap_or_else(|_elapsed| {
            Err(StoreError::Unavailable(format!(
                "no answer in {} ms",
                limit.as_millis()
            )))
        })
    }
}

fn tell(setback: &Setback) {
    match setback {
        Setback::Store(error) => {
            tracing::warn!(%error, "cannot follow the revocation log; cached keys work until the \
                 lease ends, then requests are answered 503");
        }
        Setback::Lost(why) => tracing::warn!(why, "registering anew, with nothing remembered"),
    }
}
