//! Slots for look-ups. Who waits for one is served in turn by client network, and within it connections that have
//! presented an unknown key apart from the others: anybody who invents keys keeps another waiting for one look-up at
//! most.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use tokio::sync::oneshot;

use crate::model::network::LookupGroup;

/// So many look-ups at a time.
pub(super) struct Slots(Mutex<State>);

struct State {
    free: usize,
    waiting: HashMap<LookupGroup, VecDeque<oneshot::Sender<Slot>>, RandomState>,
    /// The groups in `waiting`, the next first.
    turns: VecDeque<LookupGroup>,
}

/// One place; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot(Option<Arc<Slots>>);

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

impl Slots {
    pub(super) fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            free: slots,
            waiting: HashMap::default(),
            turns: VecDeque::new(),
        })))
    }

    /// Waits for a place. The caller bounds how long, and how many wait.
    pub(super) async fn acquire(self: &Arc<Self>, group: LookupGroup) -> Slot {
        let turn = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Slot(Some(Arc::clone(self)));
            }
            state.wait(group)
        };
        match turn.await {
            Ok(place) => place,
            // The sender is dropped only with the places themselves.
            Err(_closed) => std::future::pending().await,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(self: &Arc<Self>) {
        let mut state = self.state();
        while let Some(next) = state.next() {
            match next.send(Slot(Some(Arc::clone(self)))) {
                Ok(()) => return,
                // It has stopped waiting. The place is not given back by this one: it is still held here.
                Err(mut place) => drop(place.0.take()),
            }
        }
        state.free += 1;
    }
}

impl State {
    fn wait(&mut self, group: LookupGroup) -> oneshot::Receiver<Slot> {
        let (sender, turn) = oneshot::channel();
        let queue = self.waiting.entry(group).or_default();
        if queue.is_empty() {
            self.turns.push_back(group);
        }
        queue.push_back(sender);
        turn
    }

    /// Who has waited for longest, of the group whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Slot>> {
        let group = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&group)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&group);
        } else {
            self.turns.push_back(group);
        }
        next
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take() {
            slots.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::model::network::LookupOrigin;

    fn network(text: &str) -> LookupGroup {
        group(text, false)
    }

    fn group(text: &str, has_guessed: bool) -> LookupGroup {
        let address = text.parse().unwrap();
        let origin = LookupOrigin {
            address,
            has_guessed,
        };
        origin.into()
    }

    #[tokio::test]
    async fn networks_are_served_in_turn_however_many_of_one_wait() {
        let slots = Slots::new(1);
        let first = slots.acquire(network("192.0.2.1")).await;
        let mut crowd: VecDeque<_> = (0..100)
            .map(|_| Box::pin(slots.acquire(group("192.0.2.1", true))))
            .collect();
        for waiting in &mut crowd {
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        // Of another network; and of the same, who has guessed nothing.
        let mut others = ["192.0.2.2", "192.0.2.1"].map(|it| Box::pin(slots.acquire(network(it))));
        for other in &mut others {
            assert!(other.as_mut().now_or_never().is_none());
        }
        drop(first);
        // One of the crowd came before them.
        let mut place = crowd.pop_front().unwrap().as_mut().now_or_never().unwrap();
        for other in &mut others {
            assert!(other.as_mut().now_or_never().is_none());
            drop(place);
            place = other.as_mut().now_or_never().unwrap();
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_loses_no_place() {
        let slots = Slots::new(2);
        for _ in 0..10 {
            let held = [
                slots.acquire(network("192.0.2.1")).await,
                slots.acquire(network("192.0.2.1")).await,
            ];
            let mut waiting: Vec<_> = (0..3)
                .map(|_| Box::pin(slots.acquire(network("192.0.2.3"))))
                .collect();
            for one in &mut waiting {
                assert!(one.as_mut().now_or_never().is_none());
            }
            // One stops before it is its turn, the others after.
            drop(waiting.pop());
            drop(held);
            drop(waiting);
        }
        let state = slots.state();
        assert_eq!(state.free, 2);
        assert!(state.waiting.is_empty() && state.turns.is_empty());
    }
}
