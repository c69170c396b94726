//! The decision: admit, refuse, or ask the store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;

use super::caller::Caller;
use super::key_cache::KeyCache;
use super::lookups::{Budget, Lookups};
use super::sweeps::{SweepRequests, Sweeps};
use super::tombstones::{Tombstones, Verdict};
use crate::config::limits::Limits;
use crate::invalidation::Invalidate;
use crate::invalidation::lease::Lease;
use crate::invalidation::progress::Progress;
use crate::model::change::{Change, ChangeKind, Sequence};
use crate::model::clock::{BootInstant, Clock, Timestamp};
use crate::model::id::KeyId;
use crate::model::key::{KeyFormat, KeyHash, PresentedKey};
use crate::model::network::{LookupGroup, LookupOrigin};
use crate::model::principal::Principal;
use crate::model::refusal::Refusal;
use crate::store::{Report, Store};

/// A look-up whose answer was overtaken by a change is repeated this often; then 503. Each time, a
/// change of this very key must fall between the store's snapshot and our reading of it.
const ASK_ATTEMPTS_MAX: u32 = 3;

/// The result of a look-up, with the place in the log for which it holds.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A key that was not revoked then.
    Known(Arc<Caller>),
    /// No key, or a revoked one.
    Rejected { refused: Refused, as_of: Sequence },
}

/// A refused key, with its id if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub refusal: Refusal,
    /// For the log, never for the caller.
    pub key_id: Option<KeyId>,
}

impl From<Refusal> for Refused {
    /// A refusal that says nothing about a key.
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            key_id: None,
        }
    }
}

/// What the cache says of a key.
#[derive(Debug)]
pub enum Decision {
    /// The key is valid.
    Admit(Arc<Caller>),
    /// The key is refused.
    Refuse(Refused),
    /// Nothing is known, or it is out of date: look the key up within this budget.
    LookUp(Budget),
}

/// Whether an admitted request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AdmissionState {
    /// It may go on: so it was at this moment.
    Holds(BootInstant),
    /// The lease is out: nobody knows.
    Fenced,
    /// What is known of it is too old: to be asked for anew.
    Stale,
    /// Its key was revoked, by the log entry at this place.
    Revoked(Sequence),
}

/// Checks presented keys.
pub struct Authenticator {
    clock: Arc<dyn Clock>,
    lease: Arc<Lease>,
    key_cache: Arc<KeyCache>,
    tombstones: Arc<Tombstones>,
    lookups: Lookups,
    sweeps: Sweeps,
    progress: Arc<Progress>,
}

