//! The rules of keys. Those that write are given a transaction that is alone.

use serde_json::json;

use super::engine::{Session, Value};
use super::rows::Columns;
use super::{
    Conflict, Created, Idempotency, KeyFilter, KeyOwner, KeyPage, ListedKey, PageRequest, Revoked,
    StoreError, audit, idempotency, lineage, log, rotations, rows, sql,
};
use crate::model::audit::{Action, AuditContext, AuditEvent};
use crate::model::clock::Timestamp;
use crate::model::id::KeyId;
use crate::model::key::{IMPORTED_HINT, Key};
use crate::model::member::Name;

/// Above every id, which are hexadecimal after their prefix, in every collation.
const ABOVE_EVERY_ID: &str = "key_g";

pub(super) async fn create(
    transaction: &mut impl Session,
    key: &Key,
    idempotency: Option<&Idempotency>,
    audit_context: &AuditContext,
) -> Result<Created, StoreError> {
    let id = key.id.to_string();
    if let Some(before) = idempotency::claim(transaction, idempotency, &id, audit_context).await? {
        return Ok(Created::Before(before));
    }
    lineage::within_maker(transaction, key, audit_context).await?;
    insert(transaction, key).await?;
    let action = if key.hint == IMPORTED_HINT {
        Action::KeyImported
    } else {
        Action::KeyCreated
    };
    let details = json!({
        "name": key.name.as_str(),
        "owner": key.email.as_str(),
        "scopes": key.scopes.to_string(),
        "expires_at": key.expires_at.map(Timestamp::with_millis),
        "parent": key.parent_id.map(|id| id.to_string()),
    });
    let audit_event = audit_event(key, action, details);
    audit::append(transaction, audit_context, &audit_event).await?;
    Ok(Created::Now(log::head(transaction).await?))
}

pub(super) fn audit_event(key: &Key, action: Action, details: serde_json::Value) -> AuditEvent {
    AuditEvent {
        organization: Some(key.organization_id),
        action,
        subject: key.id.to_string(),
        details,
    }
}

/// The row alone.
pub(super) async fn insert(transaction: &mut impl Session, key: &Key) -> Result<(), StoreError> {
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
    Ok(())
}

/// In the order of [`sql::INSERT_KEY`].
fn columns(key: &Key) -> Vec<Value> {
    vec![
        Value::text(key.id),
        (&key.hash).into(),
        Value::text(&key.hint),
        Value::text(&key.name),
        Value::text(key.membership_id),
        Value::text(key.scopes),
        key.created_at.into(),
        Value::optional_time(key.expires_at),
        Value::Flag(key.email_verified),
        Value::text(key.chain_id),
        Value::optional_text(key.parent_id),
    ]
}

pub(super) async fn get(
    session: &mut impl Session,
    id: KeyId,
) -> Result<Option<ListedKey>, StoreError> {
    let row = session
        .first(sql::LISTED_KEY, vec![Value::text(id)])
        .await?;
    row.as_ref().map(listed).transpose()
}

fn listed(row: &impl Columns) -> Result<ListedKey, StoreError> {
    let predecessor = match row.text("predecessor_id")? {
        Some(_id) => Some(row.parsed("predecessor_id")?),
        None => None,
    };
    Ok(ListedKey {
        key: rows::key(row)?,
        owner_name: row.name("owner_name")?,
        owner_kind: row.parsed("owner_kind")?,
        rotation: rotations::read(row)?,
        predecessor,
        last_used_at: row.optional_time("last_used_at")?,
    })
}

pub(super) async fn list(
    session: &mut impl Session,
    filter: KeyFilter,
    page: PageRequest<KeyId>,
) -> Result<Vec<Key>, StoreError> {
    let values = vec![
        Value::optional_text(filter.organization_id),
        Value::optional_text(filter.membership_id),
        Value::Flag(filter.include_revoked),
        below(page),
        i64::from(page.limit).into(),
    ];
    let found = session.fetch(sql::KEYS, values).await?;
    found.iter().map(rows::key).collect()
}

/// The id below which a page begins.
fn below(page: PageRequest<KeyId>) -> Value {
    match page.after {
        Some(id) => Value::text(id),
        None => Value::text(ABOVE_EVERY_ID),
    }
}

pub(super) async fn page(
    session: &mut impl Session,
    wanted: KeyPage,
) -> Result<Vec<ListedKey>, StoreError> {
    let below = below(wanted.page);
    let limit = i64::from(wanted.page.limit).into();
    if let Some(chain) = wanted.parent {
        let (organization, membership) = match wanted.whose {
            KeyOwner::Organization(id) => (Some(id), None),
            KeyOwner::Membership(id) => (None, Some(id)),
        };
        let values = vec![
            Value::optional_text(organization),
            Value::optional_text(membership),
            Value::text(chain),
            Value::Flag(wanted.include_revoked),
            below,
            limit,
        ];
        let found = session.fetch(sql::KEYS_OF_PARENT, values).await?;
        return found.iter().map(listed).collect();
    }
    let (sql, values) = match wanted.whose {
        KeyOwner::Membership(id) => (
            sql::KEYS_OF_MEMBERSHIP,
            vec![
                Value::text(id),
                below,
                limit,
                Value::Flag(wanted.include_revoked),
            ],
        ),
        KeyOwner::Organization(id) if wanted.include_revoked => (
            sql::ALL_KEYS_OF_ORGANIZATION,
            vec![Value::text(id), below, limit],
        ),
        KeyOwner::Organization(id) => (
            sql::LIVE_KEYS_OF_ORGANIZATION,
            vec![Value::text(id), below, limit],
        ),
    };
    let found = session.fetch(sql, values).await?;
    found.iter().map(listed).collect()
}

pub(super) async fn rename(
    transaction: &mut impl Session,
    id: KeyId,
    from: &Name,
    to: &Name,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    let Some(listed) = get(transaction, id).await? else {
        return Err(StoreError::NotFound(format!("the key {id}")));
    };
    let values = vec![Value::text(id), Value::text(to), Value::text(from)];
    if transaction.execute(sql::RENAME_KEY, values).await? == 0 {
        return Err(StoreError::Conflict(Conflict::KeyRenamed));
    }
    let details = json!({ "from": from.as_str(), "to": to.as_str() });
    audit::append(
        transaction,
        audit_context,
        &audit_event(&listed.key, Action::KeyRenamed, details),
    )
    .await
}

pub(super) async fn revoke(
    transaction: &mut impl Session,
    id: KeyId,
    audit_context: &AuditContext,
) -> Result<Revoked, StoreError> {
    let values = vec![Value::text(id), audit_context.at.into()];
    let keys = transaction.execute(sql::REVOKE_KEY, values).await?;
    let Some(listed) = get(transaction, id).await? else {
        return Err(StoreError::NotFound(format!("the key {id}")));
    };
    let sequence = log::head(transaction).await?;
    // Who revokes what is revoked waits again, and has done nothing.
    if keys > 0 {
        let details = json!({
            "name": listed.key.name.as_str(),
            "owner": listed.key.email.as_str(),
            "sequence": sequence.get(),
        });
        let audit_event = audit_event(&listed.key, Action::KeyRevoked, details);
        audit::append(transaction, audit_context, &audit_event).await?;
    }
    Ok(Revoked { sequence, keys })
}
