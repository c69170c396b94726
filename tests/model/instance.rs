//! The instance: the follower's loop, in the order that is the safety.

use super::state::{Action, Follower, InstanceStep, Row, State, Stream};
use super::{Change, LEASE, Mutant, World};

impl World {
    pub(super) fn instance_may(&self, state: &State, actions: &mut Vec<Action>) {
        let mut may = |step| actions.push(Action::Instance(step));
        if state.stopped {
            return may(InstanceStep::Continue);
        }
        if self.stops {
            may(InstanceStep::Stop);
        }
        if self.kills && !state.killed && state.registration == 0 {
            may(InstanceStep::Kill);
        }
        match state.follower {
            // These wait for the database.
            Follower::RegisterSent | Follower::RegisterSaw(_) | Follower::RenewSent => {
                if self.late {
                    may(InstanceStep::GiveUp);
                }
            }
            Follower::MustRead => {}
            Follower::Idle => {
                if state.head() > state.applied {
                    may(InstanceStep::Wake);
                }
                // One that was renewed in this tick gains nothing by another renewal.
                if state.lease_left < LEASE {
                    may(InstanceStep::Go);
                }
            }
            Follower::Lost if state.registration == 1 => {}
            Follower::Out
            | Follower::Registered(_)
            | Follower::HaveRead(_)
            | Follower::MustScan
            | Follower::MustAcknowledge
            | Follower::Lost => may(InstanceStep::Go),
        }
    }

    pub(super) fn instance_does(&self, state: &mut State, step: InstanceStep) {
        match step {
            InstanceStep::Stop => state.stopped = true,
            InstanceStep::Continue => state.stopped = false,
            InstanceStep::Kill => kill(state),
            InstanceStep::Wake => {
                state.follower = Follower::MustRead;
            }
            InstanceStep::GiveUp => {
                if state.follower == Follower::RenewSent {
                    state.late = state.registration + 1;
                    (state.t0_age, state.extends) = (0, false);
                    state.follower = Follower::Idle;
                }
            }
            InstanceStep::Go => self.follower_goes(state),
        }
    }

    fn follower_goes(&self, state: &mut State) {
        match state.follower {
            Follower::Out => {
                state.t0_age = 0;
                state.follower = Follower::RegisterSent;
                if self.lacks(Mutant::LogReadBeforeLeaseWrite) {
                    state.follower = Follower::RegisterSaw(state.head());
                }
            }
            Follower::Registered(head) => self.begin_anew(state, head),
            Follower::Idle => {
                state.t0_age = 0;
                state.extends = true;
                state.follower = Follower::RenewSent;
            }
            Follower::HaveRead(head) => self.apply(state, head),
            Follower::MustScan => {
                self.scan(state);
                if state.extends {
                    extend(state);
                }
                (state.t0_age, state.extends) = (0, false);
                state.follower = Follower::MustAcknowledge;
            }
            Follower::MustAcknowledge => {
                // The statement runs, or is lost; the next renewal says the same.
                state.follower = Follower::Idle;
                if !state.down && !state.row().evicted {
                    self.acknowledge(state);
                }
            }
            Follower::Lost
                if !state.down && state.rows[usize::from(state.registration)].present =>
            {
                // It says that it is gone, as at its end: nobody need wait for that row, or read of it.
                state.lease_left = 0;
                *state.row() = Row::default();
            }
            Follower::Lost => {
                state.lease_left = 0;
                (state.t0_age, state.extends) = (0, false);
                state.registration = 1;
                state.follower = Follower::Out;
            }
            Follower::RegisterSent
            | Follower::RegisterSaw(_)
            | Follower::RenewSent
            | Follower::MustRead => {}
        }
    }

    /// The row is written: nothing that was learned before its head may be used.
    fn begin_anew(&self, state: &mut State, head: u8) {
        state.floor = state.floor.max(head);
        state.applied = head;
        state.cache = None;
        state.tombstone = false;
        state.none_imported = false;
        state.key_applied = state.key_committed && state.key_place <= head;
        state.extends = true;
        if self.lacks(Mutant::LeaseCountedFromReply) {
            state.t0_age = 0;
        }
        let early = self.lacks(Mutant::LeaseExtendedBeforeApply)
            || self.lacks(Mutant::RegisterWithoutReadingTheLog);
        if early || self.lacks(Mutant::LogReadBeforeLeaseWrite) {
            extend(state);
        }
        state.follower = Follower::MustRead;
        if !early && self.lacks(Mutant::LogReadBeforeLeaseWrite)
            || self.lacks(Mutant::RegisterWithoutReadingTheLog)
        {
            state.follower = Follower::Idle;
        }
    }

    /// Whether keys were imported, as the page of the log says; tombstone; then purge.
    fn apply(&self, state: &mut State, head: u8) {
        if self.imports && (state.extends || !self.lacks(Mutant::ImportsLearnedAtRenewalsOnly)) {
            state.none_imported = !state.key_committed || state.key_place > head;
        }
        let key_is_new = state.key_committed && state.key_place > state.applied;
        let other_is_new = state.other_committed && state.other_place > state.applied;
        let other_is_last = other_is_new && state.other_place > state.key_place;
        if key_is_new && state.key_place <= head {
            (state.tombstone, state.key_applied) = (true, true);
            state.cache = None;
        }
        if self.small_ring && state.tombstone && other_is_last {
            state.tombstone = false;
            if !self.lacks(Mutant::TombstoneDroppedWithoutFloor) {
                state.floor = state.floor.max(state.key_place);
            }
        }
        state.applied = state.applied.max(head);
        state.follower = Follower::MustScan;
        if !self.scan_only {
            // Every chunk asks for itself: nothing can happen in between that matters.
            self.scan(state);
        }
    }

    fn scan(&self, state: &mut State) {
        if self.lacks(Mutant::NoCut) || self.change == Change::Create {
            return;
        }
        let (Stream::Halfway(answer) | Stream::Open(answer) | Stream::Frozen(answer)) =
            state.stream
        else {
            return;
        };
        // Of one that is halfway for the mutant the registry does not know yet.
        let registered =
            !matches!(state.stream, Stream::Halfway(_)) || !self.lacks(Mutant::CheckThenRegister);
        if registered && state.tombstone && state.key_place > answer.as_of {
            state.stream = Stream::Over;
        }
    }

    pub(super) fn acknowledge(&self, state: &mut State) {
        let applied = if self.lacks(Mutant::AcknowledgeBeforeApply) {
            state.head()
        } else {
            state.applied
        };
        let row = state.row();
        row.applied = row.applied.max(applied);
        state.seen.acknowledged_unapplied |= state.row().applied > state.applied;
    }
}

/// Its row remains, with nobody behind it.
fn kill(state: &mut State) {
    (state.t0_age, state.extends) = (0, false);
    state.killed = true;
    state.registration = 1;
    state.follower = Follower::Out;
    state.lease_left = 0;
    state.applied = 0;
    state.floor = 0;
    state.tombstone = false;
    state.none_imported = false;
    state.cache = None;
    state.look_up = super::state::LookUp::None;
    state.request = super::state::Request::None;
    state.stream = Stream::Over;
}

fn extend(state: &mut State) {
    state.lease_left = state.lease_left.max(LEASE.saturating_sub(state.t0_age));
}
