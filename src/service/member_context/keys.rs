//! A member's keys, and those of the organization.

use std::time::Duration;

use super::{MemberContext, Page, and_one_more};
use crate::model::change::Sequence;
use crate::model::id::{KeyId, MembershipId};
use crate::model::key::{Key, KeyHash, KeyState, PlainKey};
use crate::model::member::{Member, MemberKind, Name, Role};
use crate::model::scope::{Scope, Scopes};
use crate::service::ServiceError;
use crate::service::access::Permission;
use crate::service::keys::{KEY_LIFETIME_MAX, allowed_for, expiry};
use crate::service::rotation::{Maker, RotationOverlap};
use crate::store::{
    Conflict, Created, Idempotency, KeyOwner, KeyPage, KeyTraffic, ListedKey, PageRequest,
    StoreError,
};

/// The properties of a new key of the member, or of a service account.
#[derive(Debug, Clone)]
pub struct NewOwnKey {
    /// What its owner calls it.
    pub name: Name,
    /// A service account. `None`: oneself.
    pub owner: Option<MembershipId>,
    /// What it may be used for.
    pub scopes: Scopes,
    /// How long it is good for. `None`: until it is revoked.
    pub expires_in: Option<Duration>,
}

/// A key that was made, or had been made before under the same idempotency key.
#[derive(Debug)]
pub struct CreatedKey {
    /// The key.
    pub key: ListedKey,
    /// Its text, to be shown once. `None`: it was shown before.
    pub plain: Option<PlainKey>,
    /// Its place in the log, to be waited for.
    pub sequence: Sequence,
}

impl MemberContext {
    /// One's own keys, newest first.
    pub async fn own_keys(
        &self,
        page: PageRequest<KeyId>,
        include_revoked: bool,
    ) -> Result<Page<ListedKey>, ServiceError> {
        self.keys_made_with(None, page, include_revoked).await
    }

    /// One's own keys that were made with `parent` or with another key of its rotations; of none: all of one's
    /// own. Newest first.
    pub async fn keys_made_with(
        &self,
        parent: Option<KeyId>,
        page: PageRequest<KeyId>,
        include_revoked: bool,
    ) -> Result<Page<ListedKey>, ServiceError> {
        self.allow(Permission::OwnKeys)?;
        let whose = KeyOwner::Membership(self.member.membership_id);
        self.keys_page((whose, parent), page, include_revoked).await
    }

    /// Everybody's keys, newest first; or those of one member or service account.
    pub async fn organization_keys(
        &self,
        of: Option<MembershipId>,
        page: PageRequest<KeyId>,
        include_revoked: bool,
    ) -> Result<Page<ListedKey>, ServiceError> {
        let all = (of, None);
        self.organization_keys_made_with(all, page, include_revoked)
            .await
    }

    /// As [`Self::organization_keys`]; with a parent as [`Self::keys_made_with`].
    pub async fn organization_keys_made_with(
        &self,
        (of, parent): (Option<MembershipId>, Option<KeyId>),
        page: PageRequest<KeyId>,
        include_revoked: bool,
    ) -> Result<Page<ListedKey>, ServiceError> {
        self.allow(Permission::OrganizationKeys)?;
        let whose = match of {
            Some(id) => KeyOwner::Membership(self.member_in_organization(id).await?.membership_id),
            None => KeyOwner::Organization(self.member.organization_id),
        };
        self.keys_page((whose, parent), page, include_revoked).await
    }

    async fn keys_page(
        &self,
        (whose, parent): (KeyOwner, Option<KeyId>),
        page: PageRequest<KeyId>,
        include_revoked: bool,
    ) -> Result<Page<ListedKey>, ServiceError> {
        let parent = match parent {
            Some(id) => Some(self.key(id).await?.key.chain_id),
            None => None,
        };
        let wanted = KeyPage {
            whose,
            parent,
            include_revoked,
            page: and_one_more(page),
        };
        let found = self.service.store.keys_page(wanted).await?;
        Ok(Page::of(found, page.limit))
    }

    /// One key: one's own, or, for who sees them all, anybody's in the organization.
    pub async fn key(&self, id: KeyId) -> Result<ListedKey, ServiceError> {
        let found = self.service.store.key(id).await?;
        found
            .filter(|listed| self.sees(&listed.key))
            .ok_or(ServiceError::UnknownKey(id))
    }

    /// What a key is used for, of those that [`Self::key`] shows.
    pub async fn traffic(&self, id: KeyId) -> Result<KeyTraffic, ServiceError> {
        self.key(id).await?;
        let now = self.service.clock.now();
        Ok(self.service.store.traffic(id, now).await?)
    }

    fn sees(&self, key: &Key) -> bool {
        let own = key.membership_id == self.member.membership_id;
        let ours = key.organization_id == self.member.organization_id;
        own || (ours && self.may(Permission::OrganizationKeys))
    }

    /// A key whose text one may hold: one's own, or a service account's. Who could rotate another
    /// person's key would act as that person.
    async fn holdable(&self, id: KeyId) -> Result<ListedKey, ServiceError> {
        let listed = self.key(id).await?;
        if listed.key.membership_id != self.member.membership_id {
            match listed.owner_kind {
                MemberKind::Person => return Err(ServiceError::NotYourKey(id)),
                MemberKind::ServiceAccount => self.allow(Permission::ManageServiceAccounts)?,
            }
        }
        Ok(listed)
    }

