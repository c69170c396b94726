//! What holds in every state, and what must be reached in some.

use stateright::Property;

use super::World;
use super::state::{Follower, Row, State};

type Holds = fn(&World, &State) -> bool;

const ALWAYS: [(&str, Holds); 10] = [
    ("no accept with start after return", |_, s| {
        !s.seen.accepted_after
    }),
    ("no relay after return", |_, s| !s.seen.relayed_after),
    ("local lease implies the row stands", |world, s| {
        world.row_stands(s)
    }),
    ("applied is a prefix of the log", |_, s| {
        !s.seen.missed_entry
    }),
    ("acknowledged implies tombstone visible", |_, s| {
        !s.seen.acknowledged_unapplied
    }),
    ("refused as revoked is never accepted later", |_, s| {
        !s.seen.accepted_after_refusal
    }),
    (
        "return implies every row applied, evicted, or out of time",
        |_, s| !s.seen.returned_early,
    ),
    (
        "database up and commit + L + 2 ticks implies returned",
        |_, s| !s.seen.returned_late,
    ),
    ("a live key is not refused as revoked", |_, s| {
        !s.seen.wrongly_refused
    }),
    ("a created key is known after return", |_, s| {
        !s.seen.refused_unknown_after
    }),
];

const SOMETIMES: [(&str, Holds); 8] = [
    ("return by acknowledgement", |_, s| {
        s.seen.returned_by_acknowledgement
    }),
    ("return by eviction", |_, s| s.seen.returned_by_eviction),
    ("return with no rows", |_, s| s.seen.returned_without_rows),
    ("return by time", |_, s| s.seen.returned_by_time),
    ("accept after registering anew", |_, s| {
        s.seen.accepted_after_registering_anew
    }),
    ("a request is fenced", |_, s| s.seen.fenced),
    ("a frozen stream is resumed", |_, s| s.seen.resumed),
    ("a key is refused without a look-up", |_, s| {
        s.seen.refused_unasked
    }),
];

/// The names of what must be reached in one world or another.
pub(super) fn sometimes() -> impl Iterator<Item = &'static str> {
    SOMETIMES.iter().map(|(name, _)| *name)
}

impl World {
    pub(super) fn all_properties(&self) -> Vec<Property<Self>> {
        let always = ALWAYS.map(|(name, holds)| Property::always(name, holds));
        let sometimes = SOMETIMES.map(|(name, holds)| Property::sometimes(name, holds));
        always.into_iter().chain(sometimes).collect()
    }

    /// While the instance counts on its lease, its row is there and not evicted. Not for a process that
    /// was stopped: it counts on nothing until it reads the clock.
    fn row_stands(&self, state: &State) -> bool {
        let Row {
            present, evicted, ..
        } = state.rows[usize::from(state.registration)];
        let counts = state.lease_left > 0
            && !matches!(
                state.follower,
                Follower::Out | Follower::RegisterSent | Follower::RegisterSaw(_)
            );
        // A failover takes rows away; that is what the timeline is compared for.
        !counts || state.failed_over || (present && !evicted)
    }
}