impl Authenticator {
    /// Asks `store` on `runtime`, so that a worker's own runtime never waits on a database socket.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        following: (Arc<Lease>, Arc<Progress>),
        limits: &Limits,
        runtime: Handle,
    ) -> Self {
        let (lease, progress) = following;
        let key_cache = Arc::new(KeyCache::new(limits));
        let tombstones = Arc::new(Tombstones::new(limits.tombstones_max));
        let shared = (Arc::clone(&key_cache), Arc::clone(&tombstones));
        Self {
            clock,
            lease,
            lookups: Lookups::new(store, shared, Arc::clone(&progress), limits, runtime),
            key_cache,
            tombstones,
            sweeps: Sweeps::default(),
            progress,
        }
    }

    /// The caller behind a key that `origin` presents.
    ///
    /// # Errors
    /// The reason to refuse. [`Refusal::StoreUnavailable`], [`Refusal::LeaseExpired`] and
    /// [`Refusal::LookupsExhausted`] say nothing about the key.
    pub async fn authenticate(
        &self,
        key: PresentedKey<'_>,
        origin: impl Into<LookupOrigin>,
    ) -> Result<Arc<Caller>, Refused> {
        let budget = match key.format() {
            KeyFormat::Own => Budget::Own,
            KeyFormat::Foreign if self.key_cache.imported.may_exist() => Budget::Imported,
            KeyFormat::Foreign => return Err(self.refuse_unasked().into()),
        };
        let hash = key.hash();
        match self.decide(&hash, budget) {
            Decision::Admit(caller) => Ok(caller),
            Decision::Refuse(refused) => Err(refused),
            Decision::LookUp(budget) => self.ask_within(budget, &hash, origin.into().into()).await,
        }
    }

    /// What is remembered of a key, if it still holds; else within which budget the store is to be asked,
    /// for a new key `budget`. The hot path: no lock, no wait.
    fn decide(&self, hash: &KeyHash, budget: Budget) -> Decision {
        self.key_cache
            .get(hash, budget)
            .map_or(Decision::LookUp(budget), |answer| {
                self.check(hash, answer, budget)
            })
    }

    /// What is said of a key of another system while none was imported; no store need be asked. Whatever
    /// is remembered of such a key is of an earlier database. The clock is read last, here too: somebody
    /// may have imported the first while this process was stopped.
    fn refuse_unasked(&self) -> Refusal {
        if self.lease_holds() {
            Refusal::KeyUnknown
        } else {
            Refusal::LeaseExpired
        }
    }

    /// How long this instance may still answer from memory.
    pub fn lease_left(&self) -> Duration {
        self.lease.left(self.clock.boot())
    }

    /// How long ago the lease was last renewed.
    pub fn lease_age(&self) -> Duration {
        self.lease.age(self.clock.boot())
    }

    /// How many keys are remembered, and how many hashes as unknown or revoked.
    pub fn remembered(&self) -> (u64, u64) {
        (
            self.key_cache.known.entry_count(),
            self.key_cache.rejected.entry_count() + self.key_cache.rejected_foreign.entry_count(),
        )
    }

    /// How often the store was asked.
    pub fn lookups(&self) -> u64 {
        Budget::ALL
            .map(|budget| self.lookups.count(budget).0)
            .iter()
            .sum()
    }

    /// How often the store was asked within a budget, and how many look-ups found no place in it.
    pub fn lookups_within(&self, budget: Budget) -> (u64, u64) {
        self.lookups.count(budget)
    }

    /// The state of the follower.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What the store says of a key that was good here before, and about which nothing that still holds is
    /// remembered.
    pub(super) async fn ask(&self, hash: &KeyHash) -> Result<Arc<Caller>, Refused> {
        self.ask_within(Budget::Remembered, hash, LookupGroup::OWN)
            .await
    }

    async fn ask_within(
        &self,
        budget: Budget,
        hash: &KeyHash,
        group: LookupGroup,
    ) -> Result<Arc<Caller>, Refused> {
        for _ in 0..ASK_ATTEMPTS_MAX {
            let answer = self.lookups.ask(budget, *hash, group).await?;
            match self.check(hash, answer, budget) {
                Decision::Admit(caller) => return Ok(caller),
                Decision::Refuse(refused) => return Err(refused),
                Decision::LookUp(_) => {}
            }
        }
        Err(Refusal::StoreUnavailable.into())
    }

    /// Whether an answer may be given now: revocations first, then expiry, and the lease last, on a
    /// clock read after everything else, so that a pause in between is seen.
    fn check(&self, hash: &KeyHash, answer: Answer, budget: Budget) -> Decision {
        match answer {
            Answer::Known(caller) => self.check_known(caller),
            Answer::Rejected { refused, as_of } => {
                match self.tombstones.verdict(hash, None, as_of) {
                    Verdict::Stale => Decision::LookUp(budget),
                    // What is dead stays dead; only a creation ends it, and that is stale.
                    Verdict::Current(_) | Verdict::Revoked(_) if self.lease_holds() => {
                        Decision::Refuse(refused)
                    }
                    Verdict::Current(_) | Verdict::Revoked(_) => {
                        Decision::Refuse(Refusal::LeaseExpired.into())
                    }
                }
            }
        }
    }

    fn check_known(&self, caller: Arc<Caller>) -> Decision {
        let refuse = |refusal| {
            Decision::Refuse(Refused {
                refusal,
                key_id: Some(caller.principal().key_id),
            })
        };
        let expiry = self.expiry(caller.principal());
        match self.admission_state(&caller) {
            AdmissionState::Revoked(_) => refuse(Refusal::KeyRevoked),
            AdmissionState::Stale => Decision::LookUp(Budget::Remembered),
            AdmissionState::Fenced => Decision::Refuse(Refusal::LeaseExpired.into()),
            AdmissionState::Holds(now) => {
                if let Some(expired) = expiry {
                    return refuse(expired);
                }
                caller.accept(now);
                Decision::Admit(caller)
            }
        }
    }

    /// How a caller stands at this moment: one atomic load when nothing happened since it was looked
    /// up, and one clock read, after it.
    pub(super) fn admission_state(&self, caller: &Caller) -> AdmissionState {
        let as_of = caller.as_of();
        let owner = Some(caller.principal());
        match self.tombstones.verdict(caller.hash(), owner, as_of) {
            Verdict::Revoked(place) => AdmissionState::Revoked(place),
            Verdict::Stale => AdmissionState::Stale,
            Verdict::Current(newest) => {
                if as_of < newest {
                    caller.confirm(newest);
                }
                let now = self.clock.boot();
                if self.lease.holds(now) {
                    AdmissionState::Holds(now)
                } else {
                    AdmissionState::Fenced
                }
            }
        }
    }

    /// Why a key is refused by its date, if it is.
    pub(super) fn expiry(&self, principal: &Principal) -> Option<Refusal> {
        // Most keys have no end, and the clock is not read for them.
        principal.expires_at?;
        principal.expiry(self.clock.now())
    }

    /// Takes part in sweeps: one for each worker.
    pub(super) fn attend_sweeps(&self) -> SweepRequests {
        self.sweeps.attend()
    }

    /// What the store calls a place.
    pub(super) fn sequence(&self, place: Sequence) -> Option<Sequence> {
        self.tombstones.sequence(place)
    }

    pub(super) fn boot(&self) -> BootInstant {
        self.clock.boot()
    }

    /// On the wall clock, when something was on the boot clock.
    pub(super) fn wall(&self, then: BootInstant) -> Timestamp {
        let ago = self.clock.boot().since(then);
        let ago_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.clock.now().as_millis().saturating_sub(ago_ms))
    }

    fn lease_holds(&self) -> bool {
        self.lease.holds(self.clock.boot())
    }
}

