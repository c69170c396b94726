//! Instances and their leases, in the server's clock; and what else only PostgreSQL understands.

use std::time::Duration;

use super::PostgresEngine;
use crate::model::change::Sequence;
use crate::model::id::InstanceId;
use crate::store::engine::{Engine, Session, Value};
use crate::store::rows::{self, Columns};
use crate::store::sql::statements;
use crate::store::{InstanceRow, Lease, StoreError};

statements! {
    VERSION = "SELECT current_setting('server_version') AS version";
    LOCK_HEAD = "SELECT seq FROM revocation_head FOR UPDATE";
    /// Rows of processes that ended without a word are kept for an hour, for people who look.
    FORGET = "DELETE FROM instances WHERE lease_expires_at < clock_ms() - 3600000";
    REGISTER = "INSERT INTO instances (id, lease_expires_at, applied, evicted) \
        SELECT $1, clock_ms() + $2, seq, FALSE FROM revocation_head \
        ON CONFLICT (id) DO UPDATE SET lease_expires_at = excluded.lease_expires_at, \
        applied = excluded.applied, evicted = FALSE RETURNING applied";
    RENEW = "UPDATE instances SET lease_expires_at = clock_ms() + $2, applied = $3 \
        WHERE id = $1 AND NOT evicted";
    INSTANCES = "SELECT id, applied, evicted, lease_expires_at - clock_ms() AS lease_left_ms \
        FROM instances ORDER BY id";
    /// A renewal that is under way holds the row: the condition is tried anew when it has committed.
    EVICT_IF_EXPIRED = "UPDATE instances SET evicted = TRUE \
        WHERE id = $1 AND (evicted OR lease_expires_at < clock_ms())";
}

pub(super) async fn register(
    engine: &PostgresEngine,
    id: InstanceId,
    lease: Duration,
) -> Result<Sequence, StoreError> {
    let mut reader = engine.reader().await?;
    reader.execute(FORGET, vec![]).await?;
    let values = vec![Value::text(id), rows::lease_ms(lease).into()];
    match reader.first(REGISTER, values).await? {
        Some(row) => row.sequence("applied"),
        None => Err(StoreError::Corrupt(
            "`revocation_head` has no row".to_owned(),
        )),
    }
}

pub(super) async fn renew(
    engine: &PostgresEngine,
    id: InstanceId,
    applied: Sequence,
    lease: Duration,
) -> Result<Lease, StoreError> {
    let values = vec![
        Value::text(id),
        rows::lease_ms(lease).into(),
        rows::stored(applied).into(),
    ];
    let changed = engine.write_instance(RENEW, values).await?;
    Ok(Lease::of_rows(changed))
}

pub(super) async fn list(engine: &PostgresEngine) -> Result<Vec<InstanceRow>, StoreError> {
    let found = engine.reader().await?.fetch(INSTANCES, vec![]).await?;
    found.iter().map(rows::instance).collect()
}
