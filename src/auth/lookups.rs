//! Look-ups in the store: one in flight per key, few at a time, none waited for long. Keys that anybody can
//! invent have a budget of their own, so that they take no place from others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use super::authenticate::{Answer, Refused};
use super::caller::Caller;
use super::key_cache::KeyCache;
use super::slots::Slots;
use super::tombstones::{Tombstones, Verdict};
use crate::config::limits::Limits;
use crate::invalidation::progress::Progress;
use crate::model::key::KeyHash;
use crate::model::network::LookupGroup;
use crate::model::principal::Principal;
use crate::model::refusal::Refusal;
use crate::store::{LookedUp, Store, StoreError};

/// Keys that may wait for a place among the look-ups, for each place. More would not get their turn in
/// time anyway, so they are refused at once.
const WAITING_PER_LOOKUP: usize = 16;

/// Of the look-ups that may wait, one group of askers may have one of so many once half of them wait.
const GROUP_SHARE: usize = 8;

/// Which look-ups share their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// Of new keys in genkan's format. Anybody who computes checksums can fill it.
    Own,
    /// Of keys that were good here before, and of open requests: only keys that exist get here.
    Remembered,
    /// Of keys in another format: any text of the right length.
    Imported,
}

impl Budget {
    /// Every budget.
    pub const ALL: [Self; 3] = [Self::Own, Self::Remembered, Self::Imported];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "genkan",
            Self::Remembered => "remembered",
            Self::Imported => "imported",
        }
    }
}

type InFlightLookup = Shared<BoxFuture<'static, Result<Answer, Refusal>>>;

pub(super) struct Lookups {
    shared: Arc<SharedState>,
    runtime: Handle,
}

struct SharedState {
    store: Arc<dyn Store>,
    key_cache: Arc<KeyCache>,
    tombstones: Arc<Tombstones>,
    progress: Arc<Progress>,
    own: BudgetState,
    remembered: BudgetState,
    imported: BudgetState,
    timeout: Duration,
    requests_per_second: u32,
}

/// The places of one budget.
struct BudgetState {
    /// Only misses come here, so this lock is not on the hot path.
    in_flight: Mutex<InFlight>,
    in_flight_max: usize,
    slots: Arc<Slots>,
    /// How often the store was asked.
    count: AtomicU64,
    /// How many look-ups found no place.
    refused: AtomicU64,
}

/// The look-ups that run or wait, and how many of them are of each group.
#[derive(Default)]
struct InFlight {
    by_key: HashMap<KeyHash, InFlightLookup, RandomState>,
    by_group: HashMap<LookupGroup, usize, RandomState>,
}

impl InFlight {
    /// Whether one more of this group may wait, where there may be `max` in all. While less than half of them is
    /// taken, a group may have as many as it likes; then an eighth of all, so that others find room.
    fn has_room(&self, group: LookupGroup, max: usize) -> bool {
        let all = self.by_key.len();
        let own = self.by_group.get(&group).copied().unwrap_or_default();
        all < max && (all < max / 2 || own < (max / GROUP_SHARE).max(1))
    }

    fn insert(&mut self, hash: KeyHash, group: LookupGroup, lookup: InFlightLookup) {
        self.by_key.insert(hash, lookup);
        *self.by_group.entry(group).or_default() += 1;
    }

