//! Why a management rule said no: what happened, and what to do.

use crate::invalidation::receipt::SettleError;
use crate::model::id::{KeyId, OrganizationId};
use crate::model::member::{EmailAddress, Name, Organization};
use crate::store::StoreError;

/// Why something was not done, or not known to be done everywhere.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The store refused, or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Done, and not confirmed by every gateway.
    #[error(transparent)]
    Unsettled(#[from] SettleError),
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
    /// Neither a name nor an id of an organisation.
    #[error("no organisation is called `{0}`: `genkan organizations list` shows them")]
    UnknownOrganization(String),
    /// There is none at all.
    #[error("there is no organisation yet: `genkan organizations create NAME` makes the first")]
    NoOrganization,
    /// Several would fit.
    #[error("there are several organisations; say which with --organization: {}", names(.0))]
    WhichOrganization(Vec<Organization>),
    /// An id that the store does not know.
    #[error("no key has the id {0}: `genkan keys list --all` shows every key")]
    UnknownKey(KeyId),
    /// A key that would be dead from the start.
    #[error("the expiry lies in the past: give a time to live from now, such as 90d")]
    ExpiresInThePast,
    /// A key that could be used for nothing.
    #[error("a key needs at least one scope: api, mcp or manage")]
    NoScope,
    /// The first member must be able to manage the others.
    #[error(
        "the first member of {0} must be an owner: an organisation always has one. Use --role owner"
    )]
    FirstMustOwn(OrganizationId),
}

fn names(organizations: &[Organization]) -> String {
    organizations
        .iter()
        .map(|one| format!("{} ({})", one.name, one.id))
        .collect::<Vec<_>>()
        .join(", ")
}
