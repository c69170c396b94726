//! The end of a member's keys and of the organisation's; and which keys come from which.

use super::Acting;
use crate::model::audit::Means;
use crate::model::id::KeyId;
use crate::model::key::Key;
use crate::model::member::Organization;
use crate::service::access::Permission;
use crate::service::sessions::access_of;
use crate::service::{Revocation, RevokedKey, ServiceError};
use crate::store::{Descendants, Reach, RevokedEverything, StoreError};

impl Acting {
    /// The key by which they act; none: a session. What it makes is its child.
    pub(super) async fn maker(&self) -> Result<Option<Key>, ServiceError> {
        let Means::Key(id) = self.means else {
            return Ok(None);
        };
        match self.service.store.key(id).await? {
            Some(listed) => Ok(Some(listed.key)),
            None => Err(StoreError::MeansEnded.into()),
        }
    }

    /// How many live keys come from a key, of those that [`Self::key`] shows.
    pub async fn descendants(&self, id: KeyId) -> Result<Descendants, ServiceError> {
        self.key(id).await?;
        let now = self.service.clock.now();
        Ok(self.service.store.descendants(id, now).await?)
    }

    /// Ends a key. Committed when this returns.
    pub async fn revoke_key(&self, id: KeyId) -> Result<RevokedKey, ServiceError> {
        let listed = self.key(id).await?;
        let revoked = self.service.store.revoke_key(id, &self.act()).await?;
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
        let revoked = match store.revoke_family(id, reach, &self.act()).await {
            Err(StoreError::OthersKeys) => {
                return Err(ServiceError::NotAllowed(Permission::OrganizationKeys));
            }
            revoked => revoked?,
        };
        let organization = listed.key.organization_id;
        Ok(RevokedKey::with_children(revoked, organization))
    }

    /// The organisation in which everything happens.
    pub async fn organization(&self) -> Result<Organization, ServiceError> {
        let id = self.member.organization_id;
        let found = self.service.store.organization(id).await?;
        found.ok_or_else(|| ServiceError::UnknownOrganization(id.to_string()))
    }

    /// Ends every key of the organisation, with one entry in the log; and with `end_sessions` the ways in by
    /// which new ones would be made: sessions, the caller's own too, sign-in links, and invitations. Those of other
    /// organisations go on, and are no way into this one. `confirm`: what the organisation is called. Committed when this returns.
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
        let (act, of) = (self.act(), Some(organization.id));
        let access = end_sessions.then(|| access_of(of, None, act.at));
        let store = &self.service.store;
        let revoked = store.revoke_everything(of, access.as_ref(), &act).await?;
        let revocation = Revocation {
            first: revoked.sequence,
            sequence: revoked.sequence,
            organization: of,
            repeated: false,
        };
        Ok((revoked, revocation))
    }
}
