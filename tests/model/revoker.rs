//! Who revokes and waits, and the peer that evicts.

use super::state::{Action, Observer, Revoker, RevokerStep, State};
use super::{LEASE, Mutant, World};

impl World {
    /// The revoker looks once in every tick, while the database answers.
    pub(super) fn revoker_is_due(&self, state: &State) -> bool {
        let waits = matches!(state.revoker, Revoker::Waiting(_));
        waits && !state.looked && !state.down
    }

    pub(super) fn revoker_may(&self, state: &State, actions: &mut Vec<Action>) {
        let mut may = |step| actions.push(Action::Revoker(step));
        if state.down {
            return;
        }
        match state.revoker {
            Revoker::Idle => may(RevokerStep::Send),
            Revoker::Sent(_) => may(RevokerStep::Commit),
            Revoker::Waiting(_) => may(RevokerStep::Look),
            Revoker::Returned | Revoker::Failed => {}
        }
        if !self.observer {
            return;
        }
        match state.observer {
            Observer::None => may(RevokerStep::Ask),
            Observer::Asked(_) => may(RevokerStep::Answer),
            Observer::Saw { .. } => may(RevokerStep::Evict),
        }
    }

    pub(super) fn revoker_does(&self, state: &mut State, step: RevokerStep) {
        match (step, state.revoker, state.observer) {
            (RevokerStep::Send, ..) => {
                // A mutant takes its place now, and commits when it likes.
                if self.lacks(Mutant::SequenceNotInCommitOrder) {
                    state.key_place = state.next_place();
                    state.revoker = Revoker::Sent(0);
                } else if self.lacks(Mutant::WaitCountedFromBeforeTheCommit) {
                    state.revoker = Revoker::Sent(0);
                } else {
                    commit(state, 0);
                }
            }
            (RevokerStep::Commit, Revoker::Sent(age), _) => {
                let from_before = self.lacks(Mutant::WaitCountedFromBeforeTheCommit);
                commit(state, if from_before { age } else { 0 });
            }
            (RevokerStep::Look, Revoker::Waiting(age), _) => self.look(state, age),
            (RevokerStep::Ask, ..) if self.lacks(Mutant::ObservedBeforeTheAnswer) => {
                state.observer = Observer::Asked(0);
            }
            // An answer that takes its time is only seen later, which is never sooner.
            (RevokerStep::Ask, ..) => see(state, 0),
            (RevokerStep::Answer, _, Observer::Asked(age)) => see(state, age),
            (RevokerStep::Evict, _, Observer::Saw { row, renewed, age }) => {
                self.evict(state, usize::from(row), renewed, age);
            }
            _ => {}
        }
    }

    fn evict(&self, state: &mut State, row: usize, renewed: bool, age: u8) {
        let by_clock = self.lacks(Mutant::LeaseByTheDatabasesClock);
        let overdue = if by_clock {
            state.rows[row].left == 0
        } else {
            age >= LEASE
        };
        let same = !renewed || by_clock || self.lacks(Mutant::EvictionUnconditional);
        if overdue && same && state.rows[row].present {
            state.rows[row].evicted = true;
        }
        if overdue || !same {
            state.observer = Observer::None;
        }
    }

    fn look(&self, state: &mut State, age: u8) {
        state.looked = true;
        if !state.key_committed && !self.lacks(Mutant::HeadNotCompared) {
            // The head is behind the change: the database lost it.
            state.revoker = Revoker::Failed;
            return;
        }
        let rows = state.rows.iter().filter(|row| row.present);
        let behind = |row: &&super::state::Row| !row.evicted && row.applied < state.key_place;
        let (count, waiting) = (rows.clone().count(), rows.clone().filter(behind).count());
        let evicted = rows.filter(|row| row.evicted).count();
        let by_time = age >= LEASE;
        if waiting > 0 && !by_time {
            // Bounded: whoever has not applied by then has no lease by then.
            state.seen.returned_late |= state.commit_age > LEASE + 2;
            return;
        }
        let seen = &mut state.seen;
        seen.returned_early |= waiting > 0 && state.commit_age < LEASE;
        seen.returned_without_rows |= count == 0;
        seen.returned_by_time |= waiting > 0;
        seen.returned_by_eviction |= waiting == 0 && evicted > 0;
        seen.returned_by_acknowledgement |= waiting == 0 && count > evicted;
        state.commit_age = 0;
        state.revoker = Revoker::Returned;
    }
}

/// The transaction: place and change at once.
fn commit(state: &mut State, age: u8) {
    if state.key_place == 0 {
        state.key_place = state.next_place();
    }
    state.key_committed = true;
    state.commit_age = 0;
    state.revoker = Revoker::Waiting(age);
}

/// The last registration's row, as an answer showed it, counted from so long ago.
fn see(state: &mut State, age: u8) {
    let row = state.registration;
    let seen = *state.row();
    state.observer = if seen.present && !seen.evicted {
        Observer::Saw {
            row,
            renewed: false,
            age,
        }
    } else {
        Observer::None
    };
}
