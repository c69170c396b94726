//! Service accounts: members whose only way in is their keys.

use super::{Service, ServiceError};
use crate::model::audit::AuditContext;
use crate::model::id::{MembershipId, OrganizationId, UserId};
use crate::model::member::{EmailAddress, Member, MemberKind, Name, Role, SERVICE_ACCOUNT_DOMAIN};
use crate::store::{Conflict, Created, Idempotency, StoreError};

/// The properties of a new service account.
#[derive(Debug, Clone)]
pub struct NewServiceAccount {
    /// What it is called; unique among the service accounts of an organization.
    pub name: Name,
    /// What its keys may manage. Never owner.
    pub role: Role,
}

impl Service {
    /// Makes a service account, by the operator. `organization`: by name or id; needed where there are several.
    ///
    /// # Errors
    /// Another one of the organization has this name or one that looks like it, or the role is owner.
    pub async fn create_service_account(
        &self,
        new: NewServiceAccount,
        organization: Option<&str>,
    ) -> Result<Member, ServiceError> {
        let organization = self.find_organization(organization).await?;
        let (account, _created) = self
            .add_service_account(organization.id, new, None, &self.audit_context())
            .await?;
        Ok(account)
    }

    /// The present service accounts, oldest first; of one organization or of all.
    pub async fn service_accounts(
        &self,
        organization: Option<&str>,
    ) -> Result<Vec<Member>, ServiceError> {
        let mut members = self.members(organization).await?;
        members.retain(|one| one.kind == MemberKind::ServiceAccount);
        Ok(members)
    }

    /// Adds one to an organization; its id too, which is another's if the idempotency key was used before.
    pub(super) async fn add_service_account(
        &self,
        organization_id: OrganizationId,
        new: NewServiceAccount,
        idempotency: Option<&Idempotency>,
        audit_context: &AuditContext,
    ) -> Result<(Member, MembershipId), ServiceError> {
        if new.role == Role::Owner {
            return Err(ServiceError::ServiceAccountOwns);
        }
        let user_id = UserId::generate(audit_context.at, &*self.entropy);
        let account = Member {
            membership_id: MembershipId::generate(audit_context.at, &*self.entropy),
            organization_id,
            user_id,
            email: address_of(user_id)?,
            email_verified: false,
            name: new.name,
            kind: MemberKind::ServiceAccount,
            role: new.role,
            created_at: audit_context.at,
        };
        let adding = self
            .store
            .add_service_account(&account, idempotency, audit_context);
        let id = match adding.await? {
            Created::Now(_sequence) => account.membership_id,
            Created::Before(id) => id
                .parse()
                .map_err(|_other| StoreError::Conflict(Conflict::IdempotencyKeyReused))?,
        };
        Ok((account, id))
    }
}

/// What upstreams see instead of a person's e-mail address. `.invalid` belongs to nobody (RFC 2606 §2).
fn address_of(user: UserId) -> Result<EmailAddress, ServiceError> {
    let address = format!("{user}@{SERVICE_ACCOUNT_DOMAIN}");
    address.parse().map_err(|_unlikely| {
        ServiceError::Store(StoreError::Corrupt("an id is no address".to_owned()))
    })
}
