//! Where keys come from. A key that is made with another one, through the management API, can do no more than
//! that and lives no longer; it is known as its child, and can be ended with it. Those rules that write are
//! given a transaction that is alone.
//!
//! Children belong to the whole chain of rotations: to a key, to those that took its place, and to those whose
//! place it took.

use serde_json::json;

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::{statements, unrevoked};
use super::{Descendants, Reach, RevokedFamily, StoreError, audit, keys, log};
use crate::model::audit::{Action, AuditContext, AuthMethod};
use crate::model::clock::Timestamp;
use crate::model::id::{KeyId, MembershipId};
use crate::model::key::Key;
use crate::model::scope::Scopes;

/// Ids of children in the audit row of their end. Of more the number is written: what was revoked at the same
/// moment are the others.
const AUDITED_IDS_MAX: usize = 1_000;

/// In what a key would be more than the key with which it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    /// In its use. What the other may be used for is here.
    #[error(
        "the key with which this is made may be used for `{0}` alone, and gives no more than that"
    )]
    Scopes(Scopes),
    /// In its life. When the other ends is here.
    #[error("the key with which this is made ends at {}, and so does what it makes", .0.with_millis())]
    Expiry(Timestamp),
}

/// The chains of all keys that were made with a key of the chain `$1`, with those, and so on. A chain that goes
/// on by itself, because a key was rotated with itself, is among them.
macro_rules! descended {
    () => {
        "WITH RECURSIVE descended (chain) AS (\
            SELECT COALESCE(c.chain_id, c.id) FROM keys p JOIN keys c ON c.parent_id = p.id \
                WHERE p.id = $1 OR p.chain_id = $1 \
            UNION \
            SELECT COALESCE(c.chain_id, c.id) FROM descended d \
                JOIN keys p ON p.id = d.chain OR p.chain_id = d.chain \
                JOIN keys c ON c.parent_id = p.id) "
    };
}

/// Unrevoked keys `k` of those chains, but the key `$2`.
macro_rules! of_descended {
    () => {
        concat!(
            $crate::store::sql::unrevoked!(),
            " AND k.id <> $2 AND k.id IN (\
            SELECT f.id FROM descended d JOIN keys f ON f.id = d.chain \
            UNION ALL SELECT f.id FROM descended d JOIN keys f ON f.chain_id = d.chain)"
        )
    };
}

statements! {
    /// `$3`: now; `$4`: only those of other memberships than this.
    COUNT = concat!(
        descended!(),
        "SELECT COUNT(*) AS n FROM keys k LEFT JOIN key_rotations r ON r.key_id = k.id WHERE ",
        of_descended!(),
        " AND (k.expires_at IS NULL OR k.expires_at > $3) AND (r.ends_at IS NULL OR r.ends_at > $3) \
         AND (CAST($4 AS TEXT) IS NULL OR k.membership_id <> $4)"
    );
    LIST = concat!(
        descended!(),
        "SELECT k.id FROM keys k WHERE ",
        of_descended!(),
        " ORDER BY k.id"
    );
    REVOKE = concat!(
        "UPDATE keys AS k SET revoked_at = $3 WHERE ",
        unrevoked!(),
        " AND k.id IN (",
        descended!(),
        "SELECT r.id FROM keys r WHERE r.id = $2 UNION ALL SELECT k.id FROM keys k WHERE ",
        of_descended!(),
        ")"
    );
}

/// Holds a new key against the key with which it is made, if it is made with one. That this one lives was
/// asked at the beginning of the transaction.
pub(super) async fn within_maker(
    transaction: &mut impl Session,
    new: &Key,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    let AuthMethod::Key(id) = audit_context.auth_method else {
        return Ok(());
    };
    let Some(maker) = keys::get(transaction, id).await? else {
        return Err(StoreError::AuthMethodEnded);
    };
    if new.parent_id != Some(id) {
        let reason = format!("a key that {id} makes must be its child");
        return Err(StoreError::Forbidden(reason));
    }
    within(new, &maker.key).map_err(StoreError::BeyondKey)
}

fn within(new: &Key, maker: &Key) -> Result<(), Beyond> {
    if new.scopes.and(maker.scopes) != new.scopes {
        return Err(Beyond::Scopes(maker.scopes));
    }
    match (new.expires_at, maker.expires_at) {
        (None, Some(end)) => Err(Beyond::Expiry(end)),
        (Some(own), Some(end)) if own > end => Err(Beyond::Expiry(end)),
        (_, None) | (Some(_), Some(_)) => Ok(()),
    }
}

