//! The end of a member's keys and of the organization's; and which keys come from which.

use super::MemberContext;
use crate::model::audit::AuthMethod;
use crate::model::id::KeyId;
use crate::model::key::Key;
use crate::model::member::Organization;
use crate::service::access::Permission;
use crate::service::sessions::access_of;
use crate::service::{Revocation, RevokedKey, ServiceError};
use crate::store::{Descendants, Reach, RevokedEverything, StoreError};

impl MemberContext {
    /// The key by which they act. `None`: a session. What it makes is its child.
    pub(super) async fn maker(&self) -> Result<Option<Key>, ServiceError> {
        let AuthMethod::Key(id) = self.auth_method else {
            return Ok(None);
        };
        match self.service.store.key(id).await? {
            Some(listed) => Ok(Some(listed.key)),
            None => Err(StoreError::AuthMethodEnded.into()),
        }
    }

    /// How many live keys come from a key, of those that [`Self::key`] shows.
    pub async fn descendants(&self, id: KeyId) -> Result<Descendants, ServiceError> {
        self.key(id).await?;
        let now = self.service.clock.now();
        Ok(self.service.store.descendants(id, now).await?)
    }

    /// Revokes a key. Committed when this returns.
    pub async fn revoke_key(&self, id: KeyId) -> Result<RevokedKey, ServiceError> {
        let listed = self.key(id).await?;
        let revoked = self
            .service
            .store
            .revoke_key(id, &self.audit_context())
            .await?;
        Ok(RevokedKey::alone(revoked, listed.key.organization_id))
    }

    /// Ends a key and every key that comes from it: made with it, or with one of those, and so on. Committed
    /// when this returns. What a key made for others, service accounts for one, takes the right to end theirs.
    pub async fn revoke_key_with_children(&self, id: KeyId) -> Result<RevokedKey, ServiceError> {
        let listed = self.key(id).await?;
        let reach = if self.may(Permission::OrganizationKeys) {
            Reach::Everybodys
        } else {
            Reach::OwnersAlone
        };
        let store = &self.service.store;
        let revoked = match store.revoke_family(id, reach, &self.audit_context()).await {
            Err(StoreError::OthersKeys) => {
                return Err(ServiceError::NotAllowed(Permission::OrganizationKeys));
            }
            revoked => revoked?,
        };
        let organization = listed.key.organization_id;
        Ok(RevokedKey::with_children(revoked, organization))
    }

    /// The organization in which everything happens.
    pub async fn organization(&self) -> Result<Organization, ServiceError> {
        let id = self.member.organization_id;
        let found = self.service.store.organization(id).await?;
        found.ok_or_else(|| ServiceError::UnknownOrganization(id.to_string()))
    }

    /// Ends every key of the organization, with one entry in the log; and with `end_sessions` the ways in by
    /// which new ones would be made: sessions, the caller's own too, sign-in links, and invitations. Those of other
    /// organizations go on, and are no way into this one. `confirm`: what the organization is called. Committed when
    /// this returns.
    pub async fn revoke_everything(
        &self,
        confirm: &str,
        end_sessions: bool,
    ) -> Result<(RevokedEverything, Revocation), ServiceError> {
        self.allow(Permission::RevokeEverything)?;
        let organization = self.organization().await?;
        if organization.name.as_str() != confirm {
            return Err(ServiceError::NotConfirmed);
        }
        let (audit_context, of) = (self.audit_context(), Some(organization.id));
        let access = end_sessions.then(|| access_of(of, None, audit_context.at));
        let store = &self.service.store;
        let revoked = store
            .revoke_everything(of, access.as_ref(), &audit_context)
            .await?;
        let revocation = Revocation {
            first: revoked.sequence,
            sequence: revoked.sequence,
            organization: of,
            repeated: false,
        };
        Ok((revoked, revocation))
    }
}
