//! Keys: made, imported, shown, ended.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::sessions::access_of;
use super::{Service, ServiceError};
use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::{KeyId, OrganizationId};
use crate::model::key::{IMPORTED_HINT, Key, KeyHash, PlainKey};
use crate::model::member::{EmailAddress, Name, Role};
use crate::model::scope::Scopes;
use crate::service::Revocation;
use crate::store::{
    Conflict, Created, KeyFilter, MarkProgress, PageRequest, Reach, Revoked, RevokedEverything,
    RevokedFamily, StoreError,
};

/// The longest that a key can be good for: ten years, longer than any system that holds one goes on. Who
/// wants more wants a key that does not expire, and says so by naming no time.
pub const KEY_LIFETIME_MAX: Duration = Duration::from_hours(10 * 365 * 24);

/// The properties of a new key.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What its owner calls it.
    pub name: Name,
    /// Its owner's address.
    pub member: EmailAddress,
    /// Name or id of the organization; needed where the owner is in several.
    pub organization: Option<String>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// How long it is good for. `None`: until it is revoked.
    pub expires_in: Option<Duration>,
}

/// A key of another format, known by its hash alone.
#[derive(Debug, Clone)]
pub struct ImportedKey {
    /// Its properties.
    pub key: NewKey,
    /// The SHA-256 of its text.
    pub hash: KeyHash,
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct KeyList {
    /// Only those of this address.
    pub member: Option<EmailAddress>,
    /// Only those of this organization, by name or id.
    pub organization: Option<String>,
    /// Also those that are revoked.
    pub include_revoked: bool,
}

/// What a revocation left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokedKey {
    /// The first of its entries in the log: one, or one for each key that ended with it.
    pub first: Sequence,
    /// The place of the last of them in the log, to be waited for.
    pub sequence: Sequence,
    /// Whether nothing was left to be revoked by this call.
    pub was_revoked: bool,
    /// How many keys this call ended.
    pub keys: u64,
    /// Whose it was.
    pub organization: OrganizationId,
}

impl RevokedKey {
    /// Of a key that was ended alone.
    pub(super) fn alone(revoked: Revoked, organization: OrganizationId) -> Self {
        Self {
            first: revoked.sequence,
            sequence: revoked.sequence,
            was_revoked: revoked.keys == 0,
            keys: revoked.keys,
            organization,
        }
    }

    /// Of a key that was ended with all that come from it.
    pub(super) fn with_children(revoked: RevokedFamily, organization: OrganizationId) -> Self {
        Self {
            first: revoked.first,
            sequence: revoked.sequence,
            was_revoked: revoked.keys == 0,
            keys: revoked.keys,
            organization,
        }
    }

    /// The revocation, to be confirmed.
    pub fn revocation(&self) -> Revocation {
        Revocation {
            first: self.first,
            sequence: self.sequence,
            organization: Some(self.organization),
            repeated: self.was_revoked,
        }
    }
}

/// What a new key may be used for: at least something, and nothing that its owner's role does not allow.
pub(super) fn allowed_for(scopes: Scopes, role: Role) -> Result<(), ServiceError> {
    if scopes.is_empty() {
        return Err(ServiceError::NoScope);
    }
    if scopes.and(role.scopes_max()) != scopes {
        return Err(ServiceError::ScopeBeyondRole { role, scopes });
    }
    Ok(())
}

/// When a key ends that is good for so long.
pub(super) fn expiry(
    expires_in: Option<Duration>,
    now: Timestamp,
) -> Result<Option<Timestamp>, ServiceError> {
    match expires_in {
        Some(left) if left.is_zero() => Err(ServiceError::ExpiresInThePast),
        Some(left) if left > KEY_LIFETIME_MAX => Err(ServiceError::ExpiresTooLate),
        Some(left) => Ok(Some(now.plus(left))),
        None => Ok(None),
    }
}