/// How many live keys come from a key.
pub(super) async fn descendants(
    session: &mut impl Session,
    id: KeyId,
    now: Timestamp,
) -> Result<Descendants, StoreError> {
    let Some(listed) = keys::get(session, id).await? else {
        return Err(StoreError::NotFound(format!("the key {id}")));
    };
    let key = listed.key;
    let values = |but: Option<MembershipId>| {
        vec![
            Value::text(key.chain_id),
            Value::text(id),
            now.into(),
            Value::optional_text(but),
        ]
    };
    Ok(Descendants {
        live: session.count(COUNT, values(None)).await?,
        of_others: session
            .count(COUNT, values(Some(key.membership_id)))
            .await?,
    })
}

/// Revokes a key and all that come from it. Of a key that is revoked already it ends those that are not. Writers
/// are alone: no key of another is made with it between the question and the end.
pub(super) async fn revoke(
    transaction: &mut impl Session,
    id: KeyId,
    reach: Reach,
    audit_context: &AuditContext,
) -> Result<RevokedFamily, StoreError> {
    let Some(listed) = keys::get(transaction, id).await? else {
        return Err(StoreError::NotFound(format!("the key {id}")));
    };
    let key = listed.key;
    if reach == Reach::OwnersAlone
        && descendants(transaction, id, audit_context.at)
            .await?
            .of_others
            > 0
    {
        return Err(StoreError::OthersKeys);
    }
    let whose = || vec![Value::text(key.chain_id), Value::text(id)];
    let found = transaction.fetch(LIST, whose()).await?;
    let children = found
        .iter()
        .map(|row| row.parsed::<KeyId>("id"))
        .collect::<Result<Vec<_>, _>>()?;
    drop(found);
    let before = log::head(transaction).await?;
    let mut values = whose();
    values.push(audit_context.at.into());
    let keys = transaction.execute(REVOKE, values).await?;
    let sequence = log::head(transaction).await?;
    if keys > 0 {
        let ids = children.iter().take(AUDITED_IDS_MAX).map(KeyId::to_string);
        let details = json!({
            "name": key.name.as_str(),
            "owner": key.email.as_str(),
            "sequence": sequence.get(),
            "children": children.len(),
            "children_ids": ids.collect::<Vec<_>>(),
        });
        let audit_event = keys::audit_event(&key, Action::KeyRevoked, details);
        audit::append(transaction, audit_context, &audit_event).await?;
    }
    Ok(RevokedFamily {
        first: before.next().min(sequence),
        sequence,
        keys,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::KeyHash;
    use crate::model::scope::Scope;

    fn key(scopes: &[Scope], ends_at_ms: Option<i64>) -> Key {
        let zeros = "0".repeat(32);
        Key {
            id: format!("key_{zeros}").parse().unwrap(),
            hash: KeyHash::of(b"secret"),
            hint: String::new(),
            name: "ci".parse().unwrap(),
            organization_id: format!("org_{zeros}").parse().unwrap(),
            membership_id: format!("mbr_{zeros}").parse().unwrap(),
            user_id: format!("usr_{zeros}").parse().unwrap(),
            email: "hana@example.com".parse().unwrap(),
            email_verified: true,
            chain_id: format!("key_{zeros}").parse().unwrap(),
            parent_id: None,
            scopes: scopes.iter().copied().collect(),
            created_at: Timestamp::from_millis(0),
            expires_at: ends_at_ms.map(Timestamp::from_millis),
            is_replaced: false,
            revoked_at: None,
        }
    }

    #[test]
    fn a_child_is_used_for_no_more_and_ends_no_later() {
        use Scope::{Api, Manage, Mcp};
        let maker = key(&[Api, Manage], Some(10));
        let wider = Err(Beyond::Scopes(maker.scopes));
        let later = Err(Beyond::Expiry(Timestamp::from_millis(10)));
        for (child, expected) in [
            (key(&[Api], Some(10)), Ok(())),
            (key(&[Api, Manage], Some(9)), Ok(())),
            (key(&[Mcp], Some(9)), wider),
            (key(&[Api, Mcp, Manage], Some(9)), wider),
            (key(&[Api], Some(11)), later),
            (key(&[Api], None), later),
        ] {
            assert_eq!(within(&child, &maker), expected, "{child:?}");
        }
        let for_ever = key(&[Api], None);
        for end in [None, Some(i64::MAX)] {
            assert_eq!(within(&key(&[Api], end), &for_ever), Ok(()));
        }
    }
}
