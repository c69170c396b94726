//! The decision: admit, refuse, or ask the store.

use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::runtime::Handle;

use super::caller::Caller;
use super::lookups::Lookups;
use super::tombstones::{Tombstones, Verdict};
use crate::config::limits::Limits;
use crate::invalidation::Invalidate;
use crate::invalidation::lease::Lease;
use crate::model::change::{Change, ChangeKind, Sequence};
use crate::model::clock::Clock;
use crate::model::key::{KeyHash, PresentedKey};
use crate::model::refusal::Refusal;
use crate::store::Store;

/// A look-up whose answer was overtaken by a change is repeated this often; then 503. Each time, a
/// change of this very key must fall between the store's snapshot and our reading of it.
const ASK_ATTEMPTS_MAX: u32 = 3;

/// What the store said of a hash, and as of when.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A key that was not revoked then.
    Known(Arc<Caller>),
    /// No key, or a revoked one.
    Dead { refusal: Refusal, as_of: Sequence },
}

/// What can be said without asking the store.
#[derive(Debug)]
pub enum Decision {
    /// The key opens.
    Admit(Arc<Caller>),
    /// It does not.
    Refuse(Refusal),
    /// Nothing is known, or no longer.
    Ask,
}

/// What is remembered of keys. Keyed by the whole hash through a hasher with a random seed: callers
/// choose what they present, and could otherwise choose where it falls.
pub(super) struct Memory {
    known: moka::sync::Cache<KeyHash, Arc<Caller>, RandomState>,
    dead: moka::sync::Cache<KeyHash, (Refusal, Sequence), RandomState>,
}

impl Memory {
    fn new(limits: &Limits) -> Self {
        Self {
            known: moka::sync::Cache::builder()
                .max_capacity(limits.cache_keys_max)
                .build_with_hasher(RandomState::default()),
            dead: moka::sync::Cache::builder()
                .max_capacity(limits.cache_unknown_max)
                .build_with_hasher(RandomState::default()),
        }
    }

    fn get(&self, hash: &KeyHash) -> Option<Answer> {
        if let Some(caller) = self.known.get(hash) {
            return Some(Answer::Known(caller));
        }
        self.dead
            .get(hash)
            .map(|(refusal, as_of)| Answer::Dead { refusal, as_of })
    }

    pub(super) fn insert(&self, hash: KeyHash, answer: &Answer) {
        match answer {
            Answer::Known(caller) => {
                self.dead.invalidate(&hash);
                self.known.insert(hash, Arc::clone(caller));
            }
            Answer::Dead { refusal, as_of } => {
                self.known.invalidate(&hash);
                self.dead.insert(hash, (*refusal, *as_of));
            }
        }
    }
}

/// Checks presented keys.
pub struct Authenticator {
    clock: Arc<dyn Clock>,
    lease: Arc<Lease>,
    memory: Arc<Memory>,
    tombstones: Tombstones,
    lookups: Lookups,
}

impl Authenticator {
    /// Asks `store` on `runtime`, so that a worker's own runtime never waits on a database socket.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        lease: Arc<Lease>,
        limits: &Limits,
        runtime: Handle,
    ) -> Self {
        let memory = Arc::new(Memory::new(limits));
        Self {
            clock,
            lease,
            tombstones: Tombstones::new(limits.tombstones_max),
            lookups: Lookups::new(store, Arc::clone(&memory), limits, runtime),
            memory,
        }
    }

    /// The caller behind a key.
    ///
    /// # Errors
    /// The reason to refuse. [`Refusal::StoreUnavailable`], [`Refusal::LeaseExpired`] and
    /// [`Refusal::LookupsExhausted`] say nothing about the key.
    pub async fn authenticate(&self, key: PresentedKey<'_>) -> Result<Arc<Caller>, Refusal> {
        let hash = key.hash();
        match self.decide(&hash) {
            Decision::Admit(caller) => Ok(caller),
            Decision::Refuse(refusal) => Err(refusal),
            Decision::Ask => self.ask(&hash).await,
        }
    }

    /// What is remembered of a key, if it still holds. The hot path: no lock, no wait.
    pub fn decide(&self, hash: &KeyHash) -> Decision {
        self.memory
            .get(hash)
            .map_or(Decision::Ask, |answer| self.check(hash, answer))
    }

    /// How long this instance may still answer from memory.
    pub fn lease_left(&self) -> Duration {
        self.lease.left(self.clock.boot())
    }

    /// How many keys are remembered, and how many hashes as unknown or revoked.
    pub fn remembered(&self) -> (u64, u64) {
        (
            self.memory.known.entry_count(),
            self.memory.dead.entry_count(),
        )
    }

    /// How often the store was asked.
    pub fn lookups(&self) -> u64 {
        self.lookups.count()
    }

    async fn ask(&self, hash: &KeyHash) -> Result<Arc<Caller>, Refusal> {
        for _ in 0..ASK_ATTEMPTS_MAX {
            let answer = self.lookups.ask(*hash).await?;
            match self.check(hash, answer) {
                Decision::Admit(caller) => return Ok(caller),
                Decision::Refuse(refusal) => return Err(refusal),
                Decision::Ask => {}
            }
        }
        Err(Refusal::StoreUnavailable)
    }

    /// Whether an answer may be given now: revocations first, then expiry, and the lease last, on a
    /// clock read after everything else, so that a pause in between is seen.
    fn check(&self, hash: &KeyHash, answer: Answer) -> Decision {
        let (member, as_of) = match &answer {
            Answer::Known(caller) => (Some(caller.principal().membership_id), caller.as_of()),
            Answer::Dead { as_of, .. } => (None, *as_of),
        };
        match (self.tombstones.verdict(hash, member, as_of), answer) {
            (Verdict::Revoked, _) => Decision::Refuse(Refusal::KeyRevoked),
            (Verdict::Stale, _) => Decision::Ask,
            (Verdict::Current(_), _) if !self.lease.holds(self.clock.boot()) => {
                Decision::Refuse(Refusal::LeaseExpired)
            }
            (Verdict::Current(_), Answer::Dead { refusal, .. }) => Decision::Refuse(refusal),
            (Verdict::Current(newest), Answer::Known(caller)) => {
                if as_of < newest {
                    caller.confirm(newest);
                }
                self.unexpired(caller)
            }
        }
    }

    fn unexpired(&self, caller: Arc<Caller>) -> Decision {
        match caller.principal().expires_at {
            Some(end) if end <= self.clock.now() => Decision::Refuse(Refusal::KeyExpired),
            _ => Decision::Admit(caller),
        }
    }
}

/// Tombstone first, then purge: a look-up that is under way and inserts after the purge inserts an
/// answer that the tombstone already forbids.
impl Invalidate for Authenticator {
    fn apply(&self, change: &Change) {
        self.tombstones.insert(change);
        match change.kind {
            ChangeKind::KeyRevoked(hash) => self.memory.known.invalidate(&hash),
            ChangeKind::KeyCreated(hash) => self.memory.dead.invalidate(&hash),
            ChangeKind::EverythingRevoked => self.memory.known.invalidate_all(),
            // Their keys are found by the tombstone when they are next used.
            ChangeKind::MemberRemoved(_) | ChangeKind::MemberChanged(_) => {}
        }
    }

    fn forget_before(&self, head: Sequence) {
        self.tombstones.raise_floor(head);
        self.memory.known.invalidate_all();
        self.memory.dead.invalidate_all();
    }
}