    fn remove(&mut self, hash: &KeyHash, group: LookupGroup) {
        if self.by_key.remove(hash).is_none() {
            return;
        }
        if let Entry::Occupied(mut count) = self.by_group.entry(group) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl BudgetState {
    fn new(slots: usize) -> Self {
        Self {
            in_flight: Mutex::default(),
            in_flight_max: slots.saturating_mul(WAITING_PER_LOOKUP),
            slots: Slots::new(slots),
            count: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self) -> Refusal {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Refusal::LookupsExhausted
    }
}

impl Lookups {
    pub(super) fn new(
        store: Arc<dyn Store>,
        key_cache: (Arc<KeyCache>, Arc<Tombstones>),
        progress: Arc<Progress>,
        limits: &Limits,
        runtime: Handle,
    ) -> Self {
        let (key_cache, tombstones) = key_cache;
        // The store's connections are waited for in turn: the other half of them is left to keys of ours.
        let half = (store.lookups_at_once() / 2).max(1);
        let shared = Arc::new(SharedState {
            store,
            key_cache,
            tombstones,
            progress,
            own: BudgetState::new(limits.lookups_max),
            remembered: BudgetState::new(limits.lookups_max),
            imported: BudgetState::new(limits.lookups_imported_max.min(half)),
            timeout: Duration::from_millis(limits.lookup_timeout_ms),
            requests_per_second: limits.requests_per_second_per_key,
        });
        Self { shared, runtime }
    }

    /// How often the store was asked, and how many look-ups found no place.
    pub(super) fn count(&self, budget: Budget) -> (u64, u64) {
        let budget_state = self.shared.budget_state(budget);
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (of(&budget_state.count), of(&budget_state.refused))
    }

    /// What the store says of `hash`, waiting at most the look-up timeout from now on.
    /// `group`: who asks; look-ups are shared out among groups.
    pub(super) async fn ask(
        &self,
        budget: Budget,
        hash: KeyHash,
        group: LookupGroup,
    ) -> Result<Answer, Refusal> {
        // Known to be in vain: no wait, and no load on a store that is coming back.
        if self.shared.progress.is_store_unresponsive() {
            return Err(Refusal::StoreUnavailable);
        }
        let lookup = self.join(budget, hash, group)?;
        timeout(self.shared.timeout, lookup)
            .await
            .unwrap_or(Err(Refusal::StoreUnavailable))
    }

    /// The flight that is under way for this key, or a new one.
    fn join(
        &self,
        budget: Budget,
        hash: KeyHash,
        group: LookupGroup,
    ) -> Result<InFlightLookup, Refusal> {
        let budget_state = self.shared.budget_state(budget);
        let mut in_flight = budget_state.in_flight();
        if let Some(lookup) = in_flight.by_key.get(&hash) {
            return Ok(lookup.clone());
        }
        // One may have landed since the asker found nothing: it is remembered before it leaves the map.
        if let Some(answer) = self.shared.remembered(budget, &hash) {
            return Ok(ready(Ok(answer)).boxed().shared());
        }
        if !in_flight.has_room(group, budget_state.in_flight_max) {
            return Err(budget_state.refuse());
        }
        // A task of its own: the one who asked first may hang up, the others still want to know.
        let task = self
            .runtime
            .spawn(Arc::clone(&self.shared).run_lookup(budget, hash, group));
        let lookup = task
            .map(|joined| joined.unwrap_or(Err(Refusal::StoreUnavailable)))
            .boxed()
            .shared();
        in_flight.insert(hash, group, lookup.clone());
        Ok(lookup)
    }
}

impl SharedState {
    async fn run_lookup(
        self: Arc<Self>,
        budget: Budget,
        hash: KeyHash,
        group: LookupGroup,
    ) -> Result<Answer, Refusal> {
        let budget_state = self.budget_state(budget);
        let guard = RemoveOnDrop {
            budget_state,
            hash,
            group,
        };
        let answer = self.look_up(budget_state, hash, group).await;
        if let Ok(answer) = &answer {
            self.key_cache.insert(hash, budget, answer);
        }
        drop(guard);
        answer
    }

    /// Within the look-up timeout, the wait for a place included.
    async fn look_up(
        &self,
        budget_state: &BudgetState,
        hash: KeyHash,
        group: LookupGroup,
    ) -> Result<Answer, Refusal> {
        let deadline = Instant::now() + self.timeout;
        let Ok(_place) = timeout_at(deadline, budget_state.slots.acquire(group)).await else {
            return Err(budget_state.refuse());
        };
        budget_state.count.fetch_add(1, Ordering::Relaxed);
        // Before the store is asked: what it says belongs to this era at the latest.
        let era = self.tombstones.era();
        match timeout_at(deadline, self.store.look_up(&hash)).await {
            Ok(Ok(found)) => self.answer(hash, era, found),
            Ok(Err(error)) => {
                tell(&error);
                Err(Refusal::StoreUnavailable)
            }
            Err(_elapsed) => Err(Refusal::StoreUnavailable),
        }
    }

    fn answer(&self, hash: KeyHash, era: u64, found: LookedUp) -> Result<Answer, Refusal> {
        let as_of = Tombstones::place(era, found.sequence);
        let rejected = |refusal, key_id| Answer::Rejected {
            refused: Refused { refusal, key_id },
            as_of,
        };
        match found.key {
            None => Ok(rejected(Refusal::KeyUnknown, None)),
            Some(key) if key.revoked_at.is_some() => {
                Ok(rejected(Refusal::KeyRevoked, Some(key.id)))
            }
            Some(key) => {
                let per_second = self.requests_per_second;
                Caller::new(hash, Principal::from(key), as_of, per_second)
                    .map(|caller| Answer::Known(Arc::new(caller)))
                    .ok_or(Refusal::StoreUnavailable)
            }
        }
    }

    /// What is remembered of a key, unless something happened to it since.
    fn remembered(&self, budget: Budget, hash: &KeyHash) -> Option<Answer> {
        let answer = self.key_cache.get(hash, budget)?;
        let (owner, as_of) = match &answer {
            Answer::Known(caller) => (Some(caller.principal()), caller.as_of()),
            Answer::Rejected { as_of, .. } => (None, *as_of),
        };
        let verdict = self.tombstones.verdict(hash, owner, as_of);
        (verdict != Verdict::Stale).then_some(answer)
    }

    fn budget_state(&self, budget: Budget) -> &BudgetState {
        match budget {
            Budget::Own => &self.own,
            Budget::Remembered => &self.remembered,
            Budget::Imported => &self.imported,
        }
    }
}

/// Makes room in the map however the flight ended, a panic included.
struct RemoveOnDrop<'a> {
    budget_state: &'a BudgetState,
    hash: KeyHash,
    group: LookupGroup,
}

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        self.budget_state.in_flight().remove(&self.hash, self.group);
    }
}

fn tell(error: &StoreError) {
    tracing::warn!(%error, "a key could not be looked up; its request is answered 503");
}