impl Service {
    /// Creates a key. Committed when this returns; after [`Service::wait_for_acknowledgements`] it works on every
    /// gateway. The text comes with it before the wait, so that no failure of the wait can lose it.
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
        let owner = self
            .find_member(&new.member, new.organization.as_deref())
            .await?;
        allowed_for(new.scopes, owner.role)?;
        let audit_context = self.audit_context();
        let expires_at = expiry(new.expires_in, audit_context.at)?;
        let id = KeyId::generate(audit_context.at, &*self.entropy);
        let key = Key {
            id,
            hash,
            hint,
            name: new.name,
            organization_id: owner.organization_id,
            membership_id: owner.membership_id,
            user_id: owner.user_id,
            email: owner.email,
            email_verified: owner.email_verified,
            chain_id: id,
            parent_id: None,
            scopes: new.scopes,
            created_at: audit_context.at,
            expires_at,
            is_replaced: false,
            revoked_at: None,
        };
        match self.store.create_key(&key, None, &audit_context).await? {
            Created::Now(sequence) => Ok((key, sequence)),
            // An earlier creation is reported only for a request with an idempotency key.
            Created::Before(_id) => {
                Err(StoreError::Conflict(Conflict::IdempotencyKeyReused).into())
            }
        }
    }

    /// Which keys a list means.
    ///
    /// # Errors
    /// The member or the organization that it names does not exist.
    pub async fn key_filter(&self, list: KeyList) -> Result<KeyFilter, ServiceError> {
        let organization = list.organization.as_deref();
        let mut filter = KeyFilter {
            include_revoked: list.include_revoked,
            ..KeyFilter::default()
        };
        if let Some(email) = &list.member {
            filter.membership_id = Some(self.find_member(email, organization).await?.membership_id);
        } else if organization.is_some() {
            filter.organization_id = Some(self.find_organization(organization).await?.id);
        }
        Ok(filter)
    }

    /// A page of keys, newest first.
    pub async fn keys(
        &self,
        filter: KeyFilter,
        page: PageRequest<KeyId>,
    ) -> Result<Vec<Key>, ServiceError> {
        Ok(self.store.keys(filter, page).await?)
    }

    /// Gives a key another name, whatever it is called. Its name before is returned.
    pub async fn rename_key(&self, id: KeyId, to: &Name) -> Result<Name, ServiceError> {
        let before = self.key(id).await?.name;
        self.store
            .rename_key(id, &before, to, &self.audit_context())
            .await?;
        Ok(before)
    }

    /// One key.
    pub async fn key(&self, id: KeyId) -> Result<Key, ServiceError> {
        let found = self.store.key(id).await?;
        found
            .map(|listed| listed.key)
            .ok_or(ServiceError::UnknownKey(id))
    }

    /// Revokes a key. Committed when this returns; [`Service::wait_for_acknowledgements`] waits until every gateway has
    /// acknowledged it. Of a key that was revoked before it changes nothing, so that the wait can be repeated.
    pub async fn revoke_key(&self, id: KeyId) -> Result<RevokedKey, ServiceError> {
        let key = self.key(id).await?;
        let revoked = self.store.revoke_key(id, &self.audit_context()).await?;
        Ok(RevokedKey::alone(revoked, key.organization_id))
    }

    /// Ends a key and every key that comes from it: made with it through the management API, or with one of
    /// those, and so on. As [`Self::revoke_key`].
    pub async fn revoke_key_with_children(&self, id: KeyId) -> Result<RevokedKey, ServiceError> {
        let key = self.key(id).await?;
        let revoked = self
            .store
            .revoke_family(id, Reach::Everybodys, &self.audit_context())
            .await?;
        Ok(RevokedKey::with_children(revoked, key.organization_id))
    }

    /// Writes the rows of keys that were revoked all together, a part at a time, with as much time between for others
    /// as each part takes. Returns their number, and calls `progress` after each part.
    ///
    /// # Errors
    /// The store's. The keys are refused in any case, and what is left is written by the next call, of any process.
    pub async fn write_marked_rows(
        &self,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, ServiceError> {
        let (mut below, mut all): (Option<String>, u64) = (None, 0);
        loop {
            let begun = Instant::now();
            match self.store.write_marked_rows(below.as_deref()).await? {
                MarkProgress::Nothing => return Ok(all),
                MarkProgress::MarkDone | MarkProgress::Restart => below = None,
                MarkProgress::Rows { written, last } => {
                    below = Some(last);
                    all += u64::try_from(written).unwrap_or(u64::MAX);
                    progress(all);
                }
            }
            sleep(begun.elapsed()).await;
        }
    }

    /// Ends every live key, of one organization or, without one, of all, in one transaction and with one
    /// entry in the log (the rows of very many follow by [`Self::write_marked_rows`]); and with `end_sessions` the ways
    /// in by which new keys would be made: sessions, sign-in links, invitations. Committed when this returns;
    /// [`Service::wait_for_acknowledgements`] waits until every gateway has acknowledged it.
    pub async fn revoke_everything(
        &self,
        organization: Option<&str>,
        end_sessions: bool,
    ) -> Result<(RevokedEverything, Revocation), ServiceError> {
        let organization = match organization {
            Some(named) => Some(self.find_organization(Some(named)).await?.id),
            None => None,
        };
        let audit_context = self.audit_context();
        let access = end_sessions.then(|| access_of(organization, None, audit_context.at));
        let revoking = self
            .store
            .revoke_everything(organization, access.as_ref(), &audit_context);
        let revoked = revoking.await?;
        let revocation = Revocation {
            first: revoked.sequence,
            sequence: revoked.sequence,
            organization,
            repeated: false,
        };
        Ok((revoked, revocation))
    }
}
