//! Creations that a client repeats because it did not hear the answer. The rule is given a transaction
//! that is alone.

use std::time::Duration;

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::statements;
use super::{Conflict, Idempotency, StoreError};
use crate::model::audit::{Actor, AuditContext};

/// How long a creation is remembered: longer than any client goes on trying.
const REMEMBERED_FOR: Duration = Duration::from_hours(24);

statements! {
    FORGET = "DELETE FROM idempotency_keys WHERE membership_id = $1 AND created_at < $2";
    FIND = "SELECT request_hash, subject FROM idempotency_keys \
        WHERE membership_id = $1 AND idempotency_key = $2";
    INSERT = "INSERT INTO idempotency_keys \
        (membership_id, idempotency_key, request_hash, subject, created_at) \
        VALUES ($1, $2, $3, $4, $5)";
}

/// What was made under this key before; or, if nothing was, remembers that `subject` is being made.
pub(super) async fn claim(
    transaction: &mut impl Session,
    idempotency: Option<&Idempotency>,
    subject: &str,
    audit_context: &AuditContext,
) -> Result<Option<String>, StoreError> {
    let (Some(claimed), Actor::Member { id, .. }) = (idempotency, &audit_context.actor) else {
        return Ok(None);
    };
    let remembered_ms = i64::try_from(REMEMBERED_FOR.as_millis()).unwrap_or(i64::MAX);
    let long_ago = audit_context.at.as_millis().saturating_sub(remembered_ms);
    let forget = vec![Value::text(id), long_ago.into()];
    transaction.execute(FORGET, forget).await?;
    let find = vec![Value::text(id), Value::text(&claimed.key)];
    if let Some(row) = transaction.first(FIND, find).await? {
        if row.bytes("request_hash")? != claimed.request.as_bytes() {
            return Err(StoreError::Conflict(Conflict::IdempotencyKeyReused));
        }
        return row.present("subject", row.text("subject")?).map(Some);
    }
    let insert = vec![
        Value::text(id),
        Value::text(&claimed.key),
        (&claimed.request).into(),
        Value::text(subject),
        audit_context.at.into(),
    ];
    transaction.execute(INSERT, insert).await?;
    Ok(None)
}
