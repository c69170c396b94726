//! What management asks with, and is answered with.

use std::time::Duration;

use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::{KeyId, MembershipId, OrganizationId, SessionId, UserId};
use crate::model::key::{Key, KeyHash};
use crate::model::member::{EmailAddress, Member, MemberKind, Name, Proof, Role};

/// Which keys a list should have.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyFilter {
    /// Only those of this organisation.
    pub organization_id: Option<OrganizationId>,
    /// Only those of this stay.
    pub membership_id: Option<MembershipId>,
    /// Also those that are revoked.
    pub revoked_too: bool,
}

/// A part of a list that goes by id, newest first.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<I> {
    /// The last of the page before; none: from the newest.
    pub after: Option<I>,
    /// At most so many.
    pub limit: u32,
}

/// Whose keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of everybody in an organisation, service accounts included.
    Organization(OrganizationId),
    /// Of one stay.
    Membership(MembershipId),
}

/// A page of keys.
#[derive(Debug, Clone, Copy)]
pub struct KeyPage {
    /// Whose.
    pub whose: Whose,
    /// Only those that were made with a key of this chain ([`Key::chain_id`]).
    pub parent: Option<KeyId>,
    /// Also those that are revoked.
    pub revoked_too: bool,
    /// Which part.
    pub page: PageRequest<KeyId>,
}

/// How long an old key goes on beside its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Until this moment.
    Until(Timestamp),
    /// Until nobody has used it for so long.
    UntilSilentFor(Duration),
}

/// A key that is being replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The key that takes its place.
    pub successor: KeyId,
    /// When it ends.
    pub overlap: Overlap,
}

/// A key with what a list says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// The key.
    pub key: Key,
    /// Its owner's name.
    pub owner_name: Name,
    /// Whether a person owns it.
    pub owner_kind: MemberKind,
    /// What takes its place.
    pub rotation: Option<Rotation>,
    /// Whose place it takes.
    pub predecessor: Option<KeyId>,
    /// When a gateway last told that it was used.
    pub last_used_at: Option<Timestamp>,
}

/// What a key is used for, as far as gateways have told: some seconds ago.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyTraffic {
    /// When it was last used; none: never, or before this was noted.
    pub last_used_at: Option<Timestamp>,
    /// From where.
    pub last_address: Option<String>,
    /// What the client called itself; empty: nothing.
    pub last_client: Option<String>,
    /// Requests accepted in the last 24 hours, this one included.
    pub requests_24h: u64,
    /// Requests and streams that are open now.
    pub open_requests: u64,
}

/// A member with what a list says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedMember {
    /// The member.
    pub member: Member,
    /// How many of their keys are not revoked.
    pub keys: u64,
}

/// A role given or taken.
#[derive(Debug, Clone, Copy)]
pub struct RoleChange {
    /// Whose.
    pub membership: MembershipId,
    /// The role that the caller saw; [`StoreError::Conflict`](super::StoreError::Conflict) when it is another by now.
    pub from: Role,
    /// The role to be.
    pub to: Role,
}

/// By which a creation that is sent twice is done once (`Idempotency-Key`).
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// What the client calls this request.
    pub key: String,
    /// Of everything that the request asks for: another request under the same key is an error.
    pub request: KeyHash,
}

/// What came of a creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It was done; its place in the log.
    Now(Sequence),
    /// It had been done before, and this is the id of what was made then.
    Before(String),
}

/// A browser that is about to be signed in.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its name.
    pub id: SessionId,
    /// Of the secret that it holds.
    pub token_hash: KeyHash,
    /// What was proven by signing in.
    pub proof: Proof,
    /// The id of the address's verified user, should this sign-in be what makes them.
    pub user_id: UserId,
    /// The session of the same browser whose place it takes: that one must still be there, ends with it, and
    /// hands its age on.
    pub replaces: Option<SessionId>,
    /// The session of the same browser, of somebody else or without the proof, that is left by taking up an
    /// invitation: it ends, if it has not, and hands nothing on.
    pub leaves: Option<SessionId>,
    /// Sessions that began before are over anyway, and are forgotten.
    pub forget_before: Timestamp,
}

/// A signed-in browser, of a member who is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Who it is.
    pub member: Member,
    /// What they proved by signing in.
    pub proof: Proof,
    /// When they signed in.
    pub created_at: Timestamp,
    /// When it was last seen, to the minute.
    pub seen_at: Timestamp,
}

/// A page of the audit log, oldest first.
#[derive(Debug, Clone, Copy)]
pub struct AuditPage {
    /// Only of this organisation.
    pub organization: Option<OrganizationId>,
    /// Which part: after this place.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
}

/// Whose ways into the console are meant: sessions, and links that begin one.
#[derive(Debug, Clone)]
pub struct AccessFilter {
    /// Only those in this organization. When these are ended for everybody, a session that began before in another
    /// one cannot switch to it any more.
    pub organization: Option<OrganizationId>,
    /// Only those of this address.
    pub email: Option<EmailAddress>,
    /// A session that began no later is over anyway: it is not listed, and not counted.
    pub began_after: Timestamp,
    /// Nor is one that was last seen no later.
    pub seen_after: Timestamp,
}

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSession {
    /// The session.
    pub session: Session,
    /// From where it began, if that is known.
    pub address: Option<String>,
}

/// How many ways in were ended that were open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndedAccess {
    /// Sessions of the console.
    pub sessions: u64,
    /// Links that would have begun one.
    pub sign_in_links: u64,
    /// Invitations.
    pub invitations: u64,
}

/// What revoking everything left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedEverything {
    /// Every instance must have applied the log up to here.
    pub sequence: Sequence,
    /// How many keys this call ended.
    pub keys: u64,
    /// Which ways in it ended; none: they were to stay open.
    pub access: Option<EndedAccess>,
}

/// What was written of the rows that a mark of revoking everything covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked {
    /// There is no mark.
    Nothing,
    /// Some rows. The next call is to go on below the last.
    Rows {
        /// How many.
        written: usize,
        /// The lowest id of them; plain SQL may have made one that is no id of genkan's.
        last: String,
    },
    /// None below the id, and some above it that others added: the next call is to begin anew.
    FromTheTop,
    /// The last row of a mark was written before. There may be another mark.
    MarkDone,
}

/// Which of the keys that come from a key are ended with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All; where a live one of them has another owner than the key, none.
    OwnersAlone,
    /// All, whose ever they are.
    Everybodys,
}

/// Live keys that come from a key: made with one of its chain, or with one of those, and so on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Descendants {
    /// How many.
    pub live: u64,
    /// How many of them have another owner than the key itself.
    pub of_others: u64,
}

/// A key that was ended together with those that come from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedFamily {
    /// The first of the log entries that it took, one for each key.
    pub first: Sequence,
    /// The last of them: every instance must have applied the log up to here.
    pub sequence: Sequence,
    /// How many keys this call ended; 0: they were revoked before.
    pub keys: u64,
}
