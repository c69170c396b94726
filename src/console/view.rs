//! What templates show: the words of the model, ready to be read.

use super::page::{Page, moment};
use crate::invalidation::receipt::Receipt;
use crate::model::clock::Timestamp;
use crate::model::key::KeyState;
use crate::model::member::{Invitation, MemberKind, Role};
use crate::model::scope::Scope;
use crate::store::{KeyTraffic, ListedKey, ListedMember, Overlap};

/// A key in a list.
pub(super) struct KeyRow {
    pub id: String,
    pub name: String,
    pub hint: String,
    pub owner: String,
    pub email: String,
    pub of_service_account: bool,
    /// Made by a person who had not proven the address.
    pub unverified: bool,
    pub scopes: String,
    pub created: String,
    pub expires: String,
    pub last_used: String,
    /// `live`, `expired` or `revoked`.
    pub state: &'static str,
    pub can_end: bool,
    pub note: Option<String>,
}

impl KeyRow {
    pub(super) fn new(listed: &ListedKey, page: &Page, now: Timestamp) -> Self {
        let key = &listed.key;
        let never = || page.text("common.never");
        let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
        let state = key.state(now);
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            hint: key.hint.clone(),
            owner: listed.owner_name.to_string(),
            email: key.email.to_string(),
            of_service_account: listed.owner_kind == MemberKind::ServiceAccount,
            unverified: listed.owner_kind == MemberKind::Person && !key.email_verified,
            scopes: scopes.join(", "),
            created: moment(key.created_at),
            expires: key.expires_at.map_or_else(never, moment),
            last_used: listed.last_used_at.map_or_else(never, moment),
            state: state.as_str(),
            can_end: state != KeyState::Revoked,
            note: listed.rotation.map(|rotation| {
                let end = match rotation.overlap {
                    Overlap::Until(end) => moment(end),
                    Overlap::UntilIdleFor(silence) => format!("{} h", silence.as_secs() / 3_600),
                };
                page.text_with("keys.successor", "end", &end)
            }),
        }
    }
}

/// What a key is used for: who would notice its end.
pub(super) struct TrafficView {
    pub last_used: Option<String>,
    pub address: String,
    pub client: String,
    pub requests_24h: u64,
    pub open_requests: u64,
}

impl From<KeyTraffic> for TrafficView {
    fn from(traffic: KeyTraffic) -> Self {
        Self {
            last_used: traffic.last_used_at.map(moment),
            address: traffic.last_address.unwrap_or_default(),
            client: traffic.last_client.unwrap_or_default(),
            requests_24h: traffic.requests_24h,
            open_requests: traffic.open_requests,
        }
    }
}

/// A member in a list.
pub(super) struct MemberRow {
    pub id: String,
    pub name: String,
    pub email: String,
    /// Nobody has proven the address.
    pub unverified: bool,
    pub role: Role,
    pub keys: u64,
    pub created: String,
    pub is_you: bool,
    /// Whether the viewer may change them.
    pub manageable: bool,
}

impl MemberRow {
    pub(super) fn new(listed: &ListedMember, page: &Page) -> Self {
        let member = &listed.member;
        let viewer = page.who.as_ref();
        let manages = |role: Role| {
            viewer.is_some_and(|viewer| {
                crate::service::access::Permission::to_manage(&[role]).is_given_to(viewer.role)
            })
        };
        Self {
            id: member.membership_id.to_string(),
            name: member.name.to_string(),
            email: member.email.to_string(),
            unverified: member.kind == MemberKind::Person && !member.email_verified,
            role: member.role,
            keys: listed.keys,
            created: moment(member.created_at),
            is_you: viewer.is_some_and(|viewer| viewer.membership_id == member.membership_id),
            manageable: manages(member.role),
        }
    }
}

/// An open invitation in a list.
pub(super) struct InvitationRow {
    pub id: String,
    pub name: String,
    pub email: String,
    pub role: Role,
    pub invited_by: String,
    pub expires: String,
    pub is_over: bool,
}

impl InvitationRow {
    pub(super) fn new(invitation: Invitation, now: Timestamp) -> Self {
        Self {
            is_over: !invitation.is_open(now),
            id: invitation.id.to_string(),
            name: invitation.name.to_string(),
            email: invitation.email.to_string(),
            role: invitation.role,
            invited_by: invitation.invited_by,
            expires: moment(invitation.expires_at),
        }
    }
}

/// A receipt.
pub(super) struct ReceiptView {
    pub committed_at: String,
    pub confirmed_at: String,
    pub took_ms: u64,
    pub streams_cut: u64,
    pub last_accepted: Option<String>,
    pub instances: Vec<InstanceRow>,
}

/// A gateway's line of a receipt.
pub(super) struct InstanceRow {
    pub id: String,
    /// `acknowledged`, `fenced` or `deregistered`.
    pub result: &'static str,
    pub after_ms: u64,
    pub streams_cut: u64,
}

impl From<Receipt> for ReceiptView {
    fn from(receipt: Receipt) -> Self {
        let instances: Vec<_> = receipt
            .instances
            .into_iter()
            .map(|one| InstanceRow {
                id: one.id.to_string(),
                result: one.outcome.as_str(),
                after_ms: one.after_ms,
                streams_cut: one.streams_cut,
            })
            .collect();
        Self {
            committed_at: receipt.committed_at.with_millis(),
            confirmed_at: receipt.confirmed_at.with_millis(),
            took_ms: instances.iter().map(|one| one.after_ms).max().unwrap_or(0),
            streams_cut: receipt.streams_cut,
            last_accepted: receipt.last_accepted_at.map(Timestamp::with_millis),
            instances,
        }
    }
}
