//! What was revoked or changed since when: the memory against which every cached answer is checked.
//!
//! A ring of bounded size. What falls out of it raises the *floor*: an answer older than the floor
//! cannot be checked any more and is asked for anew.
//!
//! Every registration with the store begins an *era*. A database that was failed over counts some
//! sequences a second time, for other entries; with the era in front, everything here still grows, and
//! whatever was learned in an earlier era is below the floor of the present one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;

use super::ledger::Ledger;
use crate::model::change::{Change, ChangeKind, Sequence};
use crate::model::id::{MembershipId, OrganizationId};
use crate::model::key::KeyHash;
use crate::model::principal::Principal;

/// What may be said of an answer that holds up to some sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing happened to it up to here.
    Current(Sequence),
    /// The entry at this place revoked the key; no need to ask again.
    Revoked(Sequence),
    /// It may no longer hold: ask again.
    Stale,
}

/// The bits of a sequence that the database counts; those above them count eras.
const SEQUENCE_BITS: u32 = 48;

pub(super) struct Tombstones {
    ledger: Ledger<Marks>,
    era: AtomicU64,
}

#[derive(Default)]
struct Marks {
    keys: HashMap<KeyHash, Mark, RandomState>,
    members: HashMap<MembershipId, Mark, RandomState>,
    /// When every key of an organization was revoked. Never dropped: organizations are few, and each
    /// has one mark.
    organizations: HashMap<OrganizationId, Sequence, RandomState>,
    /// When every key of all was revoked.
    everything: Sequence,
    floor: Sequence,
    /// With the place in its era.
    ring: VecDeque<(Sequence, Change)>,
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
            ledger: Ledger::new(marks),
            era: AtomicU64::new(0),
        }
    }

    /// The present era. Who asks the store reads it *before* asking.
    pub(super) fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// A place of the store's log, in an era.
    pub(super) const fn place(era: u64, sequence: Sequence) -> Sequence {
        Sequence::new((era << SEQUENCE_BITS) | (sequence.get() & ((1 << SEQUENCE_BITS) - 1)))
    }

    /// What the store calls a place of the present era; none for one of another.
    pub(super) fn sequence(&self, place: Sequence) -> Option<Sequence> {
        let sequence = Sequence::new(place.get() & ((1 << SEQUENCE_BITS) - 1));
        (Self::place(self.era(), sequence) == place).then_some(sequence)
    }

    /// What is to be said of an answer about this key that holds up to `as_of`. `owner` is none for a
    /// key that was found unknown. One atomic load when nothing happened since.
    pub(super) fn verdict(
        &self,
        hash: &KeyHash,
        owner: Option<&Principal>,
        as_of: Sequence,
    ) -> Verdict {
        let judged = self.ledger.since(as_of.get(), |marks| {
            let newest = marks.newest();
            marks
                .verdict(hash, owner, as_of)
                .unwrap_or(Verdict::Current(newest))
        });
        judged.unwrap_or_else(|newest| Verdict::Current(Sequence::new(newest)))
    }

    /// Remembers a change. It is in force when this returns.
    pub(super) fn insert(&self, change: &Change) {
        let place = Self::place(self.era(), change.sequence);
        self.ledger
            .enter(place.get(), |marks| marks.insert(place, *change));
    }

    /// Begins an era at `head`: nothing that was learned before it may be used.
    pub(super) fn begin_era(&self, head: Sequence) {
        let era = self.era().wrapping_add(1);
        self.era.store(era, Ordering::Release);
        let place = Self::place(era, head);
        self.ledger.enter(place.get(), |marks| {
            marks.floor = marks.floor.max(place);
        });
    }

    /// The revocations that are remembered one by one, oldest first.
    pub(super) fn revocations(&self) -> Vec<Change> {
        self.ledger.read(|marks| {
            let changes = marks.ring.iter().map(|(_, change)| *change);
            changes.filter(|change| change.kind.revokes()).collect()
        })
    }
}

impl Marks {
    /// The newest entry that is in place.
    fn newest(&self) -> Sequence {
        let entered = self.ring.back().map_or(Sequence::ZERO, |(place, _)| *place);
        entered.max(self.floor)
    }

    /// `None`: nothing is known against it.
    fn verdict(
        &self,
        hash: &KeyHash,
        owner: Option<&Principal>,
        as_of: Sequence,
    ) -> Option<Verdict> {
        let newer = |mark: &Mark| mark.sequence > as_of;
        let key = self.keys.get(hash).copied().filter(newer);
        let member = owner
            .and_then(|owner| self.members.get(&owner.membership_id))
            .copied()
            .filter(newer);
        let everything = owner.map(|owner| self.everything_of(owner)).filter(newer);
        let against = [key, member, everything].into_iter().flatten();
        if let Some(revoked) = against
            .clone()
            .filter(|mark| mark.revoked)
            .map(|mark| mark.sequence)
            .min()
        {
            return Some(Verdict::Revoked(revoked));
        }
        let stale = against.count() > 0 || as_of < self.floor;
        stale.then_some(Verdict::Stale)
    }

    /// The newest mark against all keys of an organization.
    fn everything_of(&self, owner: &Principal) -> Mark {
        let own = self.organizations.get(&owner.organization_id).copied();
        let sequence = own.unwrap_or_default().max(self.everything);
        Mark {
            sequence,
            revoked: true,
        }
    }

