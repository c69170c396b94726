//! The rules of rotation: an old key beside its successor. Those that write are given a transaction that
//! is alone.

use std::time::Duration;

use serde_json::json;

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::statements;
use super::{Clash, Overlap, Rotation, StoreError, audit, keys, lineage, log};
use crate::model::audit::{Act, Action, Deed};
use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::KeyId;
use crate::model::key::{Key, KeyState};

/// Keys ended in one transaction: the next round takes the rest.
const SILENT_MAX: i64 = 100;

statements! {
    INSERT = "INSERT INTO key_rotations (key_id, successor_id, at, ends_at, silent_ms) \
        VALUES ($1, $2, $3, $4, $5)";
    SILENT = "SELECT r.key_id FROM key_rotations r JOIN keys k ON k.id = r.key_id \
        LEFT JOIN key_usage u ON u.key_id = r.key_id \
        WHERE r.silent_ms IS NOT NULL AND k.revoked_at IS NULL \
        AND r.at + r.silent_ms <= $1 AND $2 + r.silent_ms <= $1 \
        AND (u.last_used_at IS NULL OR u.last_used_at + r.silent_ms <= $1) \
        AND NOT EXISTS (SELECT 1 FROM key_open_requests o \
            WHERE o.key_id = r.key_id AND o.open > 0 AND o.at + r.silent_ms > $1) \
        ORDER BY r.key_id LIMIT $3";
    FORGET = "DELETE FROM key_rotations WHERE key_id = $1";
}

pub(super) async fn rotate(
    transaction: &mut impl Session,
    old: KeyId,
    successor: &Key,
    overlap: Overlap,
    act: &Act,
) -> Result<Sequence, StoreError> {
    let Some(listed) = keys::get(transaction, old).await? else {
        return Err(StoreError::NotFound(format!("the key {old}")));
    };
    let clash = match listed.key.state(act.at) {
        KeyState::Live => None,
        KeyState::Expired => Some(Clash::KeyExpired),
        KeyState::Revoked => Some(Clash::KeyRevoked),
    };
    if let Some(clash) = clash {
        return Err(StoreError::Conflict(clash));
    }
    if let Some(rotation) = listed.rotation {
        // One whose successor is gone, its text lost for one, may be replaced anew.
        let successor = keys::get(transaction, rotation.successor).await?;
        if successor.is_some_and(|it| it.key.state(act.at) == KeyState::Live) {
            return Err(StoreError::Conflict(Clash::KeyBeingReplaced));
        }
        transaction.execute(FORGET, vec![Value::text(old)]).await?;
    }
    lineage::within_maker(transaction, successor, act).await?;
    keys::insert(transaction, successor).await?;
    let (ends_at, silent) = match overlap {
        Overlap::Until(end) => (Some(end), None),
        Overlap::UntilSilentFor(silence) => (None, Some(silence)),
    };
    let silent_ms = silent.map(|silence| i64::try_from(silence.as_millis()).unwrap_or(i64::MAX));
    let values = vec![
        Value::text(old),
        Value::text(successor.id),
        act.at.into(),
        Value::optional_time(ends_at),
        Value::Number(silent_ms),
    ];
    transaction.execute(INSERT, values).await?;
    let deed = Deed {
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
    audit::append(transaction, act, &deed).await?;
    log::head(transaction).await
}

/// Whether there is such a key at all. It takes no lock: most of the time there is none.
pub(super) async fn is_any_silent(
    session: &mut impl Session,
    told_since: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let values = vec![now.into(), told_since.into(), 1.into()];
    Ok(session.first(SILENT, values).await?.is_some())
}

/// Ends the keys that nobody has used for as long as their rotation says, as of a moment since which uses
/// were told without a gap.
pub(super) async fn end_silent(
    transaction: &mut impl Session,
    told_since: Timestamp,
    act: &Act,
) -> Result<Vec<KeyId>, StoreError> {
    let values = vec![act.at.into(), told_since.into(), SILENT_MAX.into()];
    let found = transaction.fetch(SILENT, values).await?;
    let silent: Vec<_> = found
        .iter()
        .map(|row| row.parsed("key_id"))
        .collect::<Result<_, _>>()?;
    drop(found);
    for id in &silent {
        keys::revoke(transaction, *id, act).await?;
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
        Overlap::UntilSilentFor(Duration::from_millis(silent_ms))
    };
    Ok(Some(Rotation {
        successor: row.parsed("successor_id")?,
        overlap,
    }))
}
