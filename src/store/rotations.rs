//! The rules of rotation: an old key beside its successor. Those that write are given a transaction that
//! is alone.

use std::time::Duration;

use serde_json::json;

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::{statements, unrevoked};
use super::{Clash, Overlap, Rotation, StoreError, audit, keys, lineage, log};
use crate::model::audit::{Act, Action, Deed, Means};
use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::KeyId;
use crate::model::key::{Key, KeyState};

/// Keys ended in one transaction: the next round takes the rest.
const SILENT_MAX: i64 = 100;

statements! {
    INSERT = "INSERT INTO key_rotations (key_id, successor_id, at, ends_at, silent_ms) \
        VALUES ($1, $2, $3, $4, $5)";
    SILENT = concat!("SELECT r.key_id FROM key_rotations r JOIN keys k ON k.id = r.key_id \
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
    let overlap = match listed.rotation {
        Some(rotation) => anew(transaction, old, rotation, overlap, act).await?,
        None => overlap,
    };
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

/// One whose successor is gone, its text lost for one, may be replaced anew; but not by itself, and without living
/// longer for that: whoever holds a key that is on its way out could end its successors for ever.
async fn anew(
    transaction: &mut impl Session,
    old: KeyId,
    before: Rotation,
    overlap: Overlap,
    act: &Act,
) -> Result<Overlap, StoreError> {
    let successor = keys::get(transaction, before.successor).await?;
    let is_live = successor.is_some_and(|it| it.key.state(act.at) == KeyState::Live);
    if is_live || act.means == Means::Key(old) {
        return Err(StoreError::Conflict(Clash::KeyBeingReplaced));
    }
    transaction.execute(FORGET, vec![Value::text(old)]).await?;
    Ok(no_later(overlap, before.overlap, act.at))
}

/// An overlap that is not longer than the one before it. One that was to end at a moment ends at that moment or
/// before; one that was to end by silence ends by no longer one, or as if the silence began now.
fn no_later(wanted: Overlap, before: Overlap, now: Timestamp) -> Overlap {
    match (wanted, before) {
        (Overlap::Until(end), Overlap::Until(bound)) => Overlap::Until(end.min(bound)),
        (Overlap::UntilSilentFor(_), Overlap::Until(bound)) => Overlap::Until(bound),
        (Overlap::Until(end), Overlap::UntilSilentFor(silence)) => {
            Overlap::Until(end.min(now.plus(silence)))
        }
        (Overlap::UntilSilentFor(silence), Overlap::UntilSilentFor(bound)) => {
            Overlap::UntilSilentFor(silence.min(bound))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_overlap_is_longer_than_the_one_before_it() {
        use Overlap::{Until, UntilSilentFor};
        let at = Timestamp::from_millis;
        let ms = Duration::from_millis;
        for (wanted, before, expected) in [
            (Until(at(9)), Until(at(7)), Until(at(7))),
            (Until(at(6)), Until(at(7)), Until(at(6))),
            (UntilSilentFor(ms(1)), Until(at(7)), Until(at(7))),
            (Until(at(9)), UntilSilentFor(ms(3)), Until(at(8))),
            (Until(at(6)), UntilSilentFor(ms(3)), Until(at(6))),
            (
                UntilSilentFor(ms(4)),
                UntilSilentFor(ms(3)),
                UntilSilentFor(ms(3)),
            ),
            (
                UntilSilentFor(ms(2)),
                UntilSilentFor(ms(3)),
                UntilSilentFor(ms(2)),
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
