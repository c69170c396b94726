//! A key that takes the place of another, which goes on for an overlap.

use std::time::Duration;

use super::keys::KEY_LIFETIME_MAX;
use super::{Service, ServiceError};
use crate::model::audit::AuditContext;
use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::KeyId;
use crate::model::key::{Key, PlainKey};
use crate::store::{Overlap, StoreError};

/// The longest overlap of a rotation, and the longest silence: beyond it nobody is adopting anything.
pub const OVERLAP_MAX: Duration = Duration::from_hours(90 * 24);
/// How long the old key goes on when nobody says otherwise: a day is a deployment and its night.
pub const OVERLAP_DEFAULT: Duration = Duration::from_hours(24);
/// The shortest idle time: gateways report uses far more often.
pub const IDLE_TIME_MIN: Duration = Duration::from_hours(1);

/// How long an old key goes on beside its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationOverlap {
    /// For so long; at most [`OVERLAP_MAX`].
    For(Duration),
    /// Until nobody has used it for so long; [`IDLE_TIME_MIN`] to [`OVERLAP_MAX`].
    UntilIdleFor(Duration),
}

impl RotationOverlap {
    /// When the old key ends, if the rotation is at `now`.
    fn from(self, now: Timestamp) -> Result<Overlap, ServiceError> {
        match self {
            Self::For(time) if time > OVERLAP_MAX => Err(ServiceError::OverlapTooLong),
            Self::For(time) => Ok(Overlap::Until(now.plus(time))),
            Self::UntilIdleFor(time) if time < IDLE_TIME_MIN || time > OVERLAP_MAX => {
                Err(ServiceError::IdleTimeOutOfBounds)
            }
            Self::UntilIdleFor(time) => Ok(Overlap::UntilIdleFor(time)),
        }
    }
}

/// A key that was rotated by the operator.
#[derive(Debug)]
pub struct RotatedKey {
    /// The key that takes its place.
    pub key: Key,
    /// Its text, which exists nowhere else.
    pub plain: PlainKey,
    /// Its place in the log, to be waited for.
    pub sequence: Sequence,
    /// When the old key ends. Of a key that is rotated anew, its successor gone, no later than before.
    pub overlap: Overlap,
}

/// Who makes a successor, as far as it matters to that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker<'a> {
    /// The key with which it is made. `None`: by the operator, or in the console.
    pub key: Option<&'a Key>,
    /// Whether its owner's address is known to be theirs.
    pub email_verified: bool,
}

impl Service {
    /// Makes a key that takes the place of `id`. Committed when this returns; after
    /// [`Service::wait_for_acknowledgements`] it works on every gateway.
    ///
    /// # Errors
    /// The key is over, has a successor that lives, or can be used for nothing; or the overlap is out of bounds.
    pub async fn rotate_key(
        &self,
        id: KeyId,
        overlap: RotationOverlap,
    ) -> Result<RotatedKey, ServiceError> {
        let old = self.key(id).await?;
        // No more than the old key proved: anybody who made that may not have been its owner.
        let maker = Maker {
            key: None,
            email_verified: old.email_verified,
        };
        let (key, plain, sequence) = self
            .succeed(old, overlap, maker, &self.audit_context())
            .await?;
        let rotation = self.store.key(id).await?.and_then(|it| it.rotation);
        let rotation = rotation
            .ok_or_else(|| StoreError::Corrupt(format!("{id} was rotated and has no successor")))?;
        Ok(RotatedKey {
            key,
            plain,
            sequence,
            overlap: rotation.overlap,
        })
    }

    /// Makes the successor of `old`: the same owner, name and scopes, a life as long as the old one had, and no longer
    /// than what is left of the key with which it is made.
    pub(super) async fn succeed(
        &self,
        old: Key,
        overlap: RotationOverlap,
        maker: Maker<'_>,
        audit_context: &AuditContext,
    ) -> Result<(Key, PlainKey, Sequence), ServiceError> {
        // Of a demoted owner's key nothing may be left.
        if old.scopes.is_empty() {
            return Err(ServiceError::NoScope);
        }
        let overlap = overlap.from(audit_context.at)?;
        let plain = PlainKey::generate(&*self.entropy);
        let bound = maker.key.and_then(|key| key.expires_at);
        let expires_at = match (own_end(&old, audit_context.at), bound) {
            (Some(own), Some(bound)) => Some(own.min(bound)),
            (own, bound) => own.or(bound),
        };
        let old_id = old.id;
        let successor = Key {
            id: KeyId::generate(audit_context.at, &*self.entropy),
            hash: plain.hash(),
            hint: plain.hint(),
            created_at: audit_context.at,
            expires_at,
            is_replaced: false,
            revoked_at: None,
            parent_id: maker.key.map_or(old.parent_id, |key| Some(key.id)),
            email_verified: maker.email_verified,
            ..old
        };
        let sequence = self
            .store
            .rotate_key(old_id, &successor, overlap, audit_context)
            .await?;
        Ok((successor, plain, sequence))
    }
}

/// When a key ends that begins now and lives as long as `old` was to.
fn own_end(old: &Key, now: Timestamp) -> Option<Timestamp> {
    let end = old.expires_at?;
    let millis = end.as_millis().saturating_sub(old.created_at.as_millis());
    let lifetime = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    Some(now.plus(lifetime.min(KEY_LIFETIME_MAX)))
}