    /// Creates a key. Committed when this returns. After the wait for acknowledgements it works on every gateway.
    pub async fn create_key(
        &self,
        new: NewOwnKey,
        idempotency: Option<&Idempotency>,
    ) -> Result<CreatedKey, ServiceError> {
        self.allow(Permission::OwnKeys)?;
        let owner = self.owner_of_new(new.owner).await?;
        let audit_context = self.audit_context();
        allowed_for(new.scopes, owner.role)?;
        let maker = self.maker().await?;
        // The store holds what was asked for against the key that makes it.
        let expires_at = match expiry(new.expires_in, audit_context.at)? {
            None => maker.as_ref().and_then(|maker| maker.expires_at),
            asked => asked,
        };
        let plain = PlainKey::generate(&*self.service.entropy);
        let id = KeyId::generate(audit_context.at, &*self.service.entropy);
        let key = Key {
            id,
            hash: plain.hash(),
            hint: plain.hint(),
            name: new.name,
            organization_id: owner.organization_id,
            membership_id: owner.membership_id,
            user_id: owner.user_id,
            email: owner.email,
            email_verified: owner.kind == MemberKind::Person && self.has_proven_address(),
            chain_id: id,
            parent_id: maker.map(|maker| maker.id),
            scopes: new.scopes,
            created_at: audit_context.at,
            expires_at,
            is_replaced: false,
            revoked_at: None,
        };
        let store = &self.service.store;
        match store.create_key(&key, idempotency, &audit_context).await? {
            Created::Now(sequence) => Ok(CreatedKey {
                key: self.key(key.id).await?,
                plain: Some(plain),
                sequence,
            }),
            Created::Before(id) => Ok(CreatedKey {
                key: self.made_before(&id).await?,
                plain: None,
                // Its creator may still be waiting.
                sequence: store.head().await?,
            }),
        }
    }

    async fn made_before(&self, id: &str) -> Result<ListedKey, ServiceError> {
        let id = id
            .parse()
            .map_err(|_other| StoreError::Conflict(Conflict::IdempotencyKeyReused))?;
        self.key(id).await
    }

    async fn owner_of_new(&self, owner: Option<MembershipId>) -> Result<Member, ServiceError> {
        let Some(id) = owner.filter(|id| *id != self.member.membership_id) else {
            return Ok(self.member.clone());
        };
        self.allow(Permission::ManageServiceAccounts)?;
        let owner = self.member_in_organization(id).await?;
        match owner.kind {
            MemberKind::ServiceAccount => Ok(owner),
            MemberKind::Person => Err(ServiceError::NoSuchMember(id)),
        }
    }

    /// Gives a key another name, if it is still called `from`.
    pub async fn rename_key(
        &self,
        id: KeyId,
        from: &Name,
        to: &Name,
    ) -> Result<ListedKey, ServiceError> {
        self.holdable(id).await?;
        let store = &self.service.store;
        store
            .rename_key(id, from, to, &self.audit_context())
            .await?;
        self.key(id).await
    }

    /// Makes a key that takes the place of `id`, which goes on for the overlap.
    pub async fn rotate_key(
        &self,
        id: KeyId,
        overlap: RotationOverlap,
    ) -> Result<CreatedKey, ServiceError> {
        let ListedKey {
            key: old,
            owner_kind,
            ..
        } = self.holdable(id).await?;
        let key = self.maker().await?;
        let maker = Maker {
            key: key.as_ref(),
            email_verified: owner_kind == MemberKind::Person && self.has_proven_address(),
        };
        let (successor, plain, sequence) = self
            .service
            .succeed(old, overlap, maker, &self.audit_context())
            .await?;
        Ok(CreatedKey {
            key: self.key(successor.id).await?,
            plain: Some(plain),
            sequence,
        })
    }

    /// Makes a key that can do what `id` can, of a service account that is called like it: to be put in its
    /// place before its owner goes. The account is made, or found by that name.
    pub async fn reissue_key(&self, id: KeyId) -> Result<CreatedKey, ServiceError> {
        self.allow(Permission::ManageServiceAccounts)?;
        let (old, now) = (self.key(id).await?.key, self.service.clock.now());
        match old.state(now) {
            KeyState::Live => {}
            KeyState::Expired => return Err(StoreError::Conflict(Conflict::KeyExpired).into()),
            KeyState::Revoked => return Err(StoreError::Conflict(Conflict::KeyRevoked).into()),
        }
        let left = old.expires_at.map(|end| {
            let millis = end.as_millis().saturating_sub(now.as_millis());
            Duration::from_millis(u64::try_from(millis).unwrap_or(0))
        });
        let role = if old.scopes.contains(Scope::Manage) {
            Role::Admin
        } else {
            Role::Member
        };
        let account = self.account_called(old.name.clone(), role).await?;
        let new = NewOwnKey {
            name: old.name,
            owner: Some(account.membership_id),
            scopes: old.scopes,
            // A key of before there was a bound may have more left.
            expires_in: left.map(|left| left.min(KEY_LIFETIME_MAX)),
        };
        // Two clicks are one twin. No client can send this word: a header has no control characters.
        let once = Idempotency {
            key: format!("\u{1}reissue {id}"),
            request: KeyHash::of(id.to_string().as_bytes()),
        };
        self.create_key(new, Some(&once)).await
    }
}
