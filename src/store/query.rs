//! Parameters and results of management's queries.

use std::time::Duration;

use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::{KeyId, MembershipId, OrganizationId, SessionId, UserId};
use crate::model::key::{Key, KeyHash};
use crate::model::member::{EmailAddress, Member, MemberKind, Name, Proof, Role};

/// Selects the keys of a list.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyFilter {
    /// Only keys of this organization.
    pub organization_id: Option<OrganizationId>,
    /// Only keys of this membership.
    pub membership_id: Option<MembershipId>,
    /// Also revoked keys.
    pub include_revoked: bool,
}

/// A page of a list that is ordered by id, the newest first.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<I> {
    /// The last id of the page before. `None` is the first page.
    pub after: Option<I>,
    /// The most rows that are returned.
    pub limit: u32,
}

/// The owner by which keys are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOwner {
    /// Everybody in an organization, service accounts included.
    Organization(OrganizationId),
    /// One membership.
    Membership(MembershipId),
}

/// A page of keys.
#[derive(Debug, Clone, Copy)]
pub struct KeyPage {
    /// The owner of the keys.
    pub whose: KeyOwner,
    /// Only keys that were created with a key of this chain ([`Key::chain_id`]).
    pub parent: Option<KeyId>,
    /// Also revoked keys.
    pub include_revoked: bool,
    /// The page.
    pub page: PageRequest<KeyId>,
}

/// How long a rotated key stays valid beside its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Until this moment.
    Until(Timestamp),
    /// Until it has not been used for this time.
    UntilIdleFor(Duration),
}

/// The rotation of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The new key.
    pub successor: KeyId,
    /// How long the old key stays valid.
    pub overlap: Overlap,
}

/// A key with the facts that a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// The key.
    pub key: Key,
    /// Its owner's name.
    pub owner_name: Name,
    /// Whether its owner is a person or a service account.
    pub owner_kind: MemberKind,
    /// Its rotation, if it is being replaced.
    pub rotation: Option<Rotation>,
    /// The key that it replaces.
    pub predecessor: Option<KeyId>,
    /// Its last use that a gateway has reported.
    pub last_used_at: Option<Timestamp>,
}

/// The use of a key, as gateways have reported it. Reports are some seconds old.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyTraffic {
    /// Its last use. `None`: it was never used, or only before uses were recorded.
    pub last_used_at: Option<Timestamp>,
    /// The client's network address at the last use.
    pub last_address: Option<String>,
    /// The client's `User-Agent` at the last use; empty if it sent none.
    pub last_client: Option<String>,
    /// Requests accepted in this hour and the 23 hours before.
    pub requests_24h: u64,
    /// Requests and streams that are open now.
    pub open_requests: u64,
}

/// A member with the facts that a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedMember {
    /// The member.
    pub member: Member,
    /// The number of their keys that are not revoked.
    pub keys: u64,
}

/// A change of a member's role.
#[derive(Debug, Clone, Copy)]
pub struct RoleChange {
    /// The membership that changes.
    pub membership: MembershipId,
    /// The role that the caller saw. If it has changed since: [`StoreError::Conflict`](super::StoreError::Conflict).
    pub from: Role,
    /// The new role.
    pub to: Role,
}

/// Makes a creation that is sent twice happen once (header `Idempotency-Key`).
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// The value of the header.
    pub key: String,
    /// The hash of the request's content. Another content under the same key is an error.
    pub request: KeyHash,
}

/// The result of a creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It was done now, at this place in the log.
    Now(Sequence),
    /// It was done before; the id of what was created then.
    Before(String),
}

/// A session that is about to begin.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// The hash of the browser's secret.
    pub token_hash: KeyHash,
    /// What the sign-in proved.
    pub proof: Proof,
    /// The id of the verified user of the address, if this sign-in creates that user.
    pub user_id: UserId,
    /// The session of the same browser that this one replaces. It must still be open; it ends, and the new session
    /// keeps its age.
    pub replaces: Option<SessionId>,
    /// The session of the same browser, of another person or without the proof, that accepting an invitation ends. The
    /// new session keeps nothing of it.
    pub leaves: Option<SessionId>,
    /// Sessions that began before this time have expired; their rows are deleted.
    pub forget_before: Timestamp,
}

/// An open session of a present member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The member.
    pub member: Member,
    /// What the sign-in proved.
    pub proof: Proof,
    /// When it began.
    pub created_at: Timestamp,
    /// Its last request, to the minute.
    pub seen_at: Timestamp,
}

/// A page of the audit log, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct AuditPage {
    /// Only entries of this organization.
    pub organization: Option<OrganizationId>,
    /// Entries after this place in the audit log.
    pub after: i64,
    /// The most rows that are returned.
    pub limit: u32,
}

/// Selects sessions of the console, and sign-in links that have not been used.
#[derive(Debug, Clone)]
pub struct AccessFilter {
    /// Only those of this organization. When they are ended for everybody, a session that began before in another
    /// organization cannot switch to this one any more.
    pub organization: Option<OrganizationId>,
    /// Only those of this e-mail address.
    pub email: Option<EmailAddress>,
    /// Sessions that began at this time or before have expired: they are neither listed nor counted.
    pub began_after: Timestamp,
    /// The same for sessions whose last request was at this time or before.
    pub seen_after: Timestamp,
}

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSession {
    /// The session.
    pub session: Session,
    /// The network address from which it began, if that is known.
    pub address: Option<String>,
}

/// How many open sessions, links and invitations were ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndedAccess {
    /// Sessions of the console.
    pub sessions: u64,
    /// Sign-in links.
    pub sign_in_links: u64,
    /// Invitations.
    pub invitations: u64,
}

/// The result of revoking every key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedEverything {
    /// The place in the log that every instance must acknowledge.
    pub sequence: Sequence,
    /// The number of keys that this call revoked.
    pub keys: u64,
    /// The sessions, links and invitations that it ended. `None`: they were not to be ended.
    pub access: Option<EndedAccess>,
}

/// How far the rows are written that a mark covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkProgress {
    /// There is no mark.
    Nothing,
    /// Some rows were written. The next call continues below the last.
    Rows {
        /// Their number.
        written: usize,
        /// The lowest id of them. A key that plain SQL created may have any text as its id.
        last: String,
    },
    /// No row is left below the id, but others were added above it: the next call begins at the top.
    Restart,
    /// Every row of a mark is written, and the mark is deleted. There may be another mark.
    MarkDone,
}

/// Which descendants of a key are revoked with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All of them, but none if a live one has another owner than the key.
    OwnersAlone,
    /// All of them, of every owner.
    Everybodys,
}

/// Live descendants of a key: keys created with a key of its chain, keys created with those, and so on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Descendants {
    /// Their number.
    pub live: u64,
    /// The number of them that have another owner than the key.
    pub of_others: u64,
}

/// The result of revoking a key with its descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedFamily {
    /// The place of its first entry in the log; there is one entry for each key.
    pub first: Sequence,
    /// The place of its last entry, which every instance must acknowledge.
    pub sequence: Sequence,
    /// The number of keys that this call revoked; 0 if all were revoked before.
    pub keys: u64,
}