    fn insert(&mut self, sequence: Sequence, change: Change) {
        let mark = |revoked| Mark { sequence, revoked };
        match change.kind {
            ChangeKind::KeyRevoked(hash) => drop(self.keys.insert(hash, mark(true))),
            ChangeKind::KeyCreated(hash) => drop(self.keys.insert(hash, mark(false))),
            ChangeKind::MemberRemoved(member) => drop(self.members.insert(member, mark(true))),
            ChangeKind::MemberChanged(member) => drop(self.members.insert(member, mark(false))),
            ChangeKind::EverythingRevoked(Some(of)) => {
                self.organizations.insert(of, sequence);
            }
            ChangeKind::EverythingRevoked(None) => self.everything = sequence,
        }
        self.ring.push_back((sequence, change));
        if self.ring.len() > self.ring_max {
            self.drop_oldest();
        }
    }

    /// The oldest change leaves, and with it the right to use any answer older than it.
    fn drop_oldest(&mut self) {
        let Some((place, oldest)) = self.ring.pop_front() else {
            return;
        };
        self.floor = self.floor.max(place);
        let same = |mark: &Mark| mark.sequence == place;
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
            ChangeKind::EverythingRevoked(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Timestamp;
    use crate::model::id::{KeyId, UserId};
    use crate::model::random::SystemEntropy;
    use crate::model::scope::Scopes;

    fn at(sequence: u64, kind: ChangeKind) -> Change {
        Change {
            sequence: Sequence::new(sequence),
            kind,
            at: Timestamp::from_millis(0),
        }
    }

    fn owner() -> Principal {
        let (now, entropy) = (Timestamp::from_millis(0), &SystemEntropy);
        let key_id = KeyId::generate(now, entropy);
        Principal {
            key_id,
            chain_id: key_id,
            email_verified: true,
            organization_id: OrganizationId::generate(now, entropy),
            membership_id: MembershipId::generate(now, entropy),
            user_id: UserId::generate(now, entropy),
            email: "hana@example.com".parse().unwrap(),
            scopes: Scopes::DEFAULT,
            expires_at: None,
            is_replaced: false,
        }
    }

    #[test]
    fn a_revoked_key_is_refused_and_its_neighbour_is_confirmed() {
        let tombstones = Tombstones::new(8);
        let (rejected, live, owner) = (KeyHash::of(b"dead"), KeyHash::of(b"live"), owner());
        tombstones.insert(&at(1, ChangeKind::KeyRevoked(rejected)));
        assert_eq!(
            tombstones.verdict(&rejected, Some(&owner), Sequence::ZERO),
            Verdict::Revoked(Sequence::new(1))
        );
        let current = Verdict::Current(Sequence::new(1));
        assert_eq!(
            tombstones.verdict(&live, Some(&owner), Sequence::ZERO),
            current
        );
    }

    #[test]
    fn removing_a_member_refuses_every_key_of_that_stay_only() {
        let tombstones = Tombstones::new(8);
        let (left, stays, key) = (owner(), owner(), KeyHash::of(b"key"));
        tombstones.insert(&at(1, ChangeKind::MemberRemoved(left.membership_id)));
        assert_eq!(
            tombstones.verdict(&key, Some(&left), Sequence::ZERO),
            Verdict::Revoked(Sequence::new(1))
        );
        assert_eq!(
            tombstones.verdict(&key, Some(&stays), Sequence::ZERO),
            Verdict::Current(Sequence::new(1))
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
    fn everything_ends_every_key_of_the_organization_that_was_meant() {
        let tombstones = Tombstones::new(8);
        let (theirs, others, key) = (owner(), owner(), KeyHash::of(b"key"));
        let of = Some(theirs.organization_id);
        tombstones.insert(&at(4, ChangeKind::EverythingRevoked(of)));
        let verdict = |owner, as_of| tombstones.verdict(&key, Some(owner), Sequence::new(as_of));
        assert_eq!(verdict(&theirs, 3), Verdict::Revoked(Sequence::new(4)));
        assert_eq!(verdict(&others, 3), Verdict::Current(Sequence::new(4)));
        // A key that was looked up after it exists in spite of it.
        assert_eq!(verdict(&theirs, 4), Verdict::Current(Sequence::new(4)));
        tombstones.insert(&at(5, ChangeKind::EverythingRevoked(None)));
        assert_eq!(verdict(&others, 4), Verdict::Revoked(Sequence::new(5)));
    }

    #[test]
    fn what_is_remembered_of_revocations_can_be_told_again() {
        let tombstones = Tombstones::new(8);
        let revoked = at(2, ChangeKind::KeyRevoked(KeyHash::of(b"dead")));
        tombstones.insert(&at(1, ChangeKind::KeyCreated(KeyHash::of(b"dead"))));
        tombstones.insert(&revoked);
        assert_eq!(tombstones.revocations(), [revoked]);
    }

    #[test]
    fn what_was_learned_before_a_failover_is_stale_however_far_the_new_log_is() {
        let tombstones = Tombstones::new(8);
        let (owner, rejected, live) = (owner(), KeyHash::of(b"dead"), KeyHash::of(b"live"));
        let learned = Tombstones::place(tombstones.era(), Sequence::new(100));
        tombstones.insert(&at(100, ChangeKind::KeyRevoked(rejected)));
        // The standby had only 95 entries, and counts 96 anew.
        tombstones.begin_era(Sequence::new(95));
        let verdict = |key: &KeyHash, as_of| tombstones.verdict(key, Some(&owner), as_of);
        assert_eq!(verdict(&live, learned), Verdict::Stale);
        let asked = Tombstones::place(tombstones.era(), Sequence::new(95));
        assert!(matches!(verdict(&live, asked), Verdict::Current(_)));
        tombstones.insert(&at(96, ChangeKind::KeyRevoked(live)));
        let revoked = verdict(&live, asked);
        assert!(matches!(revoked, Verdict::Revoked(place)
            if tombstones.sequence(place) == Some(Sequence::new(96))));
    }
}
