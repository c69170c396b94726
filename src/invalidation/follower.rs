//! The follower: one task of each gateway process that keeps its lease and applies the log.
//!
//! The order is the safety. *Write the lease, then read the log*: a revocation that committed before
//! the lease was written is read; one that committed after it finds the row and waits for it. And
//! *apply, cut, then extend, then acknowledge*: a change is acknowledged only after it is in force.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::Invalidate;
use super::lease::Lease;
use super::observer::Observer;
use super::progress::Progress;
use crate::model::change::{Change, Sequence};
use crate::model::clock::Clock;
use crate::model::id::InstanceId;
use crate::model::random::Entropy;
use crate::store::{Lease as StoreLease, LogPage, Report, Store, StoreError};

/// The lease is renewed this many times in its duration: of the default of 3 s at least 2.4 are left
/// when the store goes away, so that its restart in 2 s costs no remembered key anything.
const RENEWALS_PER_LEASE: u32 = 5;
/// No call to the store takes longer than this part of the lease: a frozen store must not freeze the
/// follower, and one lost call loses no lease.
const CALLS_PER_LEASE: u32 = 3;
/// But each may take this long, however short the lease is: it may have to connect first.
const CALL_TIME_MIN: Duration = Duration::from_millis(250);
/// How long a registration may take, at start and after a loss: nothing is answered meanwhile anyway.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(2);
/// Entries read from the log at a time; a burst of more is read in rounds.
const CHANGES_PER_READ: u32 = 1_024;
/// After a failed call to the store: how long until the next try. Bounds the load on a store that
/// is coming back, and the time until this instance is back after it (recovery within 1 s).
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Lost revocations that are repeated to a database in one transaction, which holds the log's lock.
const REASSERTED_PER_TRANSACTION: usize = 256;

/// What the follower works with.
pub struct Follower {
    /// Where the log is.
    pub store: Arc<dyn Store>,
    /// The boot clock, for the lease.
    pub clock: Arc<dyn Clock>,
    /// For the ids of registrations.
    pub entropy: Arc<dyn Entropy>,
    /// What forgets.
    pub target: Arc<dyn Invalidate>,
    /// What every request asks.
    pub lease: Arc<Lease>,
    /// What others want to know.
    pub progress: Arc<Progress>,
    /// How long a lease is.
    pub duration: Duration,
}

/// How this instance stands in the store: one registration, and how far it has followed.
#[derive(Debug)]
pub struct Registration {
    /// Its row. Every registration has an id of its own: a message that was sent under an earlier one
    /// and arrives late touches nothing.
    id: InstanceId,
    /// Entries up to here are in force for every reader.
    applied: Sequence,
    /// Open requests against entries up to here are cut. This place is acknowledged.
    swept: Sequence,
    /// The entry at `applied`, as it was read: another one there is another history.
    last: Option<Change>,
    /// See [`LogPage::history`].
    history: Option<String>,
}

/// Why the follower stopped following.
enum FollowError {
    /// The store did not answer.
    Store(StoreError),
    /// This instance is no longer registered: begin anew.
    Lost,
    /// The log is not the one that was applied: the database was failed over or restored.
    HistoryDiverged(&'static str),
}

impl From<StoreError> for FollowError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Follower {
    /// Registers, and catches up with what was committed meanwhile; only then the lease counts. A
    /// look-up that is still under way and saw the database before a revocation that the new row's
    /// own statement did not see would be believed otherwise.
    ///
    /// # Errors
    /// The store's: at start nothing is served then.
    pub async fn register(&self) -> Result<Registration, StoreError> {
        let asked_at = self.clock.boot();
        let id = InstanceId::generate(self.clock.now(), &*self.entropy);
        let registering = self.store.register(id, self.duration);
        let head = within(REGISTER_TIMEOUT, registering).await?;
        self.target.forget_before(head);
        let mut registration = Registration {
            id,
            applied: head,
            swept: head,
            last: None,
            history: None,
        };
        match self.catch_up(&mut registration).await {
            Ok(()) => {}
            Err(FollowError::Store(error)) => return Err(error),
            Err(FollowError::Lost | FollowError::HistoryDiverged(_)) => {
                return Err(StoreError::Unavailable(
                    "it changed under this instance's registration".to_owned(),
                ));
            }
        }
        self.lease.extend(asked_at, self.duration);
        self.progress.registered();
        // What froze goes on, or is looked up anew.
        drop(self.target.sweep().await);
        Ok(registration)
    }

