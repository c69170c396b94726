//! What a member does, within their role: every method asks [`Permission`] first, and the store asks once
//! more, in the transaction.
//!
//! What is not in the member's own organization, or not for their role to know of, does not exist for
//! them: a guessed id is answered like an absent one.

mod keys;
mod organizations;
mod people;
mod revocations;

use std::net::IpAddr;

use super::access::Permission;
use super::{Service, ServiceError};
use crate::invalidation::receipt::Receipt;
use crate::model::audit::{Actor, AuditContext, AuthMethod, Entry};
use crate::model::member::{Member, Proof};
use crate::service::Revocation;
use crate::store::{Instances, PageRequest};

pub use super::rotation::{IDLE_TIME_MIN, OVERLAP_MAX, RotationOverlap};
pub use super::service_accounts::NewServiceAccount;
pub use keys::{CreatedKey, NewOwnKey};
pub use organizations::OtherMembership;
pub use people::{INVITATION_LIFETIME, NewInvitation};

/// A member who is about to do something.
#[derive(Clone)]
pub struct MemberContext {
    pub(super) service: Service,
    /// Who it is, as the store had it when they were let in.
    member: Member,
    auth_method: AuthMethod,
    /// What was proven by signing in; of a key, by its creator.
    proof: Proof,
    address: Option<IpAddr>,
}

/// A part of a list, and whether there is more.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The part.
    pub items: Vec<T>,
    /// Whether something comes after it.
    pub more: bool,
}

impl<T> Page<T> {
    /// From what was found when one more was asked for than is wanted.
    fn of(mut found: Vec<T>, wanted: u32) -> Self {
        let more = found.len() > wanted as usize;
        found.truncate(wanted as usize);
        Self { items: found, more }
    }
}

/// The same part, and one more: so it is known whether there is more.
const fn and_one_more<I: Copy>(page: PageRequest<I>) -> PageRequest<I> {
    PageRequest {
        after: page.after,
        limit: page.limit.saturating_add(1),
    }
}

impl MemberContext {
    /// A member, let in by `auth_method`.
    pub(super) fn new(
        service: Service,
        member: Member,
        (auth_method, proof): (AuthMethod, Proof),
        address: Option<IpAddr>,
    ) -> Self {
        Self {
            service,
            member,
            auth_method,
            proof,
            address,
        }
    }

    /// Who it is.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// By which means.
    pub fn auth_method(&self) -> AuthMethod {
        self.auth_method
    }

    /// What they proved.
    pub fn proof(&self) -> Proof {
        self.proof
    }

    /// Whether the member's address is theirs for certain: it was proven, and by this very session or key.
    pub fn has_proven_address(&self) -> bool {
        self.member.email_verified && self.proof.is_of_address()
    }

    /// Whether their role allows it.
    pub fn may(&self, permission: Permission) -> bool {
        permission.is_given_to(self.member.role)
    }

    fn allow(&self, permission: Permission) -> Result<(), ServiceError> {
        if self.may(permission) {
            Ok(())
        } else {
            Err(ServiceError::NotAllowed(permission))
        }
    }

    pub(super) fn audit_context(&self) -> AuditContext {
        AuditContext {
            at: self.service.clock.now(),
            actor: Actor::member(&self.member),
            auth_method: self.auth_method,
            address: self.address,
        }
    }

    /// Waits until every gateway has acknowledged it, and writes the receipt to the audit log.
    ///
    /// # Errors
    /// [`ServiceError::Unconfirmed`]: committed, and not confirmed.
    pub async fn wait_for_acknowledgements(
        &self,
        revocation: Revocation,
    ) -> Result<Receipt, ServiceError> {
        self.service
            .confirm_as(revocation, &self.audit_context())
            .await
    }

    /// The organization's audit log, newest first.
    pub async fn audit(&self, page: PageRequest<i64>) -> Result<Page<Entry>, ServiceError> {
        self.allow(Permission::ReadAudit)?;
        let organization = self.member.organization_id;
        let store = &self.service.store;
        let found = store.newest_audit(organization, and_one_more(page)).await?;
        Ok(Page::of(found, page.limit))
    }

    /// Every gateway, and how far it follows.
    pub async fn instances(&self) -> Result<Instances, ServiceError> {
        self.allow(Permission::SeeStatus)?;
        Ok(self.service.store.instances().await?)
    }
}
