//! What is sent: the words of the model, as JSON. Times are RFC 3339 in UTC with milliseconds.

use serde::Serialize;
use utoipa::ToSchema;

use super::etag::Tagged;
use crate::invalidation::receipt::{InstanceReceipt, Receipt};
use crate::model::clock::Timestamp;
use crate::model::member::{Invitation, Member};
use crate::model::scope::Scope;
use crate::store::{KeyTraffic, ListedKey, ListedMember, Overlap, RevokedEverything};

/// A key, everything but the key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Key {
    /// Names it without being it.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// Prefix and last four characters.
    pub hint: String,
    /// Whose it is.
    pub owner: Owner,
    /// Whether its creator had proven the owner's address, as upstreams see it. False for a service account.
    /// A person's key without that manages nothing once the address is proven.
    pub email_verified: bool,
    /// What it may be used for: `api`, `mcp`, `manage`.
    pub scopes: Vec<&'static str>,
    /// `live`, `expired` or `revoked`.
    pub state: &'static str,
    /// When it was made.
    pub created_at: String,
    /// From when on it is refused; null: it does not expire.
    pub expires_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// The key that takes its place, and when it ends.
    pub rotation: Option<Rotation>,
    /// The key whose place it takes.
    pub predecessor: Option<String>,
    /// The key with which it was made; null: a session or the command line made it.
    pub parent: Option<String>,
    /// Its last use that a gateway has reported. Gateways report every few seconds.
    pub last_used_at: Option<String>,
}

impl Tagged for Key {
    fn parts(&self) -> impl Serialize {
        (
            &self.id,
            &self.name,
            &self.expires_at,
            &self.revoked_at,
            self.email_verified,
        )
    }
}

/// The use of a key, as gateways have reported it. Reports are some seconds old.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Usage {
    /// When it was last used.
    pub last_used_at: Option<String>,
    /// From where.
    pub last_address: Option<String>,
    /// What the client called itself (`User-Agent`).
    pub last_client: Option<String>,
    /// Requests accepted in the last 24 hours.
    pub requests_24h: u64,
    /// Requests and streams that are open now: revoking the key cuts them.
    pub open_requests: u64,
}

impl From<KeyTraffic> for Usage {
    fn from(traffic: KeyTraffic) -> Self {
        Self {
            last_used_at: traffic.last_used_at.map(Timestamp::with_millis),
            last_address: traffic.last_address,
            last_client: traffic.last_client,
            requests_24h: traffic.requests_24h,
            open_requests: traffic.open_requests,
        }
    }
}

/// A person or a service account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Owner {
    /// Of the membership.
    pub id: String,
    /// `person` or `service_account`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The address; of a service account one that nobody reads.
    pub email: String,
}

/// A key that is being replaced.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rotation {
    /// The key that takes its place.
    pub successor: String,
    /// When the old one ends; or null:
    pub ends_at: Option<String>,
    /// it ends when nobody has used it for so many seconds.
    pub silent_s: Option<u64>,
}

impl Key {
    /// As it stands at `now`.
    pub(super) fn new(listed: ListedKey, now: Timestamp) -> Self {
        let ListedKey {
            key,
            owner_name,
            owner_kind,
            rotation,
            predecessor,
            last_used_at,
        } = listed;
        Self {
            state: key.state(now).as_str(),
            id: key.id.to_string(),
            name: key.name.to_string(),
            hint: key.hint,
            owner: Owner {
                id: key.membership_id.to_string(),
                kind: owner_kind.as_str(),
                name: owner_name.to_string(),
                email: key.email.to_string(),
            },
            email_verified: key.email_verified,
            scopes: key.scopes.iter().map(Scope::as_str).collect(),
            created_at: key.created_at.with_millis(),
            expires_at: key.expires_at.map(Timestamp::with_millis),
            revoked_at: key.revoked_at.map(Timestamp::with_millis),
            rotation: rotation.map(|rotation| Rotation {
                successor: rotation.successor.to_string(),
                ends_at: match rotation.overlap {
                    Overlap::Until(end) => Some(end.with_millis()),
                    Overlap::UntilIdleFor(_) => None,
                },
                silent_s: match rotation.overlap {
                    Overlap::Until(_) => None,
                    Overlap::UntilIdleFor(silence) => Some(silence.as_secs()),
                },
            }),
            predecessor: predecessor.map(|id| id.to_string()),
            parent: key.parent_id.map(|id| id.to_string()),
            last_used_at: last_used_at.map(Timestamp::with_millis),
        }
    }
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewKey {
    /// The key.
    #[serde(flatten)]
    pub key: Key,
    /// Its text: shown this once, kept nowhere. Null where the creation is repeated under the same
    /// idempotency key: it was shown then.
    pub secret: Option<String>,
}

/// A member or a service account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberResponse {
    /// Of the membership: somebody who leaves and comes back gets another.
    pub id: String,
    /// Of the person.
    pub user_id: String,
    /// `person` or `service_account`.
    pub kind: &'static str,
    /// The address.
    pub email: String,
    /// Whether it has been proven, by an identity provider or the operator. Who came by an invitation link alone
    /// is a user of this organization alone until then.
    pub email_verified: bool,
    /// The name.
    pub name: String,
    /// `owner`, `admin` or `member`.
    pub role: &'static str,
    /// When the membership began.
    pub created_at: String,
}

