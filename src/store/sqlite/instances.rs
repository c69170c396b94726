//! Instances and their leases; and what else only SQLite understands.

use std::time::Duration;

use super::SqliteEngine;
use crate::model::change::Sequence;
use crate::model::id::InstanceId;
use crate::store::engine::{Engine, Session, Value};
use crate::store::rows::{self, Columns};
use crate::store::sql::{self, forget, instances, log_page, register, renew, statements};
use crate::store::{Lease, Report, StoreError, log};

statements! {
    VERSION = "SELECT sqlite_version() AS version";
    FORGET = forget!("CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)");
    REGISTER = register!("CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)");
    RENEW = renew!("CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)");
    LOG_PAGE = log_page!("''", "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)");
    INSTANCES = instances!("''", "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)");
    REPORT = "INSERT OR IGNORE INTO revocation_reports \
            (seq, instance_id, streams_cut, last_accepted_at) \
        SELECT json_extract(value, '$.seq'), $1, json_extract(value, '$.cut'), \
            json_extract(value, '$.last') FROM json_each($2)";
}

pub(super) async fn register(
    engine: &SqliteEngine,
    id: InstanceId,
    lease: Duration,
) -> Result<Sequence, StoreError> {
    let mut transaction = engine.begin_next().await?;
    transaction.execute(FORGET, vec![]).await?;
    transaction.execute(sql::FORGET_REPORTS, vec![]).await?;
    let row = vec![Value::text(id), rows::lease_ms(lease).into()];
    let registered = transaction.first(REGISTER, row).await?;
    let head = registered.ok_or_else(rows::headless)?.sequence("seq")?;
    engine.commit(transaction).await?;
    Ok(head)
}

/// In one transaction, so that whoever sees the acknowledgement sees the reports.
pub(super) async fn acknowledge(
    engine: &SqliteEngine,
    id: InstanceId,
    applied: Sequence,
    reports: &[Report],
) -> Result<Lease, StoreError> {
    let mut transaction = engine.begin_next().await?;
    if !reports.is_empty() {
        let values = vec![Value::text(id), log::reports_as_json(reports)];
        transaction.execute(REPORT, values).await?;
    }
    let values = vec![Value::text(id), rows::stored(applied).into()];
    let changed = transaction.execute(sql::ACKNOWLEDGE, values).await?;
    engine.commit_quietly(transaction).await?;
    Ok(Lease::of_rows(changed))
}
