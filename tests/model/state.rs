//! Everything that there is, in few bytes.

/// Where the instance is in its loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Follower {
    /// Not registered.
    #[default]
    Out,
    /// The registration's statement is on its way; then it has seen the head; then it has committed.
    RegisterSent,
    RegisterSaw(u8),
    Registered(u8),
    Idle,
    RenewSent,
    /// The lease is written, or the reader was woken: the log is to be read.
    MustRead,
    /// The log was read up to here.
    HaveRead(u8),
    /// Tombstones are in place; open streams are to be looked at.
    MustScan,
    MustAcknowledge,
    /// The row is evicted.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Row {
    pub present: bool,
    pub evicted: bool,
    pub applied: u8,
    /// Ticks until it expires by the database's clock; used by a mutant.
    pub left: u8,
}

/// What a look-up said: whether the key lived, as of which place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub alive: bool,
    pub as_of: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum LookUp {
    #[default]
    None,
    Sent,
    Read(Answer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Request {
    #[default]
    None,
    /// In need of an answer. Whether it began after the revoker had returned.
    Waiting { after: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Stream {
    #[default]
    None,
    /// In the registry, not checked; or, for the mutant, checked and not in the registry.
    Halfway(Answer),
    Open(Answer),
    /// A chunk found the lease out.
    Frozen(Answer),
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Revoker {
    #[default]
    Idle,
    /// The transaction is on its way, for so long; for mutants. An answer that takes its time only makes
    /// the revoker count later.
    Sent(u8),
    /// Committed; waiting for so long.
    Waiting(u8),
    Returned,
    /// It found that the database lost the change.
    Failed,
}

/// An observer's look at the last registration's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Observer {
    #[default]
    None,
    /// The question is on its way, for so long; for a mutant.
    Asked(u8),
    /// Counting for so long; and whether the row was renewed since.
    Saw { row: u8, renewed: bool, age: u8 },
}

/// What has happened, for the properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Seen {
    pub accepted_after: bool,
    pub relayed_after: bool,
    pub refused_unknown_after: bool,
    pub refused_as_revoked: bool,
    pub accepted_after_refusal: bool,
    pub wrongly_refused: bool,
    pub acknowledged_unapplied: bool,
    pub missed_entry: bool,
    pub returned_early: bool,
    pub returned_late: bool,
    pub returned_by_acknowledgement: bool,
    pub returned_by_eviction: bool,
    pub returned_without_rows: bool,
    pub returned_by_time: bool,
    pub accepted_after_registering_anew: bool,
    pub fenced: bool,
    pub resumed: bool,
    pub refused_unasked: bool,
}

impl Seen {
    /// What is known from then on. The rest is seen in the state of its moment alone: kept, it would
    /// only multiply the states.
    pub(super) fn lasting(self) -> Self {
        Self {
            refused_as_revoked: self.refused_as_revoked,
            ..Self::default()
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct State {
    /// The revoker has looked in this tick.
    pub looked: bool,

    // the database
    pub down: bool,
    pub failed_over: bool,
    /// The places of the key's change and of the other change; 0: none was given yet.
    pub key_place: u8,
    pub other_place: u8,
    pub key_committed: bool,
    pub other_committed: bool,
    /// Two registrations: the first, and the one after a kill or an eviction.
    pub rows: [Row; 2],
    pub commit_age: u8,

    // the instance
    pub follower: Follower,
    pub registration: u8,
    pub killed: bool,
    pub stopped: bool,
    /// Ticks that a coarse clock has not noticed yet; for a mutant.
    pub unnoticed: u8,
    /// How long ago the clock was read, before the statement was sent.
    pub t0_age: u8,
    /// Whether the log is being read after a lease was written: only then it is extended.
    pub extends: bool,
    /// Ticks for which it still counts on its lease.
    pub lease_left: u8,
    pub applied: u8,
    pub floor: u8,
    /// Whether the key's change was applied, or known when it registered.
    pub key_applied: bool,
    pub tombstone: bool,
    /// It knows that nothing was imported.
    pub none_imported: bool,
    /// The renewal that may run late, if one was given up: of which registration, plus one.
    pub late: u8,

    // clients
    pub cache: Option<Answer>,
    pub look_up: LookUp,
    pub request: Request,
    pub stream: Stream,

    // who watches
    pub revoker: Revoker,
    pub observer: Observer,
    pub seen: Seen,
}

impl State {
    /// The newest committed place.
    pub(super) fn head(&self) -> u8 {
        let key = if self.key_committed {
            self.key_place
        } else {
            0
        };
        let other = if self.other_committed {
            self.other_place
        } else {
            0
        };
        key.max(other)
    }

    pub(super) fn next_place(&self) -> u8 {
        self.key_place.max(self.other_place) + 1
    }

    pub(super) fn row(&mut self) -> &mut Row {
        &mut self.rows[usize::from(self.registration)]
    }

    pub(super) fn lease_holds(&self) -> bool {
        self.lease_left > 0
    }

    /// A renewal of this row has committed.
    pub(super) fn renewed(&mut self, registration: u8) {
        if let Observer::Saw { row, renewed, .. } = &mut self.observer {
            *renewed |= *row == registration;
        }
    }

    pub(super) fn returned(&self) -> bool {
        self.revoker == Revoker::Returned
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Instance(InstanceStep),
    Database(DatabaseStep),
    Revoker(RevokerStep),
    Client(ClientStep),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstanceStep {
    Go,
    /// Woken by a notification, or the poll.
    Wake,
    /// The answer did not come: given up.
    GiveUp,
    Stop,
    Continue,
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DatabaseStep {
    Tick,
    /// Runs the instance's statement.
    Run,
    RunLate,
    CommitOther,
    GoDown,
    ComeUp,
    /// Ends without warning, and comes back with what is on disk.
    Crash,
    FailOver,
    StepClock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RevokerStep {
    Send,
    Commit,
    Look,
    Ask,
    Answer,
    Evict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientStep {
    Begin,
    HangUp,
    LookUp,
    Read,
    Land,
    Decide,
    OpenStream,
    FinishOpening,
    Relay,
    AskAgain,
}
