//! Look-ups in the store: one in flight per key, few at a time, none waited for long.

use std::collections::HashMap;
use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::authenticate::{Answer, Memory, Refused};
use super::caller::Caller;
use super::tombstones::{Tombstones, Verdict};
use crate::config::limits::Limits;
use crate::invalidation::progress::Progress;
use crate::model::key::KeyHash;
use crate::model::principal::Principal;
use crate::model::refusal::Refusal;
use crate::store::{LookedUp, Store, StoreError};

/// Keys that may wait for a place among the look-ups, for each place. More would not get their turn in
/// time anyway, so they are told at once.
const WAITING_PER_LOOKUP: usize = 16;

type Flight = Shared<BoxFuture<'static, Result<Answer, Refusal>>>;

pub(super) struct Lookups {
    shared: Arc<SharedState>,
    runtime: Handle,
}

struct SharedState {
    store: Arc<dyn Store>,
    memory: Arc<Memory>,
    tombstones: Arc<Tombstones>,
    progress: Arc<Progress>,
    /// Only misses come here, so this lock is not on the hot path.
    in_flight: Mutex<HashMap<KeyHash, Flight, RandomState>>,
    in_flight_max: usize,
    places: Semaphore,
    timeout: Duration,
    requests_per_second: u32,
    count: AtomicU64,
}

impl Lookups {
    pub(super) fn new(
        store: Arc<dyn Store>,
        memory: (Arc<Memory>, Arc<Tombstones>),
        progress: Arc<Progress>,
        limits: &Limits,
        runtime: Handle,
    ) -> Self {
        let (memory, tombstones) = memory;
        let shared = Arc::new(SharedState {
            store,
            memory,
            tombstones,
            progress,
            in_flight: Mutex::default(),
            in_flight_max: limits.lookups_max.saturating_mul(WAITING_PER_LOOKUP),
            places: Semaphore::new(limits.lookups_max),
            timeout: Duration::from_millis(limits.lookup_timeout_ms),
            requests_per_second: limits.requests_per_second_per_key,
            count: AtomicU64::new(0),
        });
        Self { shared, runtime }
    }

    /// How often the store was asked.
    pub(super) fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// What the store says of `hash`, waiting at most the look-up timeout from now on.
    pub(super) async fn ask(&self, hash: KeyHash) -> Result<Answer, Refusal> {
        // Known to be in vain: no wait, and no load on a store that is coming back.
        if self.shared.progress.store_is_silent() {
            return Err(Refusal::StoreUnavailable);
        }
        let flight = self.join(hash)?;
        timeout(self.shared.timeout, flight)
            .await
            .unwrap_or(Err(Refusal::StoreUnavailable))
    }

    /// The flight that is under way for this key, or a new one.
    fn join(&self, hash: KeyHash) -> Result<Flight, Refusal> {
        let mut in_flight = self.shared.in_flight();
        if let Some(flight) = in_flight.get(&hash) {
            return Ok(flight.clone());
        }
        // One may have landed since the asker found nothing: it is remembered before it leaves the map.
        if let Some(answer) = self.shared.remembered(&hash) {
            return Ok(ready(Ok(answer)).boxed().shared());
        }
        if in_flight.len() >= self.shared.in_flight_max {
            return Err(Refusal::LookupsExhausted);
        }
        // A task of its own: the one who asked first may hang up, the others still want to know.
        let task = self.runtime.spawn(Arc::clone(&self.shared).fly(hash));
        let flight = task
            .map(|joined| joined.unwrap_or(Err(Refusal::StoreUnavailable)))
            .boxed()
            .shared();
        in_flight.insert(hash, flight.clone());
        Ok(flight)
    }
}

impl SharedState {
    async fn fly(self: Arc<Self>, hash: KeyHash) -> Result<Answer, Refusal> {
        let landing = Landing {
            shared: &self,
            hash,
        };
        let answer = match timeout(self.timeout, self.look_up(hash)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Refusal::StoreUnavailable),
        };
        if let Ok(answer) = &answer {
            self.memory.insert(hash, answer);
        }
        drop(landing);
        answer
    }

    async fn look_up(&self, hash: KeyHash) -> Result<Answer, Refusal> {
        let Ok(_place) = self.places.acquire().await else {
            return Err(Refusal::StoreUnavailable);
        };
        self.count.fetch_add(1, Ordering::Relaxed);
        // Before the store is asked: what it says belongs to this era at the latest.
        let era = self.tombstones.era();
        match self.store.look_up(&hash).await {
            Ok(found) => self.answer(hash, era, found),
            Err(error) => {
                tell(&error);
                Err(Refusal::StoreUnavailable)
            }
        }
    }

    fn answer(&self, hash: KeyHash, era: u64, found: LookedUp) -> Result<Answer, Refusal> {
        let as_of = Tombstones::place(era, found.sequence);
        let dead = |refusal, key_id| Answer::Dead {
            refused: Refused { refusal, key_id },
            as_of,
        };
        match found.key {
            None => Ok(dead(Refusal::KeyUnknown, None)),
            Some(key) if key.revoked_at.is_some() => Ok(dead(Refusal::KeyRevoked, Some(key.id))),
            Some(key) => {
                let per_second = self.requests_per_second;
                Caller::new(hash, Principal::from(key), as_of, per_second)
                    .map(|caller| Answer::Known(Arc::new(caller)))
                    .ok_or(Refusal::StoreUnavailable)
            }
        }
    }

    /// What is remembered of a key, unless something happened to it since.
    fn remembered(&self, hash: &KeyHash) -> Option<Answer> {
        let answer = self.memory.get(hash)?;
        let (owner, as_of) = match &answer {
            Answer::Known(caller) => (Some(caller.principal()), caller.as_of()),
            Answer::Dead { as_of, .. } => (None, *as_of),
        };
        let verdict = self.tombstones.verdict(hash, owner, as_of);
        (verdict != Verdict::Stale).then_some(answer)
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<KeyHash, Flight, RandomState>> {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room in the map however the flight ended, a panic included.
struct Landing<'a> {
    shared: &'a SharedState,
    hash: KeyHash,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.shared.in_flight().remove(&self.hash);
    }
}

fn tell(error: &StoreError) {
    tracing::warn!(%error, "a key could not be looked up; its request is answered 503");
}
