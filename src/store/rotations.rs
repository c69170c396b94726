//! The rules of rotation: an old key beside its successor. Those that write are given a transaction that
//! is alone.

use std::time::Duration;

use serde_json::json;

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::{statements, unrevoked};
use super::{Conflict, Overlap, Rotation, StoreError, audit, keys, lineage, log};
use crate::model::audit::{Action, AuditContext, AuditEvent, AuthMethod};
use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::KeyId;
use crate::model::key::{Key, KeyState};

/// Keys ended in one transaction: the next round takes the rest.
const IDLE_KEYS_MAX: i64 = 100;

statements! {
    INSERT = "INSERT INTO key_rotations (key_id, successor_id, at, ends_at, silent_ms) \
        VALUES ($1, $2, $3, $4, $5)";
    IDLE = concat!("SELECT r.key_id FROM key_rotations r JOIN keys k ON k.id = r.key_id \
        LEFT JOIN key_usage u ON u.key_id = r.key_id \
        WHERE r.silent_ms IS NOT NULL AND ", unrevoked!(), " \
        AND r.at + r.silent_ms <= $1 AND $2 + r.silent_ms <= $1 \
        AND (u.last_used_at IS NULL OR u.last_used_at + r.silent_ms <= $1) \
        AND NOT EXISTS (SELECT 1 FROM key_open_requests o \
            WHERE o.key_id = r.key_id AND o.open > 0 AND o.at + r.silent_ms > $1) \
        ORDER BY r.key_id LIMIT $3");
    FORGET = "DELETE FROM key_rotations WHERE key_id = $1";
}

pub(super) async fn rotate(
    transaction: &mut impl Session,
    old: KeyId,
    successor: &Key,
    overlap: Overlap,
    audit_context: &AuditContext,
) -> Result<Sequence, StoreError> {
    let Some(listed) = keys::get(transaction, old).await? else {
        return Err(StoreError::NotFound(format!("the key {old}")));
    };
    let conflict = match listed.key.state(audit_context.at) {
        KeyState::Live => None,
        KeyState::Expired => Some(Conflict::KeyExpired),
        KeyState::Revoked => Some(Conflict::KeyRevoked),
    };
    if let Some(conflict) = conflict {
        return Err(StoreError::Conflict(conflict));
    }
    let overlap = match listed.rotation {
        Some(rotation) => anew(transaction, old, rotation, overlap, audit_context).await?,
        None => overlap,
    };
    lineage::within_maker(transaction, successor, audit_context).await?;
    keys::insert(transaction, successor).await?;
    let (ends_at, silent) = match overlap {
        Overlap::Until(end) => (Some(end), None),
        Overlap::UntilIdleFor(silence) => (None, Some(silence)),
    };
    let silent_ms = silent.map(|silence| i64::try_from(silence.as_millis()).unwrap_or(i64::MAX));
    let values = vec![
        Value::text(old),
        Value::text(successor.id),
        audit_context.at.into(),
        Value::optional_time(ends_at),
        Value::Number(silent_ms),
    ];
    transaction.execute(INSERT, values).await?;
    let audit_event = AuditEvent {
        organization: Some(successor.organization_id),
        action: Action::KeyRotated,
        subject: old.to_string(),
        details: json!({
            "name": successor.name.as_str(),
            "successor": successor.id.to_string(),
            "expires_at": successor.expires_at.map(Timestamp::with_millis),
            "parent": successor.parent_id.map(|id| id.to_string()),
            "ends_at": ends_at.map(Timestamp::with_millis),
            "silent_ms": silent_ms,
        }),
    };
    audit::append(transaction, audit_context, &audit_event).await?;
    log::head(transaction).await
}

/// One whose successor is gone, its text lost for one, may be replaced anew; but not by itself, and without living
/// longer for that: anybody who holds a key that is on its way out could end its successors for ever.
async fn anew(
    transaction: &mut impl Session,
    old: KeyId,
    before: Rotation,
    overlap: Overlap,
    audit_context: &AuditContext,
) -> Result<Overlap, StoreError> {
    let successor = keys::get(transaction, before.successor).await?;
    let is_live = successor.is_some_and(|it| it.key.state(audit_context.at) == KeyState::Live);
    if is_live || audit_context.auth_method == AuthMethod::Key(old) {
        return Err(StoreError::Conflict(Conflict::KeyBeingReplaced));
    }
    transaction.execute(FORGET, vec![Value::text(old)]).await?;
    Ok(no_later(overlap, before.overlap, audit_context.at))
}

