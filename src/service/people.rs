//! Organizations and their members.

use super::{Service, ServiceError};
use crate::model::change::Sequence;
use crate::model::id::{MembershipId, OrganizationId, UserId};
use crate::model::member::{EmailAddress, Member, MemberKind, Name, Organization, Role};
use crate::service::Revocation;
use crate::store::RoleChange;

/// Whom to add, and where.
#[derive(Debug, Clone)]
pub struct NewMember {
    /// The person's address.
    pub email: EmailAddress,
    /// The person's name.
    pub name: Name,
    /// What they may do.
    pub role: Role,
    /// Name or id of the organization; needed where there are several.
    pub organization: Option<String>,
}

/// What the removal of a member left behind.
#[derive(Debug, Clone)]
pub struct RemovedMember {
    /// Who it was.
    pub member: Member,
    /// How many of their keys ended.
    pub keys: u64,
    /// Its place in the log, to be waited for.
    pub sequence: Sequence,
}

impl RemovedMember {
    /// The revocation, to be confirmed.
    pub fn revocation(&self) -> Revocation {
        Revocation {
            first: self.sequence,
            sequence: self.sequence,
            organization: Some(self.member.organization_id),
            repeated: false,
        }
    }
}

impl Service {
    /// Creates an organization. Its name must be free.
    pub async fn create_organization(&self, name: Name) -> Result<Organization, ServiceError> {
        let audit_context = self.audit_context();
        let organization = Organization {
            id: OrganizationId::generate(audit_context.at, &*self.entropy),
            name,
            created_at: audit_context.at,
        };
        self.store
            .create_organization(&organization, &audit_context)
            .await?;
        Ok(organization)
    }

    /// Every organization, oldest first.
    pub async fn organizations(&self) -> Result<Vec<Organization>, ServiceError> {
        Ok(self.store.organizations().await?)
    }

    /// The organization of that name or id; without one, the only one there is.
    pub async fn find_organization(
        &self,
        named: Option<&str>,
    ) -> Result<Organization, ServiceError> {
        let mut all = self.store.organizations().await?;
        match named {
            Some(text) => all
                .into_iter()
                .find(|one| one.name.is_meant_by(text) || one.id.to_string() == text)
                .ok_or_else(|| ServiceError::UnknownOrganization(text.to_owned())),
            None if all.len() > 1 => Err(ServiceError::WhichOrganization(all)),
            None => all.pop().ok_or(ServiceError::NoOrganization),
        }
    }

    /// Adds a member. The first of an organization must be an owner.
    pub async fn add_member(&self, new: NewMember) -> Result<Member, ServiceError> {
        if new.email.is_of_service_account() {
            return Err(ServiceError::ServiceAccountSignsIn);
        }
        let organization = self.find_organization(new.organization.as_deref()).await?;
        let present = self.store.members(Some(organization.id)).await?;
        if present.is_empty() && new.role != Role::Owner {
            return Err(ServiceError::FirstMustOwn(organization.id));
        }
        let audit_context = self.audit_context();
        let member = Member {
            membership_id: MembershipId::generate(audit_context.at, &*self.entropy),
            organization_id: organization.id,
            user_id: UserId::generate(audit_context.at, &*self.entropy),
            email: new.email,
            email_verified: true,
            name: new.name,
            kind: MemberKind::Person,
            role: new.role,
            created_at: audit_context.at,
        };
        Ok(self.store.add_member(&member, &audit_context).await?)
    }

    /// Gives a member another role. Committed when this returns; [`Service::wait_for_acknowledgements`] waits until
    /// every gateway has acknowledged it: a key may be good for less from then on.
    pub async fn change_role(
        &self,
        email: &EmailAddress,
        organization: Option<&str>,
        to: Role,
    ) -> Result<(Member, Sequence), ServiceError> {
        let member = self.find_member(email, organization).await?;
        if member.kind == MemberKind::ServiceAccount && to == Role::Owner {
            return Err(ServiceError::ServiceAccountOwns);
        }
        let change = RoleChange {
            membership: member.membership_id,
            from: member.role,
            to,
        };
        let sequence = self
            .store
            .change_role(change, &self.audit_context())
            .await?;
        Ok((Member { role: to, ..member }, sequence))
    }

    /// The present members, oldest first; of one organization or of all.
    pub async fn members(&self, organization: Option<&str>) -> Result<Vec<Member>, ServiceError> {
        let of = match organization {
            Some(named) => Some(self.find_organization(Some(named)).await?.id),
            None => None,
        };
        Ok(self.store.members(of).await?)
    }

    /// The one membership of `email` that is meant.
    pub async fn find_member(
        &self,
        email: &EmailAddress,
        organization: Option<&str>,
    ) -> Result<Member, ServiceError> {
        let mut stays = self.store.members_by_email(email).await?;
        if let Some(named) = organization {
            let organization = self.find_organization(Some(named)).await?;
            return stays
                .into_iter()
                .find(|stay| stay.organization_id == organization.id)
                .ok_or_else(|| ServiceError::NotAMember {
                    email: email.clone(),
                    organization: organization.name,
                });
        }
        if stays.len() > 1 {
            let mut all = self.store.organizations().await?;
            all.retain(|one| stays.iter().any(|stay| stay.organization_id == one.id));
            return Err(ServiceError::WhichOrganization(all));
        }
        stays
            .pop()
            .ok_or_else(|| ServiceError::UnknownMember(email.clone()))
    }

    /// Ends a membership and every key made in it, in one transaction and with one entry in the
    /// log. Committed when this returns; [`Service::wait_for_acknowledgements`] waits until every gateway has
    /// acknowledged it.
    pub async fn remove_member(
        &self,
        email: &EmailAddress,
        organization: Option<&str>,
    ) -> Result<RemovedMember, ServiceError> {
        let member = self.find_member(email, organization).await?;
        let removed = self
            .store
            .remove_member(member.membership_id, None, &self.audit_context())
            .await?;
        Ok(RemovedMember {
            member,
            keys: removed.keys,
            sequence: removed.sequence,
        })
    }
}
