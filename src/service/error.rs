//! Why a management rule said no: what happened, and what to do.

use super::access::Permission;
use crate::invalidation::receipt::ReceiptError;
use crate::model::id::{InvitationId, KeyId, MembershipId, OrganizationId, SessionId};
use crate::model::member::{EmailAddress, Name, Organization, Role};
use crate::model::scope::Scopes;
use crate::store::StoreError;

/// Why something was not done, or not known to be done everywhere.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The store refused, or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Done, and not confirmed by every gateway.
    #[error(transparent)]
    Unconfirmed(#[from] ReceiptError),
    /// Nobody has this address.
    #[error("no member has the address {0}: `genkan members add` adds one")]
    UnknownMember(EmailAddress),
    /// The address is a member elsewhere.
    #[error("{email} is no member of {organization}: `genkan members list` shows who is")]
    NotAMember {
        /// Who was named.
        email: EmailAddress,
        /// Where they were looked for.
        organization: Name,
    },
    /// Neither a name nor an id of an organization.
    #[error("no organization is called `{0}`: `genkan organizations list` shows them")]
    UnknownOrganization(String),
    /// There is none at all.
    #[error("there is no organization yet: `genkan organizations create NAME` makes the first")]
    NoOrganization,
    /// Several would fit.
    #[error("there are several organizations; say which with --organization: {}", names(.0))]
    WhichOrganization(Vec<Organization>),
    /// An id that the store does not know.
    #[error("no key has the id {0}: `genkan keys list --all` shows every key")]
    UnknownKey(KeyId),
    /// No session, open or ended, has this id; those that are long over are forgotten.
    #[error("no session has the id {0}: `genkan sessions list` shows those that are open")]
    UnknownSession(SessionId),
    /// Everything is revoked only for who names the organization.
    #[error("to revoke everything, name the organization exactly as it is called")]
    NotConfirmed,
    /// A key that would be dead from the start.
    #[error("the expiry lies in the past: give a time to live from now, such as 90d")]
    ExpiresInThePast,
    /// See [`KEY_LIFETIME_MAX`](super::KEY_LIFETIME_MAX).
    #[error(
        "a key is good for at most ten years (3650d): give a shorter time, or none for a key that does not \
         expire"
    )]
    ExpiresTooLate,
    /// A key that could be used for nothing.
    #[error("a key needs at least one scope: api, mcp or manage")]
    NoScope,
    /// A key that could do more than its owner.
    #[error("a key of {role} may be used for {}, and not for `{scopes}`", role.scopes_max())]
    ScopeBeyondRole {
        /// What the owner is.
        role: Role,
        /// What was asked for.
        scopes: Scopes,
    },
    /// The role does not allow it.
    #[error("your role does not allow this: {}", needed(*.0))]
    NotAllowed(Permission),
    /// Somebody else's key, which can be ended but not held.
    #[error(
        "{0} belongs to another person: you can end it, but only they can hold its successor or name it"
    )]
    NotYourKey(KeyId),
    /// No present member or service account of the organization.
    #[error("there is no member {0}")]
    NoSuchMember(MembershipId),
    /// Anybody who came by an invitation link has shown nothing but that link. Whether there is anything else to
    /// reach is not revealed.
    #[error(
        "this session has not proven its e-mail address: sign in by the identity provider, or ask the operator \
         for a link (`genkan sign-in-link`)"
    )]
    AddressNotProven,
    /// A live key without the scope `manage`.
    #[error(
        "this key may not be used for management: it needs the scope `manage`, and an owner whose role allows that"
    )]
    KeyManagesNothing,
    /// Anybody who made the key came by an invitation link, and may have been somebody else than who has proven the
    /// address since.
    #[error(
        "this key was made before its owner's e-mail address was proven, and manages nothing since: create \
         another"
    )]
    KeyBeforeProof,
    /// Not open, or not of the organization.
    #[error("there is no open invitation {0}")]
    NoSuchInvitation(InvitationId),
    /// An owner is a person.
    #[error("a service account can be a member or an admin, not an owner")]
    ServiceAccountOwns,
    /// A person, where a service account was to be named.
    #[error("{0} is a person: `genkan members remove` removes them")]
    NotAServiceAccount(EmailAddress),
    /// A service account has keys, and no way in.
    #[error("a service account does not sign in: its keys are its way in")]
    ServiceAccountSignsIn,
    /// The link does not work: used, withdrawn, expired, or never made.
    #[error(
        "this link does not work any more: links work once, and not for long. Ask for a new one"
    )]
    LinkUsed,
    /// Known to an identity provider, and to no organization.
    #[error("{0} is no member, and nobody has invited them")]
    NotInvited(EmailAddress),
    /// See [`OVERLAP_MAX`](super::OVERLAP_MAX).
    #[error("an old key goes on for at most 90 days beside its successor")]
    OverlapTooLong,
    /// See [`IDLE_TIME_MIN`](super::IDLE_TIME_MIN).
    #[error("an old key ends after a silence of at least one hour and at most 90 days")]
    IdleTimeOutOfBounds,
    /// The first member must be able to manage the others.
    #[error(
        "the first member of {0} must be an owner: an organization always has one. Use --role owner"
    )]
    FirstMustOwn(OrganizationId),
}

fn needed(permission: Permission) -> String {
    let roles = Role::ALL.map(|role| permission.is_given_to(role).then_some(role.as_str()));
    let roles: Vec<_> = roles.into_iter().flatten().collect();
    format!("it takes the role {}", roles.join(" or "))
}

fn names(organizations: &[Organization]) -> String {
    organizations
        .iter()
        .map(|one| format!("{} ({})", one.name, one.id))
        .collect::<Vec<_>>()
        .join(", ")
}