    /// Follows until `stop` says so, then deregisters.
    pub async fn run(self, registration: Registration, mut stop: watch::Receiver<bool>) {
        let mut registration = registration;
        let mut healthy = true;
        while !*stop.borrow() {
            let follow_error = tokio::select! {
                follow_error = self.follow(&mut registration) => follow_error,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            if healthy {
                tell(&follow_error);
            }
            healthy = false;
            self.progress
                .store_answered(!matches!(follow_error, FollowError::Store(_)));
            let recovered = tokio::select! {
                recovered = self.recover(&follow_error, &mut registration) => recovered,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            if recovered.is_ok() {
                healthy = true;
                self.progress.store_answered(true);
                let Registration { id, applied, .. } = registration;
                tracing::info!(%id, %applied, "following the revocation log again");
            }
        }
        self.lease.end();
        if let Err(error) = self.bounded(self.store.deregister(registration.id)).await {
            tracing::warn!(%error, "could not deregister; revocations wait for the lease to end");
        }
    }

    /// Goes on from where it was after a store error; begins anew after a loss.
    async fn recover(
        &self,
        follow_error: &FollowError,
        registration: &mut Registration,
    ) -> Result<(), StoreError> {
        match follow_error {
            FollowError::Store(_) => {
                tokio::time::sleep(RETRY_AFTER).await;
                // The row may be gone by now; the next renewal says so.
                self.bounded(self.store.read_log(registration.applied, 1))
                    .await
                    .map(drop)
            }
            FollowError::Lost => {
                self.lease.end();
                // Of a gateway that is back no receipt need say that it is fenced.
                self.bounded(self.store.deregister(registration.id)).await?;
                *registration = self.register().await?;
                Ok(())
            }
            FollowError::HistoryDiverged(_) => {
                self.lease.end();
                self.progress.history_lost();
                tokio::time::sleep(RETRY_AFTER).await;
                self.reassert().await?;
                self.bounded(self.store.deregister(registration.id)).await?;
                *registration = self.register().await?;
                Ok(())
            }
        }
    }

    /// Revokes again what the database may have lost.
    async fn reassert(&self) -> Result<(), StoreError> {
        let revocations = self.target.revocations();
        let mut again = 0;
        for some in revocations.chunks(REASSERTED_PER_TRANSACTION) {
            let reasserting = self.store.reassert(some, self.clock.now());
            again += self.bounded(reasserting).await?;
        }
        if again > 0 {
            tracing::error!(again, "revoked again what the database had lost");
        }
        Ok(())
    }

    /// Renews and follows until something fails.
    async fn follow(&self, registration: &mut Registration) -> FollowError {
        let mut peers = Observer::default();
        loop {
            if let Err(follow_error) = self.renew(registration).await {
                return follow_error;
            }
            let next_renewal = Instant::now() + self.duration / RENEWALS_PER_LEASE;
            if let Err(error) = self.evict_overdue(registration.id, &mut peers).await {
                return error.into();
            }
            while let Some(left) = next_renewal.checked_duration_since(Instant::now()) {
                self.store.wait_for_change(left).await;
                if let Err(follow_error) = self.catch_up(registration).await {
                    return follow_error;
                }
            }
        }
    }

    /// Writes the lease, then reads and applies the log, and only then counts on the lease.
    async fn renew(&self, registration: &mut Registration) -> Result<(), FollowError> {
        let asked_at = self.clock.boot();
        let renewing = self.store.renew(registration.id, registration.swept);
        self.registration(renewing).await?;
        self.catch_up(registration).await?;
        let was_out = !self.lease.holds(self.clock.boot());
        self.lease.extend(asked_at, self.duration);
        self.progress.store_answered(true);
        if was_out {
            drop(self.target.sweep().await);
        }
        Ok(())
    }

    /// Declares peers gone that have not renewed for their whole lease, so that the next revocation
    /// does not have to wait for that.
    async fn evict_overdue(&self, own: InstanceId, peers: &mut Observer) -> Result<(), StoreError> {
        let seen = self.bounded(self.store.instances()).await?;
        for (id, renewals) in peers.overdue(&seen.rows, self.clock.boot()) {
            if id != own && self.bounded(self.store.evict(id, renewals)).await? {
                tracing::warn!(instance = %id, "evicted an instance that does not renew its lease");
            }
        }
        Ok(())
    }

    /// Applies all that is new in the log and cuts what it ends; then acknowledges.
    async fn catch_up(&self, registration: &mut Registration) -> Result<(), FollowError> {
        let mut reports = Vec::new();
        loop {
            let reading = self.store.read_log(registration.applied, CHANGES_PER_READ);
            let page = self.bounded(reading).await?;
            registration.compare(&page)?;
            self.target.learn_has_imported(page.has_imported);
            for change in &page.changes {
                if change.sequence != registration.applied.next() {
                    return Err(FollowError::HistoryDiverged("the revocation log has a gap"));
                }
                self.apply(change, &page, &mut reports);
                registration.applied = change.sequence;
                registration.last = Some(*change);
            }
            if page.changes.len() < CHANGES_PER_READ as usize {
                break;
            }
        }
        if registration.applied > registration.swept {
            merge(&mut reports, self.target.sweep().await);
            registration.swept = registration.applied;
            self.progress.applied_to(registration.applied);
            let acknowledging =
                self.store
                    .acknowledge(registration.id, registration.swept, &reports);
            self.registration(acknowledging).await?;
        }
        Ok(())
    }

    fn apply(&self, change: &Change, page: &LogPage, reports: &mut Vec<Report>) {
        self.progress.saw_head(page.head);
        let last_accepted_at = self.target.apply(change);
        let age_ms = page.now.as_millis().saturating_sub(change.at.as_millis());
        self.progress
            .applied_after(Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)));
        if last_accepted_at.is_some() {
            reports.push(Report {
                sequence: change.sequence,
                streams_cut: 0,
                last_accepted_at,
            });
        }
    }

