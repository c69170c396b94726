//! Instances and their leases; and what else only PostgreSQL understands.

use std::time::Duration;

use super::PostgresEngine;
use crate::model::change::Sequence;
use crate::model::id::InstanceId;
use crate::store::engine::{Engine, Session, Value};
use crate::store::rows::{self, Columns};
use crate::store::sql::{forget, log_page, renew, statements};
use crate::store::{Instances, Lease, LogPage, Report, StoreError, instances, log};

statements! {
    /// Of this connection: the server, and the TLS that it sees.
    VERSION = "SELECT current_setting('server_version') AS version, \
        (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS tls";
    LOCK_HEAD = "SELECT seq FROM revocation_head FOR UPDATE";
    FORGET = forget!("clock_ms()");
    FORGET_REPORTS = "DELETE FROM revocation_reports \
        WHERE seq < (SELECT seq FROM revocation_head) - 100000";
    /// A new row, at the head of the log.
    REGISTER = "INSERT INTO instances (id, renewals, lease_ms, applied, evicted, renewed_at, knows_marks) \
        SELECT $1, 0, $2, seq, FALSE, clock_ms(), TRUE FROM revocation_head RETURNING applied AS seq";
    /// Gateways of a version before marks that may hold a lease.
    WITHOUT_MARKS = "SELECT COUNT(*) AS n FROM instances WHERE NOT evicted AND NOT knows_marks";
    RENEW = renew!("clock_ms()");
    /// The history is the timeline, which a standby that is promoted begins anew: the first eight
    /// digits of the name of the file that is written now.
    LOG_PAGE = log_page!(
        "CASE WHEN pg_is_in_recovery() THEN 'standby' \
         ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END",
        "clock_ms()"
    );
    /// The head, and with it, in one snapshot, every instance.
    INSTANCES = "SELECT h.seq AS head, CASE WHEN pg_is_in_recovery() THEN 'standby' \
            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS history, \
            i.id, i.renewals, i.lease_ms, i.applied, i.evicted, clock_ms() - i.renewed_at AS renewed_ago_ms \
        FROM revocation_head h LEFT JOIN instances i ON TRUE ORDER BY i.id";
    /// One statement, so that a reader of the acknowledgement sees the reports.
    ACKNOWLEDGE_WITH_REPORTS = "WITH told AS (INSERT INTO revocation_reports \
            (seq, instance_id, streams_cut, last_accepted_at) \
            SELECT r.seq, $1, r.cut, r.last \
            FROM json_to_recordset(CAST($3 AS json)) AS r (seq BIGINT, cut BIGINT, last BIGINT) \
            ON CONFLICT DO NOTHING) \
        UPDATE instances SET applied = GREATEST(applied, $2) WHERE id = $1 AND NOT evicted";
}

pub(super) async fn register(
    engine: &PostgresEngine,
    id: InstanceId,
    lease: Duration,
) -> Result<Sequence, StoreError> {
    engine.heartbeat.execute(FORGET, vec![]).await?;
    engine.heartbeat.execute(FORGET_REPORTS, vec![]).await?;
    let values = vec![Value::text(id), rows::lease_ms(lease).into()];
    let registered = engine.heartbeat.fetch(REGISTER, values).await?;
    let row = registered.first().ok_or_else(rows::headless)?;
    row.sequence("seq")
}

pub(super) async fn renew(
    engine: &PostgresEngine,
    id: InstanceId,
    applied: Sequence,
) -> Result<Lease, StoreError> {
    let values = vec![Value::text(id), rows::stored(applied).into()];
    let renewed = engine.heartbeat.execute(RENEW, values).await;
    renewed.map(Lease::of_rows)
}

pub(super) async fn read_log(
    engine: &PostgresEngine,
    from: Sequence,
    limit: u32,
) -> Result<LogPage, StoreError> {
    let values = log::page_values(from, limit);
    rows::log_page(
        &engine.heartbeat.fetch(LOG_PAGE, values).await?,
        from,
        limit,
    )
}

pub(super) async fn acknowledge(
    engine: &PostgresEngine,
    id: InstanceId,
    applied: Sequence,
    reports: &[Report],
) -> Result<Lease, StoreError> {
    let mut values = vec![Value::text(id), rows::stored(applied).into()];
    let statement = if reports.is_empty() {
        instances::ACKNOWLEDGE
    } else {
        values.push(log::reports_as_json(reports));
        ACKNOWLEDGE_WITH_REPORTS
    };
    let acknowledged = engine.heartbeat.execute(statement, values).await;
    acknowledged.map(Lease::of_rows)
}

pub(super) async fn list(engine: &PostgresEngine) -> Result<Instances, StoreError> {
    let found = if engine.heartbeat.beats().await {
        engine.heartbeat.fetch(INSTANCES, vec![]).await?
    } else {
        engine.reader().await?.fetch(INSTANCES, vec![]).await?
    };
    rows::instances(&found)
}
