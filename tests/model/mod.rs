//! The revocation protocol as a model, explored state by state.
//!
//! **What is modelled.** One gateway process (the *instance*: it registers, renews its lease, reads the
//! log, applies, scans, acknowledges; it may be stopped at any step and killed), the *database* (rows
//! of instances, the log; every statement is sent, runs and is answered in separate steps, may be lost,
//! and may run late), the *revoker* (commits the change of one key, then polls the rows), an *observer*
//! (a peer that evicts who does not renew), a *client* (a request, its look-up, a stream). Time goes in
//! ticks, and nobody is hurried: whatever may be slow, may be slow here (a process that is stopped is one
//! that takes no step), except the revoker, who looks once in every tick while the database answers.
//!
//! **Why one instance is enough for safety.** Instances never speak to each other. They share the log,
//! of which each reads a prefix, and each writes its own row alone. What one promises is judged from its
//! row; the revoker's wait is a conjunction over rows. So a run of many instances that breaks a promise
//! breaks it at one of them, and that one's steps, with the others' as steps of the database and of the
//! observer, are a run of this model. `two_registrations` has two rows all the same: those of a process
//! that was killed or evicted, and of the one that comes after it.
//!
//! **Time has no end here.** Nothing depends on what time it is, only on how long ago something was; so
//! ages are kept, up to where they no longer matter, and the states are finite although the runs are
//! not: every run of any length is covered.
//!
//! **Clocks.** A tick is far longer than the drift of a crystal within a lease, and the instance's lease is
//! shortened by twice the drift; so both count the same ticks, the instance strictly less than L of them
//! from before it asked, others at least L from after they saw.
//!
//! **Mutants.** A checker that never fails proves nothing. Each [`Mutant`] leaves out one thing that the
//! protocol does, and must be caught; `always` lists what can fail, `sometimes` what has to be reached.

#![allow(
    clippy::struct_excessive_bools,
    clippy::unused_self,
    clippy::wildcard_enum_match_arm,
    reason = "a state is what is true in it; steps are methods of their world; most steps concern few states"
)]

mod always;
mod client;
mod database;
mod instance;
mod revoker;
mod runs;
mod state;

use stateright::{Model, Property};

use state::{Action, State};

/// How long a lease is, in ticks.
const LEASE: u8 = 2;
/// An age that is as good as any greater one.
const AGE_MAX: u8 = LEASE + 3;

/// What the revoker's change does to the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It lived before, and is dead after.
    Revoke,
    /// It was unknown before, and lives after.
    Create,
}

/// One thing that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    LogReadBeforeLeaseWrite,
    LeaseCountedFromReply,
    LeaseExtendedBeforeApply,
    AcknowledgeBeforeApply,
    RegisterWithoutReadingTheLog,
    CacheInvalidationOnly,
    JoinersUnchecked,
    TombstoneDroppedWithoutFloor,
    SequenceNotInCommitOrder,
    ClockStopsInSuspend,
    CoarseCachedClock,
    UnloggedLeaseTable,
    NoFreeze,
    NoCut,
    NoLeaseCheck,
    CheckThenRegister,
    AsynchronousFailover,
    ObservedBeforeTheAnswer,
    EvictionUnconditional,
    LeaseByTheDatabasesClock,
    HeadNotCompared,
    WaitCountedFromBeforeTheCommit,
    ImportsLearnedAtRenewalsOnly,
    UnknownWithoutLease,
}

/// A world: what may happen in it, and what is left out.
#[derive(Debug, Clone, Copy)]
struct World {
    change: Change,
    mutant: Option<Mutant>,
    /// The instance may be stopped in its tracks, and go on: what its clock does meanwhile matters to
    /// mutants of the clock alone.
    stops: bool,
    /// The process may be killed and started again, once.
    kills: bool,
    /// A renewal that was given up may run later all the same.
    late: bool,
    /// Another change, of another key, is in the log too.
    other: bool,
    /// Only one tombstone is remembered.
    small_ring: bool,
    /// The database may be away for a while, and may crash; what is logged survives.
    outages: bool,
    /// The database may be failed over, once, to a standby that has all but the newest.
    failover: bool,
    /// Streams rely on the scan alone, which runs on another thread than they do.
    scan_only: bool,
    /// There is an observer.
    observer: bool,
    /// The client opens a stream with its first answer, rather than asking again and again.
    streams: bool,
    /// The key is of another system, and the first that is imported: before that an instance that knows so
    /// refuses it without a look-up.
    imports: bool,
}

impl World {
    const PLAIN: Self = Self {
        change: Change::Revoke,
        mutant: None,
        stops: false,
        kills: false,
        late: false,
        other: false,
        small_ring: false,
        outages: false,
        failover: false,
        scan_only: false,
        observer: false,
        streams: false,
        imports: false,
    };

    fn lacks(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.instance_may(state, actions);
        self.database_may(state, actions);
        self.revoker_may(state, actions);
        self.client_may(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        state.seen = before.seen.lasting();
        match action {
            Action::Instance(step) => self.instance_does(&mut state, step),
            Action::Database(step) => self.database_does(&mut state, step),
            Action::Revoker(step) => self.revoker_does(&mut state, step),
            Action::Client(step) => self.client_does(&mut state, step),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.all_properties()
    }
}