impl Tagged for MemberResponse {
    fn parts(&self) -> impl Serialize {
        (
            &self.id,
            &self.role,
            &self.name,
            &self.email,
            &self.user_id,
            self.email_verified,
        )
    }
}

impl From<Member> for MemberResponse {
    fn from(member: Member) -> Self {
        Self {
            id: member.membership_id.to_string(),
            user_id: member.user_id.to_string(),
            kind: member.kind.as_str(),
            email: member.email.to_string(),
            email_verified: member.email_verified,
            name: member.name.to_string(),
            role: member.role.as_str(),
            created_at: member.created_at.with_millis(),
        }
    }
}

/// A member in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberWithKeys {
    /// The member.
    #[serde(flatten)]
    pub member: MemberResponse,
    /// How many keys of theirs are not revoked.
    pub keys: u64,
}

impl From<ListedMember> for MemberWithKeys {
    fn from(listed: ListedMember) -> Self {
        Self {
            member: listed.member.into(),
            keys: listed.keys,
        }
    }
}

/// Somebody who may become a member.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InvitationResponse {
    /// Names it; lets nobody in.
    pub id: String,
    /// Whom.
    pub email: String,
    /// What they are called.
    pub name: String,
    /// What they will be.
    pub role: &'static str,
    /// By whom.
    pub invited_by: String,
    /// The key with which they did; null: a session or the command line.
    pub made_with: Option<String>,
    /// Whether that key has been ended, or may manage no more: the link opens nothing.
    pub void: bool,
    /// When.
    pub created_at: String,
    /// Until when the link works: no longer than the key with which it was made.
    pub expires_at: String,
}

impl From<Invitation> for InvitationResponse {
    fn from(invitation: Invitation) -> Self {
        Self {
            id: invitation.id.to_string(),
            email: invitation.email.to_string(),
            name: invitation.name.to_string(),
            role: invitation.role.as_str(),
            invited_by: invitation.invited_by,
            made_with: invitation.made_with.map(|id| id.to_string()),
            void: invitation.is_void,
            created_at: invitation.created_at.with_millis(),
            expires_at: invitation.expires_at.with_millis(),
        }
    }
}

/// An invitation that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewInvitation {
    /// The invitation.
    #[serde(flatten)]
    pub invitation: InvitationResponse,
    /// The link for whom is invited: shown this once, works once.
    pub link: String,
}

/// Which gateways confirmed a revocation, and when.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReceiptResponse {
    /// The revocation's place in the log.
    pub sequence: u64,
    /// True: it cannot be undone.
    pub committed: bool,
    /// When the wait began, right after the commit.
    pub committed_at: Option<String>,
    /// When the last gateway confirmed it: no request that begins later is accepted. Null: it was not waited for.
    pub confirmed_at: Option<String>,
    /// The gateways, in the order in which they confirmed it.
    pub instances: Vec<InstanceResponse>,
    /// How many open requests and streams it ended.
    pub streams_cut: u64,
    /// When what was revoked was last accepted, as far as a gateway remembers.
    pub last_accepted_at: Option<String>,
    /// What was ended, where it was more than one key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// How much a revocation ended. Null: it was not to end that.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ended {
    /// Keys that were not revoked before.
    pub keys: u64,
    /// Sessions of the console.
    pub sessions: Option<u64>,
    /// Links that would have begun one.
    pub sign_in_links: Option<u64>,
    /// Invitations.
    pub invitations: Option<u64>,
}

impl Ended {
    /// Keys alone.
    pub(super) const fn keys(keys: u64) -> Self {
        Self {
            keys,
            sessions: None,
            sign_in_links: None,
            invitations: None,
        }
    }
}

impl From<RevokedEverything> for Ended {
    fn from(revoked: RevokedEverything) -> Self {
        let access = revoked.access;
        Self {
            keys: revoked.keys,
            sessions: access.map(|ended| ended.sessions),
            sign_in_links: access.map(|ended| ended.sign_in_links),
            invitations: access.map(|ended| ended.invitations),
        }
    }
}

/// One gateway's line.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InstanceResponse {
    /// The process.
    pub id: String,
    /// `acknowledged`; `fenced`: it answers 503 until it has caught up; `deregistered`: it ended.
    pub result: &'static str,
    /// Milliseconds after the wait began.
    pub after_ms: u64,
    /// How many open requests and streams it ended.
    pub streams_cut: u64,
    /// When it last accepted what was revoked.
    pub last_accepted_at: Option<String>,
}

impl From<InstanceReceipt> for InstanceResponse {
    fn from(one: InstanceReceipt) -> Self {
        Self {
            id: one.id.to_string(),
            result: one.outcome.as_str(),
            after_ms: one.after_ms,
            streams_cut: one.streams_cut,
            last_accepted_at: one.last_accepted_at.map(Timestamp::with_millis),
        }
    }
}

impl From<Receipt> for ReceiptResponse {
    fn from(receipt: Receipt) -> Self {
        Self {
            sequence: receipt.sequence.get(),
            committed: true,
            committed_at: Some(receipt.committed_at.with_millis()),
            confirmed_at: Some(receipt.confirmed_at.with_millis()),
            instances: receipt.instances.into_iter().map(Into::into).collect(),
            streams_cut: receipt.streams_cut,
            last_accepted_at: receipt.last_accepted_at.map(Timestamp::with_millis),
            ended: None,
        }
    }
}
