//! The log by which every instance learns what no longer holds.

use super::clock::Timestamp;
use super::id::{MembershipId, OrganizationId};
use super::key::KeyHash;

/// A position in the log: gapless, in commit order, counted inside the transaction that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(u64);

impl Sequence {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// From the number as stored.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What an entry of the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// This key was revoked or deleted: for ever, hashes are not used twice.
    KeyRevoked(KeyHash),
    /// This stay ended, and with it every key made in it: one entry, however many keys.
    MemberRemoved(MembershipId),
    /// Every key that existed was revoked: of one organization, or of all. One entry, however many keys.
    EverythingRevoked(Option<OrganizationId>),
    /// This key was created: a cache that remembers it as unknown must forget that.
    KeyCreated(KeyHash),
    /// Something about this member changed (address, role): look their keys up anew.
    MemberChanged(MembershipId),
}

/// One entry of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Where it stands.
    pub sequence: Sequence,
    /// What it says.
    pub kind: ChangeKind,
    /// When it was written, on the store's wall clock: for people, and for nothing else.
    pub at: Timestamp,
}

impl ChangeKind {
    /// Whether it takes a right away. The others only make memories stale.
    pub const fn revokes(&self) -> bool {
        match self {
            Self::KeyRevoked(_) | Self::MemberRemoved(_) | Self::EverythingRevoked(_) => true,
            Self::KeyCreated(_) | Self::MemberChanged(_) => false,
        }
    }
}
