//! Reading the log, and the look-up, which names the place in the log for which its answer holds.

use super::engine::{Session, Value};
use super::rows::{self, Columns};
use super::{LookedUp, Report, StoreError, sql};
use crate::model::change::{Change, ChangeKind, Sequence};
use crate::model::clock::Timestamp;
use crate::model::key::KeyHash;

pub(super) async fn look_up(
    session: &mut impl Session,
    hash: &KeyHash,
) -> Result<LookedUp, StoreError> {
    let row = session.first(sql::LOOK_UP, vec![hash.into()]).await?;
    rows::looked_up(&row.ok_or_else(rows::headless)?)
}

pub(super) async fn head(session: &mut impl Session) -> Result<Sequence, StoreError> {
    let row = session.first(sql::HEAD, vec![]).await?;
    row.ok_or_else(rows::headless)?.sequence("seq")
}

/// For a page of at most `limit` entries after `from`, and the one at `from`.
pub(super) fn page_values(from: Sequence, limit: u32) -> Vec<Value> {
    vec![
        rows::stored(from).into(),
        i64::from(limit).saturating_add(1).into(),
    ]
}

/// Reports as one value, for the statement that stores them all.
pub(super) fn reports_as_json(reports: &[Report]) -> Value {
    let list: Vec<_> = reports
        .iter()
        .map(|report| {
            serde_json::json!({
                "seq": report.sequence.get(),
                "cut": report.streams_cut,
                "last": report.last_accepted_at.map(Timestamp::as_millis),
            })
        })
        .collect();
    Value::text(serde_json::Value::from(list))
}

/// Revokes again what a database that lost its newest history has alive. Of what is revoked it changes
/// nothing; revoked keys never come back, so to say it twice is always right.
pub(super) async fn reassert(
    transaction: &mut impl Session,
    changes: &[Change],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let mut again = 0;
    for change in changes {
        let (sql, values) = match change.kind {
            ChangeKind::KeyRevoked(hash) => (sql::REVOKE_HASH, vec![(&hash).into(), now.into()]),
            ChangeKind::MemberRemoved(member) => {
                (sql::END_MEMBERSHIP, vec![Value::text(member), now.into()])
            }
            ChangeKind::EverythingRevoked(of) => (
                sql::REVOKE_OLDER,
                vec![Value::optional_text(of), now.into(), change.at.into()],
            ),
            ChangeKind::KeyCreated(_) | ChangeKind::MemberChanged(_) => continue,
        };
        again += transaction.execute(sql, values).await?;
    }
    Ok(again)
}