/// An overlap that is not longer than the one before it. One that was to end at a moment ends at that moment or
/// before; one that was to end by silence ends by no longer one, or as if the silence began now.
fn no_later(wanted: Overlap, before: Overlap, now: Timestamp) -> Overlap {
    match (wanted, before) {
        (Overlap::Until(end), Overlap::Until(bound)) => Overlap::Until(end.min(bound)),
        (Overlap::UntilIdleFor(_), Overlap::Until(bound)) => Overlap::Until(bound),
        (Overlap::Until(end), Overlap::UntilIdleFor(silence)) => {
            Overlap::Until(end.min(now.plus(silence)))
        }
        (Overlap::UntilIdleFor(silence), Overlap::UntilIdleFor(bound)) => {
            Overlap::UntilIdleFor(silence.min(bound))
        }
    }
}

/// Whether there is such a key at all. It takes no lock: most of the time there is none.
pub(super) async fn is_any_idle(
    session: &mut impl Session,
    usage_complete_since: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let values = vec![now.into(), usage_complete_since.into(), 1.into()];
    Ok(session.first(IDLE, values).await?.is_some())
}

/// Ends the keys that nobody has used for as long as their rotation says, as of a moment since which uses
/// were reported without a gap.
pub(super) async fn end_idle(
    transaction: &mut impl Session,
    usage_complete_since: Timestamp,
    audit_context: &AuditContext,
) -> Result<Vec<KeyId>, StoreError> {
    let values = vec![
        audit_context.at.into(),
        usage_complete_since.into(),
        IDLE_KEYS_MAX.into(),
    ];
    let found = transaction.fetch(IDLE, values).await?;
    let silent: Vec<_> = found
        .iter()
        .map(|row| row.parsed("key_id"))
        .collect::<Result<_, _>>()?;
    drop(found);
    for id in &silent {
        keys::revoke(transaction, *id, audit_context).await?;
    }
    Ok(silent)
}

/// What a list says of a key's rotation.
pub(super) fn read(row: &impl Columns) -> Result<Option<Rotation>, StoreError> {
    let Some(_successor) = row.text("successor_id")? else {
        return Ok(None);
    };
    let overlap = if let Some(end) = row.optional_time("ends_at")? {
        Overlap::Until(end)
    } else {
        let silent_ms = u64::try_from(row.integer("silent_ms")?);
        let silent_ms = silent_ms
            .map_err(|_negative| StoreError::Corrupt("`silent_ms` cannot be read".to_owned()))?;
        Overlap::UntilIdleFor(Duration::from_millis(silent_ms))
    };
    Ok(Some(Rotation {
        successor: row.parsed("successor_id")?,
        overlap,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_overlap_is_longer_than_the_one_before_it() {
        use Overlap::{Until, UntilIdleFor};
        let at = Timestamp::from_millis;
        let ms = Duration::from_millis;
        for (wanted, before, expected) in [
            (Until(at(9)), Until(at(7)), Until(at(7))),
            (Until(at(6)), Until(at(7)), Until(at(6))),
            (UntilIdleFor(ms(1)), Until(at(7)), Until(at(7))),
            (Until(at(9)), UntilIdleFor(ms(3)), Until(at(8))),
            (Until(at(6)), UntilIdleFor(ms(3)), Until(at(6))),
            (
                UntilIdleFor(ms(4)),
                UntilIdleFor(ms(3)),
                UntilIdleFor(ms(3)),
            ),
            (
                UntilIdleFor(ms(2)),
                UntilIdleFor(ms(3)),
                UntilIdleFor(ms(2)),
            ),
        ] {
            assert_eq!(
                no_later(wanted, before, at(5)),
                expected,
                "{wanted:?} {before:?}"
            );
        }
    }
}
