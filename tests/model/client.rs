//! Requests, look-ups and streams at the instance.

use super::state::{Action, Answer, ClientStep, Follower, LookUp, Request, State, Stream};
use super::{Change, Mutant, World};

/// What is to be done with an answer at this moment.
#[derive(Clone, Copy)]
enum Verdict {
    Accept,
    Revoked,
    Unknown,
    Ask,
    Fenced,
}

impl World {
    pub(super) fn client_may(&self, state: &State, actions: &mut Vec<Action>) {
        let mut may = |step| actions.push(Action::Client(step));
        if state.look_up == LookUp::Sent && !state.down {
            may(ClientStep::Read);
        }
        if state.stopped || state.follower == Follower::Out && state.registration == 0 {
            return;
        }
        if matches!(state.look_up, LookUp::Read(_)) {
            may(ClientStep::Land);
        }
        match (state.request, state.cache, state.look_up) {
            (Request::None, ..) if self.streams && state.stream != Stream::None => {}
            // Before the change is applied a second answer from the cache is as good as the first.
            (Request::None, Some(_), _) if !state.tombstone && !state.returned() => {}
            (Request::None, ..) => may(ClientStep::Begin),
            (Request::Waiting { .. }, ..) if state.none_imported => may(ClientStep::Decide),
            (Request::Waiting { .. }, Some(_), _) => may(ClientStep::Decide),
            (Request::Waiting { .. }, None, LookUp::None) => may(ClientStep::LookUp),
            // Whoever asked first may hang up; the look-up goes on, and others join it.
            (Request::Waiting { after: false }, None, LookUp::Read(_)) if state.returned() => {
                may(ClientStep::HangUp);
            }
            (Request::Waiting { .. }, None, _) => {}
        }
        match state.stream {
            Stream::None if !self.streams || state.cache.is_none() || state.returned() => {}
            Stream::None => may(ClientStep::OpenStream),
            Stream::Halfway(_) => may(ClientStep::FinishOpening),
            Stream::Open(_) => may(ClientStep::Relay),
            Stream::Frozen(_) => {
                may(ClientStep::Relay);
                if !state.down {
                    may(ClientStep::AskAgain);
                }
            }
            Stream::Over => {}
        }
    }

    pub(super) fn client_does(&self, state: &mut State, step: ClientStep) {
        match step {
            ClientStep::Begin => {
                state.request = Request::Waiting {
                    after: state.returned(),
                };
            }
            ClientStep::HangUp => state.request = Request::None,
            ClientStep::LookUp => state.look_up = LookUp::Sent,
            ClientStep::Read => state.look_up = LookUp::Read(self.answer_now(state)),
            ClientStep::Land => self.land(state),
            ClientStep::Decide if state.none_imported => {
                let knows = state.lease_holds() || self.lacks(Mutant::UnknownWithoutLease);
                state.seen.refused_unasked |= knows;
                let verdict = if knows {
                    Verdict::Unknown
                } else {
                    Verdict::Fenced
                };
                self.decide(state, verdict);
            }
            ClientStep::Decide => {
                if let Some(answer) = state.cache {
                    let verdict = self.verdict(state, answer);
                    self.decide(state, verdict);
                }
            }
            ClientStep::OpenStream => self.open_stream(state),
            ClientStep::FinishOpening => self.finish_opening(state),
            ClientStep::Relay => self.relay(state),
            ClientStep::AskAgain => {
                let answer = self.answer_now(state);
                state.stream = if answer.alive {
                    Stream::Frozen(answer)
                } else {
                    Stream::Over
                };
            }
        }
    }

    fn answer_now(&self, state: &State) -> Answer {
        Answer {
            alive: (self.change == Change::Revoke) != state.key_committed,
            as_of: state.head(),
        }
    }

