//! Reading the log, and the look-up, which tells how far of it its answer holds.

use super::engine::{Session, Value};
use super::rows::{self, Columns};
use super::{LookedUp, StoreError, sql};
use crate::model::change::{Change, Sequence};
use crate::model::key::KeyHash;

pub(super) async fn look_up(
    session: &mut impl Session,
    hash: &KeyHash,
) -> Result<LookedUp, StoreError> {
    let row = session.first(sql::LOOK_UP, vec![hash.into()]).await?;
    rows::looked_up(&row.ok_or_else(headless)?)
}

pub(super) async fn head(session: &mut impl Session) -> Result<Sequence, StoreError> {
    let row = session.first(sql::HEAD, vec![]).await?;
    row.ok_or_else(headless)?.sequence("seq")
}

pub(super) async fn changes_after(
    session: &mut impl Session,
    after: Sequence,
    limit: u32,
) -> Result<Vec<Change>, StoreError> {
    let values = vec![rows::stored(after).into(), i64::from(limit).into()];
    let found = session.fetch(sql::CHANGES_AFTER, values).await?;
    found.iter().map(rows::change).collect()
}

/// How far an instance has applied the log, without touching its lease.
pub(super) fn acknowledgement(
    id: crate::model::id::InstanceId,
    applied: Sequence,
) -> (&'static str, Vec<Value>) {
    let values = vec![Value::text(id), rows::stored(applied).into()];
    (sql::ACKNOWLEDGE, values)
}

fn headless() -> StoreError {
    StoreError::Corrupt("`revocation_head` has no row; restore it from a backup".to_owned())
}