/// Tombstone first, then purge: a look-up that is under way and inserts after the purge inserts an
/// answer that the tombstone already forbids.
#[async_trait]
impl Invalidate for Authenticator {
    fn apply(&self, change: &Change) -> Option<Timestamp> {
        self.tombstones.insert(change);
        let accepted = match change.kind {
            ChangeKind::KeyRevoked(hash) => {
                let purged = self.key_cache.known.remove(&hash);
                purged.and_then(|caller| caller.accepted())
            }
            ChangeKind::KeyCreated(hash) => {
                self.key_cache.rejected.invalidate(&hash);
                self.key_cache.rejected_foreign.invalidate(&hash);
                None
            }
            ChangeKind::EverythingRevoked(None) => {
                let accepted = self.key_cache.accepted(|_everybody| true);
                self.key_cache.known.invalidate_all();
                accepted
            }
            // The keys of others stay, with their rates: one tenant's emergency loads nobody's database.
            ChangeKind::EverythingRevoked(Some(of)) => {
                let accepted = self.key_cache.accepted(|owner| owner.organization_id == of);
                self.key_cache.forget(|owner| owner.organization_id == of);
                accepted
            }
            // Their keys are found by the tombstone when they are next used.
            ChangeKind::MemberRemoved(member) => self
                .key_cache
                .accepted(|owner| owner.membership_id == member),
            ChangeKind::MemberChanged(_) => None,
        };
        accepted.map(|then| self.wall(then))
    }

    fn forget_before(&self, head: Sequence) {
        self.tombstones.begin_era(head);
        self.key_cache.known.invalidate_all();
        self.key_cache.rejected.invalidate_all();
        self.key_cache.rejected_foreign.invalidate_all();
        self.key_cache.imported.forget();
    }

    fn learn_has_imported(&self, has_imported: bool) {
        self.key_cache.imported.learn(has_imported);
    }

    async fn sweep(&self) -> Vec<Report> {
        self.sweeps.run().await
    }

