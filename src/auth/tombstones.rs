//! What was revoked or changed since when: the memory against which every cached answer is checked.
//!
//! A ring of bounded size. What falls out of it raises the *floor*: an answer older than the floor
//! cannot be checked any more and is asked for anew.

use std::collections::{HashMap, VecDeque};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;

use crate::model::change::{Change, ChangeKind, Sequence};
use crate::model::id::MembershipId;
use crate::model::key::KeyHash;

/// What may be said of an answer that holds up to some sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing happened to it up to here.
    Current(Sequence),
    /// The key is revoked; no need to ask again.
    Revoked,
    /// It may no longer hold: ask again.
    Stale,
}

pub(super) struct Tombstones {
    /// The newest entry. Raised after the entry is in place: whoever sees it, sees the entry.
    newest: AtomicU64,
    marks: RwLock<Marks>,
}

#[derive(Default)]
struct Marks {
    keys: HashMap<KeyHash, Mark, RandomState>,
    members: HashMap<MembershipId, Mark, RandomState>,
    everything: Sequence,
    floor: Sequence,
    ring: VecDeque<Change>,
    ring_max: usize,
}

#[derive(Clone, Copy)]
struct Mark {
    sequence: Sequence,
    revoked: bool,
}

impl Tombstones {
    pub(super) fn new(ring_max: usize) -> Self {
        let marks = Marks {
            ring_max: ring_max.max(1),
            ..Marks::default()
        };
        Self {
            newest: AtomicU64::new(0),
            marks: RwLock::new(marks),
        }
    }

    /// What is to be said of an answer about this key that holds up to `as_of`. `member` is none for a
    /// key that was found unknown. One atomic load when nothing happened since.
    pub(super) fn verdict(
        &self,
        hash: &KeyHash,
        member: Option<MembershipId>,
        as_of: Sequence,
    ) -> Verdict {
        let newest = Sequence::new(self.newest.load(Ordering::Acquire));
        if as_of >= newest {
            return Verdict::Current(newest);
        }
        let marks = self
            .marks
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        marks
            .verdict(hash, member, as_of)
            .unwrap_or(Verdict::Current(newest))
    }

    /// Remembers a change. It is in force when this returns.
    pub(super) fn insert(&self, change: &Change) {
        let mut marks = self
            .marks
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        marks.insert(*change);
        drop(marks);
        self.newest
            .fetch_max(change.sequence.get(), Ordering::AcqRel);
    }

    /// Nothing that holds only up to before `sequence` may be used.
    pub(super) fn raise_floor(&self, sequence: Sequence) {
        let mut marks = self
            .marks
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        marks.floor = marks.floor.max(sequence);
        drop(marks);
        self.newest.fetch_max(sequence.get(), Ordering::AcqRel);
    }
}

impl Marks {
    /// None: nothing is known against it.
    fn verdict(
        &self,
        hash: &KeyHash,
        member: Option<MembershipId>,
        as_of: Sequence,
    ) -> Option<Verdict> {
        let key = self.keys.get(hash);
        let member = member.and_then(|member| self.members.get(&member));
        let newer = |mark: &&Mark| mark.sequence > as_of;
        let mut against = key.into_iter().chain(member).filter(newer).peekable();
        if against.peek().is_some() {
            let revoked = against.any(|mark| mark.revoked);
            Some(if revoked {
                Verdict::Revoked
            } else {
                Verdict::Stale
            })
        } else if as_of < self.floor || as_of < self.everything {
            Some(Verdict::Stale)
        } else {
            None
        }
    }

    fn insert(&mut self, change: Change) {
        let Change { sequence, kind } = change;
        let mark = |revoked| Mark { sequence, revoked };
        match kind {
            ChangeKind::KeyRevoked(hash) => drop(self.keys.insert(hash, mark(true))),
            ChangeKind::KeyCreated(hash) => drop(self.keys.insert(hash, mark(false))),
            ChangeKind::MemberRemoved(member) => drop(self.members.insert(member, mark(true))),
            ChangeKind::MemberChanged(member) => drop(self.members.insert(member, mark(false))),
            ChangeKind::EverythingRevoked => self.everything = sequence,
        }
        self.ring.push_back(change);
        if self.ring.len() > self.ring_max {
            self.drop_oldest();
        }
    }

