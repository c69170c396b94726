//! Who calls: what a look-up yields for a key that opens.

use super::clock::Timestamp;
use super::id::{KeyId, MembershipId, OrganizationId, UserId};
use super::key::Key;
use super::member::EmailAddress;
use super::refusal::Refusal;
use super::scope::Scopes;

/// The caller, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key that was presented.
    pub key_id: KeyId,
    /// The organization in which it acts.
    pub organization_id: OrganizationId,
    /// The membership by which it lives.
    pub membership_id: MembershipId,
    /// The person behind it.
    pub user_id: UserId,
    /// That person's address.
    pub email: EmailAddress,
    /// Whether the key's creator had proven that address.
    pub email_verified: bool,
    /// The first key of the key's rotations: what a session that outlives a rotation is bound to.
    pub chain_id: KeyId,
    /// What the key may be used for.
    pub scopes: Scopes,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Whether it is refused then because a rotation replaced it.
    pub is_replaced: bool,
}

impl Principal {
    /// Why the key is refused at `now` by its date. `None`: it is not.
    pub fn expiry(&self, now: Timestamp) -> Option<Refusal> {
        let end = self.expires_at?;
        (end <= now).then_some(if self.is_replaced {
            Refusal::KeyReplaced
        } else {
            Refusal::KeyExpired
        })
    }
}

impl From<Key> for Principal {
    fn from(key: Key) -> Self {
        Self {
            key_id: key.id,
            organization_id: key.organization_id,
            membership_id: key.membership_id,
            user_id: key.user_id,
            email: key.email,
            email_verified: key.email_verified,
            chain_id: key.chain_id,
            scopes: key.scopes,
            expires_at: key.expires_at,
            is_replaced: key.is_replaced,
        }
    }
}