    fn revocations(&self) -> Vec<Change> {
        self.tombstones.revocations()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::config;
    use crate::model::clock::SystemClock;
    use crate::model::id::OrganizationId;
    use crate::model::key::PlainKey;
    use crate::model::random::SystemEntropy;
    use crate::store::{self, WhenAbsent};

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// On a new SQLite, with a lease for this long.
    async fn authenticator(folder: &std::path::Path, lease_for: Duration) -> Authenticator {
        let place = config::Store::Sqlite {
            path: folder.join("genkan.db"),
        };
        let lease = Arc::new(Lease::default());
        lease.extend(SystemClock.boot(), lease_for);
        Authenticator::new(
            store::open(&place, WhenAbsent::Create).await.unwrap(),
            Arc::new(SystemClock),
            (lease, Arc::default()),
            &Limits::default(),
            Handle::current(),
        )
    }

    #[tokio::test]
    async fn a_key_of_another_system_is_asked_for_unless_none_was_imported() {
        let folder = tempfile::tempdir().unwrap();
        let house = authenticator(folder.path(), Duration::from_hours(1)).await;
        let ask = async |text: &str| {
            let key = PresentedKey::parse(text.as_bytes()).unwrap();
            house.authenticate(key, CLIENT).await.unwrap_err().refusal
        };
        let asked = || Budget::ALL.map(|budget| house.lookups_within(budget).0);
        // Nothing is known yet.
        assert_eq!(ask("legacy-platform-key-1").await, Refusal::KeyUnknown);
        assert_eq!(asked(), [0, 0, 1]);
        house.forget_before(Sequence::ZERO);
        house.learn_has_imported(false);
        assert_eq!(ask("legacy-platform-key-2").await, Refusal::KeyUnknown);
        house.key_cache.rejected_foreign.run_pending_tasks();
        assert_eq!((asked(), house.remembered()), ([0, 0, 1], (0, 0)));
        house.learn_has_imported(true);
        assert_eq!(ask("legacy-platform-key-2").await, Refusal::KeyUnknown);
        assert_eq!(asked(), [0, 0, 2]);
        // Without a lease nothing is said of any key.
        house.forget_before(Sequence::ZERO);
        house.learn_has_imported(false);
        house.lease.end();
        assert_eq!(ask("legacy-platform-key-3").await, Refusal::LeaseExpired);
        assert_eq!(asked(), [0, 0, 2]);
    }

    #[tokio::test]
    async fn who_found_nothing_before_an_answer_landed_does_not_ask_again() {
        let folder = tempfile::tempdir().unwrap();
        let authenticator = authenticator(folder.path(), Duration::from_hours(1)).await;
        let (unknown, change) = (KeyHash::of(b"nobody's"), Sequence::new(1));
        for _ in 0..2 {
            let refused = authenticator.ask(&unknown).await.unwrap_err();
            assert_eq!(refused.refusal, Refusal::KeyUnknown);
        }
        assert_eq!(authenticator.lookups(), 1);
        // What was changed since is asked for, whatever is remembered.
        authenticator.tombstones.insert(&Change {
            sequence: change,
            kind: ChangeKind::KeyCreated(unknown),
            at: SystemClock.now(),
        });
        assert!(authenticator.ask(&unknown).await.is_err());
        assert!(authenticator.lookups() > 1);
    }

    /// A key of a new organization; its hash.
    async fn founded(store: &dyn store::Management, name: &str) -> (OrganizationId, KeyHash) {
        use crate::model::id::{MembershipId, UserId};
        use crate::model::key::Key;
        use crate::model::member::{Member, MemberKind, Organization, Role};
        use crate::model::scope::Scopes;

        let (now, entropy) = (SystemClock.now(), &SystemEntropy);
        let audit_context = crate::model::audit::AuditContext::of_operator(now);
        let organization = Organization {
            id: OrganizationId::generate(now, entropy),
            name: name.parse().unwrap(),
            created_at: now,
        };
        store
            .create_organization(&organization, &audit_context)
            .await
            .unwrap();
        let owner = Member {
            membership_id: MembershipId::generate(now, entropy),
            organization_id: organization.id,
            user_id: UserId::generate(now, entropy),
            email: format!("owner@{name}.example").parse().unwrap(),
            email_verified: true,
            name: name.parse().unwrap(),
            kind: MemberKind::Person,
            role: Role::Owner,
            created_at: now,
        };
        let owner = store.add_member(&owner, &audit_context).await.unwrap();
        let plain = PlainKey::generate(entropy);
        let id = KeyId::generate(now, entropy);
        let key = Key {
            id,
            hash: plain.hash(),
            hint: plain.hint(),
            name: name.parse().unwrap(),
            organization_id: organization.id,
            membership_id: owner.membership_id,
            user_id: owner.user_id,
            email: owner.email,
            email_verified: true,
            chain_id: id,
            parent_id: None,
            scopes: Scopes::DEFAULT,
            created_at: now,
            expires_at: None,
            is_replaced: false,
            revoked_at: None,
        };
        store.create_key(&key, None, &audit_context).await.unwrap();
        (organization.id, plain.hash())
    }

    #[tokio::test]
    async fn one_organizations_end_of_all_keys_leaves_what_is_remembered_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let place = config::Store::Sqlite {
            path: folder.path().join("genkan.db"),
        };
        let store = store::open(&place, WhenAbsent::Create).await.unwrap();
        let (ours, our_key) = founded(&*store, "ours").await;
        let (_theirs, their_key) = founded(&*store, "theirs").await;
        let lease = Arc::new(Lease::default());
        lease.extend(SystemClock.boot(), Duration::from_hours(1));
        let authenticator = Authenticator::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::new(SystemClock),
            (lease, Arc::default()),
            &Limits::default(),
            Handle::current(),
        );
        for hash in [&our_key, &their_key] {
            authenticator.ask(hash).await.unwrap();
        }
        let revoking = |sequence, of| {
            authenticator.apply(&Change {
                sequence: Sequence::new(sequence),
                kind: ChangeKind::EverythingRevoked(of),
                at: SystemClock.now(),
            })
        };
        let remembers = |hash| {
            matches!(
                authenticator.key_cache.get(hash, Budget::Own),
                Some(Answer::Known(_))
            )
        };
        assert!(revoking(3, Some(ours)).is_some(), "it was accepted");
        assert!(!remembers(&our_key) && remembers(&their_key));
        assert!(matches!(
            authenticator.decide(&our_key, Budget::Own),
            Decision::LookUp(_)
        ));
        assert!(matches!(
            authenticator.decide(&their_key, Budget::Own),
            Decision::Admit(_)
        ));
        assert_eq!(authenticator.lookups(), 2);
        revoking(4, None);
        assert!(!remembers(&their_key));
        store.close().await;
    }
}