    /// A look-up inserts what it read, however old that is by now; who waited for it is answered with it.
    fn land(&self, state: &mut State) {
        let LookUp::Read(answer) = state.look_up else {
            return;
        };
        state.look_up = LookUp::None;
        state.cache = Some(answer);
        if self.lacks(Mutant::JoinersUnchecked) && state.request != Request::None {
            let verdict = match (state.lease_holds(), answer.alive) {
                (false, _) => Verdict::Fenced,
                (true, true) => Verdict::Accept,
                (true, false) => self.dead(),
            };
            self.decide(state, verdict);
        }
    }

    /// Tombstones first, then the floor, the lease last.
    fn verdict(&self, state: &State, answer: Answer) -> Verdict {
        let checks = !self.lacks(Mutant::CacheInvalidationOnly);
        if checks && state.tombstone && state.key_place > answer.as_of {
            return match self.change {
                Change::Revoke => Verdict::Revoked,
                Change::Create => Verdict::Ask,
            };
        }
        if checks && answer.as_of < state.floor {
            return Verdict::Ask;
        }
        if !state.lease_holds() && !self.lacks(Mutant::NoLeaseCheck) {
            return Verdict::Fenced;
        }
        if answer.alive {
            Verdict::Accept
        } else {
            self.dead()
        }
    }

    fn dead(&self) -> Verdict {
        match self.change {
            Change::Revoke => Verdict::Revoked,
            Change::Create => Verdict::Unknown,
        }
    }

    fn decide(&self, state: &mut State, verdict: Verdict) {
        let Request::Waiting { after } = state.request else {
            return;
        };
        let revokes = self.change == Change::Revoke;
        match verdict {
            // The entry is of no use; the next look-up replaces it.
            Verdict::Ask => {
                state.cache = None;
                return;
            }
            Verdict::Accept => {
                state.seen.accepted_after |= after && revokes;
                state.seen.accepted_after_refusal |= state.seen.refused_as_revoked;
                state.seen.accepted_after_registering_anew |= state.registration == 1;
            }
            Verdict::Revoked => {
                state.seen.refused_as_revoked = true;
                state.seen.wrongly_refused |= !state.key_committed && !state.failed_over;
            }
            Verdict::Unknown => state.seen.refused_unknown_after |= after,
            Verdict::Fenced => state.seen.fenced = true,
        }
        state.request = Request::None;
    }

    /// Into the registry, then the check. The mutant has it the other way round.
    fn open_stream(&self, state: &mut State) {
        let Some(answer) = state.cache else {
            return;
        };
        if self.lacks(Mutant::CheckThenRegister) {
            if matches!(self.verdict(state, answer), Verdict::Accept) {
                state.stream = Stream::Halfway(answer);
            }
            return;
        }
        state.stream = Stream::Halfway(answer);
    }

    fn finish_opening(&self, state: &mut State) {
        let Stream::Halfway(answer) = state.stream else {
            return;
        };
        let opens = self.lacks(Mutant::CheckThenRegister)
            || matches!(self.verdict(state, answer), Verdict::Accept);
        state.stream = if opens {
            Stream::Open(answer)
        } else {
            Stream::Over
        };
    }

    /// One chunk: checked and passed on.
    fn relay(&self, state: &mut State) {
        let (Stream::Open(answer) | Stream::Frozen(answer)) = state.stream else {
            return;
        };
        let checks = !self.scan_only && !self.lacks(Mutant::NoCut);
        if checks && state.tombstone && state.key_place > answer.as_of {
            state.stream = Stream::Over;
            return;
        }
        let below_floor = answer.as_of < state.floor && !self.lacks(Mutant::NoCut);
        let fenced = !state.lease_holds() && !self.lacks(Mutant::NoFreeze);
        if below_floor || fenced {
            state.stream = Stream::Frozen(answer);
            return;
        }
        state.seen.resumed |= matches!(state.stream, Stream::Frozen(_));
        state.stream = Stream::Open(answer);
        state.seen.relayed_after |= state.returned() && self.change == Change::Revoke;
    }
}
