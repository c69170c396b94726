//! The rules of keys. Those that write are given a transaction that is alone.

use super::engine::{Session, Value};
use super::{KeyFilter, Revoked, StoreError, log, rows, sql};
use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::KeyId;
use crate::model::key::Key;

pub(super) async fn create(
    transaction: &mut impl Session,
    key: &Key,
) -> Result<Sequence, StoreError> {
    let stay = vec![Value::text(key.membership_id)];
    if transaction.first(sql::MEMBER, stay).await?.is_none() {
        let membership = format!("the membership {}", key.membership_id);
        return Err(StoreError::NotFound(membership));
    }
    let hash = vec![(&key.hash).into()];
    if transaction.count(sql::HASH_EXISTS, hash).await? > 0 {
        return Err(StoreError::Exists("a key with this SHA-256".to_owned()));
    }
    transaction.execute(sql::INSERT_KEY, columns(key)).await?;
    log::head(transaction).await
}

/// In the order of [`sql::INSERT_KEY`].
fn columns(key: &Key) -> Vec<Value> {
    vec![
        Value::text(key.id),
        (&key.hash).into(),
        Value::text(&key.hint),
        Value::text(&key.name),
        Value::text(key.membership_id),
        Value::text(key.organization_id),
        Value::text(key.user_id),
        Value::text(key.scopes),
        key.created_at.into(),
        Value::optional_time(key.expires_at),
    ]
}

pub(super) async fn get(session: &mut impl Session, id: KeyId) -> Result<Option<Key>, StoreError> {
    let row = session.first(sql::KEY, vec![Value::text(id)]).await?;
    row.as_ref().map(rows::key).transpose()
}

pub(super) async fn list(
    session: &mut impl Session,
    filter: KeyFilter,
) -> Result<Vec<Key>, StoreError> {
    let values = vec![
        Value::optional_text(filter.organization_id),
        Value::optional_text(filter.membership_id),
        Value::Flag(filter.revoked_too),
    ];
    let found = session.fetch(sql::KEYS, values).await?;
    found.iter().map(rows::key).collect()
}

pub(super) async fn revoke(
    transaction: &mut impl Session,
    id: KeyId,
    now: Timestamp,
) -> Result<Revoked, StoreError> {
    let values = vec![Value::text(id), now.into()];
    let keys = transaction.execute(sql::REVOKE_KEY, values).await?;
    if keys == 0 {
        let known = transaction.count(sql::KEY_EXISTS, vec![Value::text(id)]);
        if known.await? == 0 {
            return Err(StoreError::NotFound(format!("the key {id}")));
        }
    }
    let sequence = log::head(transaction).await?;
    Ok(Revoked { sequence, keys })
}
