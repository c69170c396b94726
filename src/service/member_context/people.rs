//! Members, invitations and service accounts.

use std::time::Duration;

use super::{MemberContext, Page, and_one_more};
use crate::model::audit::AuthMethod;
use crate::model::id::{InvitationId, MembershipId};
use crate::model::member::{EmailAddress, Invitation, Member, MemberKind, Name, Role};
use crate::model::token::Token;
use crate::service::access::Permission;
use crate::service::{NewServiceAccount, RemovedMember, ServiceError};
use crate::store::{Idempotency, ListedMember, PageRequest, RoleChange, StoreError};

/// How long the link of an invitation works.
pub const INVITATION_LIFETIME: Duration = Duration::from_hours(72);

/// Whom to invite.
#[derive(Debug, Clone)]
pub struct NewInvitation {
    /// Their address.
    pub email: EmailAddress,
    /// What they are called.
    pub name: Name,
    /// What they will be.
    pub role: Role,
}

impl MemberContext {
    /// The organization's members, newest first.
    pub async fn members(
        &self,
        page: PageRequest<MembershipId>,
    ) -> Result<Page<ListedMember>, ServiceError> {
        self.allow(Permission::SeeMembers)?;
        self.members_page(MemberKind::Person, page).await
    }

    /// The organization's service accounts, newest first.
    pub async fn service_accounts(
        &self,
        page: PageRequest<MembershipId>,
    ) -> Result<Page<ListedMember>, ServiceError> {
        self.allow(Permission::ManageServiceAccounts)?;
        self.members_page(MemberKind::ServiceAccount, page).await
    }

    async fn members_page(
        &self,
        kind: MemberKind,
        page: PageRequest<MembershipId>,
    ) -> Result<Page<ListedMember>, ServiceError> {
        let organization = self.member.organization_id;
        let store = &self.service.store;
        let found = store.members_page(organization, kind, and_one_more(page));
        Ok(Page::of(found.await?, page.limit))
    }

    /// A present member or service account of the same organization.
    pub(super) async fn member_in_organization(
        &self,
        id: MembershipId,
    ) -> Result<Member, ServiceError> {
        let found = self.service.store.member(id).await?;
        found
            .filter(|member| member.organization_id == self.member.organization_id)
            .ok_or(ServiceError::NoSuchMember(id))
    }

    /// One member or service account.
    pub async fn find_member_in_organization(
        &self,
        id: MembershipId,
    ) -> Result<Member, ServiceError> {
        let member = self.member_in_organization(id).await?;
        if member.membership_id != self.member.membership_id && !self.may(Permission::SeeMembers) {
            return Err(ServiceError::NoSuchMember(id));
        }
        Ok(member)
    }

    /// Gives another role, if it still is `from`. Committed when this returns.
    pub async fn change_role(
        &self,
        id: MembershipId,
        from: Role,
        to: Role,
    ) -> Result<Member, ServiceError> {
        self.allow(Permission::to_manage(&[from, to]))?;
        let member = self.member_in_organization(id).await?;
        if member.kind == MemberKind::ServiceAccount && to == Role::Owner {
            return Err(ServiceError::ServiceAccountOwns);
        }
        let change = RoleChange {
            membership: id,
            from,
            to,
        };
        self.service
            .store
            .change_role(change, &self.audit_context())
            .await?;
        self.member_in_organization(id).await
    }

    /// Ends a membership, of a member or a service account, and every key made in it. `seen`: the role that the
    /// caller saw. Committed when this returns.
    pub async fn remove(
        &self,
        id: MembershipId,
        seen: Option<Role>,
    ) -> Result<RemovedMember, ServiceError> {
        self.allow(Permission::ManageMembers)?;
        let member = self.member_in_organization(id).await?;
        // What was allowed is what is done: who is promoted in this moment is not removed by an admin.
        let seen = seen.unwrap_or(member.role);
        self.allow(Permission::to_manage(&[member.role, seen]))?;
        let store = &self.service.store;
        let removed = store
            .remove_member(id, Some(seen), &self.audit_context())
            .await?;
        Ok(RemovedMember {
            member,
            keys: removed.keys,
            sequence: removed.sequence,
        })
    }

    /// Invites somebody. The token goes into the link that they get.
    pub async fn invite(&self, new: NewInvitation) -> Result<(Invitation, Token), ServiceError> {
        self.allow(Permission::ManageMembers)?;
        self.allow(Permission::to_manage(&[new.role]))?;
        if new.email.is_of_service_account() {
            return Err(ServiceError::ServiceAccountSignsIn);
        }
        let audit_context = self.audit_context();
        let token = Token::generate(&*self.service.entropy);
        let invitation = Invitation {
            id: InvitationId::generate(audit_context.at, &*self.service.entropy),
            organization_id: self.member.organization_id,
            email: new.email,
            name: new.name,
            role: new.role,
            invited_by: self.member.email.to_string(),
            made_with: match self.auth_method {
                AuthMethod::Key(id) => Some(id),
                AuthMethod::Session(_)
                | AuthMethod::CommandLine
                | AuthMethod::Gateway
                | AuthMethod::SignIn => None,
            },
            is_void: false,
            created_at: audit_context.at,
            expires_at: audit_context.at.plus(INVITATION_LIFETIME),
        };
        let store = &self.service.store;
        store
            .invite(&invitation, &token.hash(), &audit_context)
            .await?;
        Ok((invitation, token))
    }

    /// Invitations that are open, newest first.
    pub async fn invitations(&self) -> Result<Vec<Invitation>, ServiceError> {
        self.allow(Permission::SeeMembers)?;
        let organization = self.member.organization_id;
        Ok(self.service.store.invitations(organization).await?)
    }

    /// Takes an invitation back.
    pub async fn withdraw_invitation(&self, id: InvitationId) -> Result<(), ServiceError> {
        self.allow(Permission::ManageMembers)?;
        let organization = self.member.organization_id;
        let store = &self.service.store;
        match store
            .withdraw_invitation(organization, id, &self.audit_context())
            .await
        {
            Err(StoreError::NotFound(_)) => Err(ServiceError::NoSuchInvitation(id)),
            withdrawn => Ok(withdrawn?),
        }
    }

    /// The service account of this name, made where there is none.
    pub(super) async fn account_called(
        &self,
        name: Name,
        role: Role,
    ) -> Result<Member, ServiceError> {
        let new = NewServiceAccount {
            name: name.clone(),
            role,
        };
        let which = match self.create_service_account(new, None).await {
            Err(ServiceError::Store(StoreError::Exists(which))) => which,
            made => return made,
        };
        let organization = Some(self.member.organization_id);
        let all = self.service.store.members(organization).await?;
        let account = all
            .into_iter()
            .find(|one| one.kind == MemberKind::ServiceAccount && one.name == name);
        // None: another that looks like it.
        account.ok_or_else(|| StoreError::Exists(which).into())
    }

    /// Makes a service account, or finds the one that was made under the same idempotency key.
    pub async fn create_service_account(
        &self,
        new: NewServiceAccount,
        idempotency: Option<&Idempotency>,
    ) -> Result<Member, ServiceError> {
        self.allow(Permission::ManageServiceAccounts)?;
        let organization = self.member.organization_id;
        let (_account, id) = self
            .service
            .add_service_account(organization, new, idempotency, &self.audit_context())
            .await?;
        self.member_in_organization(id).await
    }
}
