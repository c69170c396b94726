//! Keys: made, imported, shown, ended.

use std::time::Duration;

use super::{Service, ServiceError};
use crate::model::change::Sequence;
use crate::model::id::KeyId;
use crate::model::key::{Key, KeyHash, PlainKey};
use crate::model::member::{EmailAddress, Name};
use crate::model::scope::Scopes;
use crate::store::{KeyFilter, Revoked, StoreError};

/// What the hint of an imported key says: its text was never seen.
const IMPORTED_HINT: &str = "imported";

/// What a key shall be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What its owner calls it.
    pub name: Name,
    /// Its owner's address.
    pub member: EmailAddress,
    /// Name or id of the organisation; needed where the owner is in several.
    pub organization: Option<String>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// How long it is good for; none: until it is revoked.
    pub expires_in: Option<Duration>,
}

/// A key of another format, known by its hash alone.
#[derive(Debug, Clone)]
pub struct ImportedKey {
    /// What it shall be.
    pub key: NewKey,
    /// The SHA-256 of its text.
    pub hash: KeyHash,
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct KeyList {
    /// Only those of this address.
    pub member: Option<EmailAddress>,
    /// Only those of this organisation, by name or id.
    pub organization: Option<String>,
    /// Also those that are revoked.
    pub revoked_too: bool,
}

/// What a revocation left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedKey {
    /// Its place in the log, to be settled.
    pub sequence: Sequence,
    /// Whether the key was revoked before this call.
    pub was_revoked: bool,
}

impl Service {
    /// Makes a key. Committed when this returns; after [`Service::settle`] it works on every gateway.
    /// The text comes with it before the wait, so that no failure of the wait can lose it.
    pub async fn create_key(&self, new: NewKey) -> Result<(Key, PlainKey, Sequence), ServiceError> {
        let plain = PlainKey::generate(&*self.entropy);
        let (key, sequence) = self.write(new, plain.hash(), plain.hint()).await?;
        Ok((key, plain, sequence))
    }

    /// Takes over a key of another format by its hash. Committed when this returns.
    pub async fn import_key(&self, import: ImportedKey) -> Result<(Key, Sequence), ServiceError> {
        self.write(import.key, import.hash, IMPORTED_HINT.to_owned())
            .await
    }

    async fn write(
        &self,
        new: NewKey,
        hash: KeyHash,
        hint: String,
    ) -> Result<(Key, Sequence), ServiceError> {
        if new.scopes.is_empty() {
            return Err(ServiceError::NoScope);
        }
        if new.expires_in.is_some_and(|left| left.is_zero()) {
            return Err(ServiceError::ExpiresInThePast);
        }
        let owner = self
            .find_member(&new.member, new.organization.as_deref())
            .await?;
        let created_at = self.clock.now();
        let key = Key {
            id: KeyId::generate(created_at, &*self.entropy),
            hash,
            hint,
            name: new.name,
            organization_id: owner.organization_id,
            membership_id: owner.membership_id,
            user_id: owner.user_id,
            email: owner.email,
            scopes: new.scopes,
            created_at,
            expires_at: new.expires_in.map(|left| created_at.plus(left)),
            revoked_at: None,
        };
        let sequence = self.store.create_key(&key).await?;
        Ok((key, sequence))
    }

    /// Keys, newest first.
    pub async fn keys(&self, list: KeyList) -> Result<Vec<Key>, ServiceError> {
        let organization = list.organization.as_deref();
        let mut filter = KeyFilter {
            revoked_too: list.revoked_too,
            ..KeyFilter::default()
        };
        if let Some(email) = &list.member {
            filter.membership_id = Some(self.find_member(email, organization).await?.membership_id);
        } else if organization.is_some() {
            filter.organization_id = Some(self.find_organization(organization).await?.id);
        }
        Ok(self.store.keys(filter).await?)
    }

    /// One key.
    pub async fn key(&self, id: KeyId) -> Result<Key, ServiceError> {
        let key = self.store.key(id).await?;
        key.ok_or(ServiceError::UnknownKey(id))
    }

    /// Ends a key. Committed when this returns; [`Service::settle`] waits until every gateway obeys.
    /// Of a key that was revoked before it changes nothing, so that the wait can be repeated.
    pub async fn revoke_key(&self, id: KeyId) -> Result<RevokedKey, ServiceError> {
        match self.store.revoke_key(id, self.clock.now()).await {
            Ok(revoked) => Ok(RevokedKey {
                sequence: revoked.sequence,
                was_revoked: revoked.keys == 0,
            }),
            Err(StoreError::NotFound(_)) => Err(ServiceError::UnknownKey(id)),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends every live key, of one organisation or, without one, of all, in one transaction and with one
    /// entry in the log. Committed when this returns; [`Service::settle`] waits until every gateway
    /// obeys.
    pub async fn revoke_everything(
        &self,
        organization: Option<&str>,
    ) -> Result<Revoked, ServiceError> {
        let of = match organization {
            Some(named) => Some(self.find_organization(Some(named)).await?.id),
            None => None,
        };
        Ok(self.store.revoke_everything(of, self.clock.now()).await?)
    }
}
