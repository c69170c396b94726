//! The database: runs statements, keeps what it committed, and time.

use super::state::{Action, DatabaseStep, Follower, Observer, Revoker, Row, State};
use super::{AGE_MAX, LEASE, Mutant, World};

impl World {
    pub(super) fn database_may(&self, state: &State, actions: &mut Vec<Action>) {
        let mut may = |step| actions.push(Action::Database(step));
        if !self.revoker_is_due(state) {
            may(DatabaseStep::Tick);
        }
        let waits = matches!(
            state.follower,
            Follower::RegisterSent
                | Follower::RegisterSaw(_)
                | Follower::RenewSent
                | Follower::MustRead
        );
        if state.down {
            return may(DatabaseStep::ComeUp);
        }
        // What was sent runs, whether or not its sender is stopped.
        if waits {
            may(DatabaseStep::Run);
        }
        if state.late > 0 {
            may(DatabaseStep::RunLate);
        }
        if self.other && state.other_place == 0 {
            may(DatabaseStep::CommitOther);
        }
        if self.other && state.other_place > 0 && !state.other_committed {
            may(DatabaseStep::CommitOther);
        }
        if self.outages {
            may(DatabaseStep::GoDown);
            may(DatabaseStep::Crash);
        }
        if self.failover && !state.failed_over && state.key_committed {
            may(DatabaseStep::FailOver);
        }
        if self.lacks(Mutant::LeaseByTheDatabasesClock) {
            may(DatabaseStep::StepClock);
        }
    }

    pub(super) fn database_does(&self, state: &mut State, step: DatabaseStep) {
        match step {
            DatabaseStep::Tick => self.tick(state),
            DatabaseStep::Run => self.run(state),
            DatabaseStep::RunLate => {
                let row = state.late - 1;
                state.late = 0;
                if !state.rows[usize::from(row)].evicted {
                    state.renewed(row);
                }
            }
            DatabaseStep::CommitOther => {
                if state.other_place == 0 {
                    state.other_place = state.next_place();
                }
                state.other_committed = true;
            }
            DatabaseStep::GoDown => state.down = true,
            DatabaseStep::ComeUp => state.down = false,
            DatabaseStep::Crash => {
                if self.lacks(Mutant::UnloggedLeaseTable) {
                    state.rows = [Row::default(); 2];
                }
            }
            DatabaseStep::FailOver => self.fail_over(state),
            DatabaseStep::StepClock => state.rows.iter_mut().for_each(|row| row.left = 0),
        }
    }

    fn tick(&self, state: &mut State) {
        state.looked = false;
        let older = |age: &mut u8| *age = (*age + 1).min(AGE_MAX);
        older(&mut state.commit_age);
        if let Revoker::Sent(age) | Revoker::Waiting(age) = &mut state.revoker {
            older(age);
        }
        if let Observer::Asked(age) | Observer::Saw { age, .. } = &mut state.observer {
            *age = (*age + 1).min(LEASE);
        }
        for row in &mut state.rows {
            row.left = row.left.saturating_sub(1);
        }
        self.tick_at_the_instance(state);
    }

    /// What the instance's own clock shows of a tick.
    fn tick_at_the_instance(&self, state: &mut State) {
        let mut ticks = 1;
        if self.lacks(Mutant::ClockStopsInSuspend) && state.stopped {
            ticks = 0;
        }
        if self.lacks(Mutant::CoarseCachedClock) {
            ticks += state.unnoticed;
            state.unnoticed = if state.stopped { ticks.min(AGE_MAX) } else { 0 };
            ticks -= state.unnoticed.min(ticks);
        }
        state.lease_left = state.lease_left.saturating_sub(ticks);
        state.t0_age = (state.t0_age + ticks).min(LEASE);
        let asks = state.extends
            || matches!(
                state.follower,
                Follower::RegisterSent | Follower::RegisterSaw(_) | Follower::Registered(_)
            );
        if !asks {
            state.t0_age = 0;
        }
    }

    /// A statement of the instance's.
    fn run(&self, state: &mut State) {
        let head = state.head();
        let left = if self.lacks(Mutant::LeaseByTheDatabasesClock) {
            LEASE
        } else {
            0
        };
        match state.follower {
            Follower::RegisterSent => state.follower = Follower::RegisterSaw(head),
            Follower::RegisterSaw(saw) => {
                *state.row() = Row {
                    present: true,
                    applied: saw,
                    left,
                    ..Row::default()
                };
                state.follower = Follower::Registered(saw);
            }
            Follower::RenewSent => {
                let applied = state.applied;
                let row = state.row();
                if row.evicted || !row.present {
                    state.follower = Follower::Lost;
                    return;
                }
                row.applied = row.applied.max(applied);
                row.left = left;
                state.renewed(state.registration);
                state.follower = Follower::MustRead;
            }
            Follower::MustRead => {
                if self.lacks(Mutant::LeaseCountedFromReply) {
                    state.t0_age = 0;
                }
                if self.lacks(Mutant::AcknowledgeBeforeApply) {
                    self.acknowledge(state);
                }
                state.seen.missed_entry |= misses(state);
                state.follower = Follower::HaveRead(head);
            }
            _ => {}
        }
    }

    /// To a standby that has all but the key's change, and the last registration's row.
    fn fail_over(&self, state: &mut State) {
        state.failed_over = true;
        if self.lacks(Mutant::AsynchronousFailover) || !state.returned() {
            state.key_committed = false;
            *state.row() = Row::default();
        }
    }
}

/// An entry that committed below what this reader has applied is never read.
fn misses(state: &State) -> bool {
    state.key_committed && state.key_place <= state.applied && !state.key_applied
}