    /// The oldest change leaves, and with it the right to use any answer older than it.
    fn drop_oldest(&mut self) {
        let Some(oldest) = self.ring.pop_front() else {
            return;
        };
        self.floor = self.floor.max(oldest.sequence);
        let same = |mark: &Mark| mark.sequence == oldest.sequence;
        match oldest.kind {
            ChangeKind::KeyRevoked(hash) | ChangeKind::KeyCreated(hash) => {
                if self.keys.get(&hash).is_some_and(same) {
                    self.keys.remove(&hash);
                }
            }
            ChangeKind::MemberRemoved(member) | ChangeKind::MemberChanged(member) => {
                if self.members.get(&member).is_some_and(same) {
                    self.members.remove(&member);
                }
            }
            ChangeKind::EverythingRevoked => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Timestamp;
    use crate::model::random::SystemEntropy;

    fn at(sequence: u64, kind: ChangeKind) -> Change {
        Change {
            sequence: Sequence::new(sequence),
            kind,
        }
    }

    fn member() -> MembershipId {
        MembershipId::generate(Timestamp::from_millis(0), &SystemEntropy)
    }

    #[test]
    fn a_revoked_key_is_refused_and_its_neighbour_is_confirmed() {
        let tombstones = Tombstones::new(8);
        let (dead, live, member) = (KeyHash::of(b"dead"), KeyHash::of(b"live"), member());
        tombstones.insert(&at(1, ChangeKind::KeyRevoked(dead)));
        assert_eq!(
            tombstones.verdict(&dead, Some(member), Sequence::ZERO),
            Verdict::Revoked
        );
        let current = Verdict::Current(Sequence::new(1));
        assert_eq!(
            tombstones.verdict(&live, Some(member), Sequence::ZERO),
            current
        );
    }

    #[test]
    fn removing_a_member_refuses_every_key_of_that_stay_only() {
        let tombstones = Tombstones::new(8);
        let (left, stays, key) = (member(), member(), KeyHash::of(b"key"));
        tombstones.insert(&at(1, ChangeKind::MemberRemoved(left)));
        assert_eq!(
            tombstones.verdict(&key, Some(left), Sequence::ZERO),
            Verdict::Revoked
        );
        assert_ne!(
            tombstones.verdict(&key, Some(stays), Sequence::ZERO),
            Verdict::Revoked
        );
    }

    #[test]
    fn a_created_key_ends_the_memory_that_it_was_unknown() {
        let tombstones = Tombstones::new(8);
        let key = KeyHash::of(b"key");
        tombstones.insert(&at(1, ChangeKind::KeyCreated(key)));
        assert_eq!(
            tombstones.verdict(&key, None, Sequence::ZERO),
            Verdict::Stale
        );
        let current = Verdict::Current(Sequence::new(1));
        assert_eq!(tombstones.verdict(&key, None, Sequence::new(1)), current);
    }

    #[test]
    fn what_falls_out_of_the_ring_leaves_a_floor_behind() {
        let tombstones = Tombstones::new(2);
        let first = KeyHash::of(b"first");
        tombstones.insert(&at(1, ChangeKind::KeyRevoked(first)));
        tombstones.insert(&at(2, ChangeKind::KeyRevoked(KeyHash::of(b"second"))));
        tombstones.insert(&at(3, ChangeKind::KeyRevoked(KeyHash::of(b"third"))));
        // The mark itself is gone: an old answer must be asked for anew, never confirmed.
        assert_eq!(
            tombstones.verdict(&first, None, Sequence::ZERO),
            Verdict::Stale
        );
    }

    #[test]
    fn after_everything_was_revoked_old_answers_are_asked_for_anew() {
        let tombstones = Tombstones::new(8);
        tombstones.insert(&at(4, ChangeKind::EverythingRevoked));
        let key = KeyHash::of(b"key");
        assert_eq!(
            tombstones.verdict(&key, None, Sequence::new(3)),
            Verdict::Stale
        );
    }
}