    /// A call that says whether this instance still stands.
    async fn registration(
        &self,
        call: impl Future<Output = Result<StoreLease, StoreError>>,
    ) -> Result<(), FollowError> {
        match self.bounded(call).await? {
            StoreLease::Renewed => Ok(()),
            StoreLease::Lost => Err(FollowError::Lost),
        }
    }

    /// Within the time of one call.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = (self.duration / CALLS_PER_LEASE).max(CALL_TIME_MIN);
        within(limit, call).await
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, call).await.unwrap_or_else(|_elapsed| {
        Err(StoreError::Unavailable(format!(
            "no answer in {} ms",
            limit.as_millis()
        )))
    })
}

impl Registration {
    /// Its row.
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// Whether a page continues what was applied. A standby that was promoted without the newest
    /// entries, or a restored backup, does not.
    fn compare(&mut self, page: &LogPage) -> Result<(), FollowError> {
        if page.head < self.applied {
            return Err(FollowError::HistoryDiverged(
                "the revocation log lost its newest entries",
            ));
        }
        let history = self.history.get_or_insert_with(|| page.history.clone());
        if *history != page.history {
            return Err(FollowError::HistoryDiverged("a standby was promoted"));
        }
        match (&self.last, page.at) {
            (Some(own), Some(theirs)) if *own != theirs => Err(FollowError::HistoryDiverged(
                "the revocation log has another entry where this instance stands",
            )),
            (None, theirs) => {
                self.last = theirs;
                Ok(())
            }
            (Some(_), _) => Ok(()),
        }
    }
}

/// Adds what a sweep cut to what is known of the same entries.
fn merge(reports: &mut Vec<Report>, cut: Vec<Report>) {
    for more in cut {
        match reports.iter_mut().find(|it| it.sequence == more.sequence) {
            Some(known) => {
                known.streams_cut += more.streams_cut;
                known.last_accepted_at = known.last_accepted_at.max(more.last_accepted_at);
            }
            None => reports.push(more),
        }
    }
}

fn tell(follow_error: &FollowError) {
    match follow_error {
        FollowError::Store(error) => {
            tracing::warn!(%error, "cannot follow the revocation log; cached keys work until the \
                 lease ends, then requests are answered 503");
        }
        FollowError::Lost => {
            tracing::warn!("this instance was evicted; registering anew, with nothing remembered");
        }
        FollowError::HistoryDiverged(why) => tracing::error!(
            why,
            "the database has another history than the one this instance followed: revocations may \
             have been lost. Answering 503, telling the database what is known here, and beginning \
             anew. Require a synchronous standby (`synchronous_standby_names`) so that this cannot \
             happen"
        ),
    }
}
