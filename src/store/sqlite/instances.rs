//! Instances and their leases. A lease is in the host's boot clock: setting the wall clock breaks
//! none. A row of another boot has expired, whatever its number.

use std::time::Duration;

use super::SqliteEngine;
use crate::model::change::Sequence;
use crate::model::id::InstanceId;
use crate::store::engine::{Engine, Session, Value};
use crate::store::sql::statements;
use crate::store::{InstanceRow, Lease, StoreError, log, rows};

/// Rows of processes that ended without a word are kept this long, for people who look.
const FORGET_AFTER_MS: i64 = 3_600_000;

statements! {
    VERSION = "SELECT sqlite_version() AS version";
    FORGET = "DELETE FROM instances WHERE boot_id <> $1 OR lease_expires_at < $2";
    REGISTER = "INSERT INTO instances (id, boot_id, lease_expires_at, applied, evicted) \
        SELECT $1, $2, $3, seq, 0 FROM revocation_head WHERE TRUE \
        ON CONFLICT (id) DO UPDATE SET boot_id = excluded.boot_id, \
        lease_expires_at = excluded.lease_expires_at, applied = excluded.applied, evicted = 0";
    RENEW = "UPDATE instances SET boot_id = $2, lease_expires_at = $3, applied = $4 \
        WHERE id = $1 AND NOT evicted";
    INSTANCES = "SELECT id, applied, evicted, \
        CASE WHEN boot_id = $1 THEN lease_expires_at - $2 ELSE -1 END AS lease_left_ms \
        FROM instances ORDER BY id";
    EVICT_IF_EXPIRED = "UPDATE instances SET evicted = 1 \
        WHERE id = $1 AND (evicted OR boot_id <> $2 OR lease_expires_at < $3)";
}

impl SqliteEngine {
    fn boot_id(&self) -> Value {
        Value::text(&self.boot_id)
    }

    fn boot_ms(&self) -> i64 {
        self.clock.boot().as_millis()
    }

    fn lease_end(&self, lease: Duration) -> Value {
        self.boot_ms().saturating_add(rows::lease_ms(lease)).into()
    }
}

/// The clock is read with the write lock held: what waited for the lock is not lost to the lease.
pub(super) async fn register(
    engine: &SqliteEngine,
    id: InstanceId,
    lease: Duration,
) -> Result<Sequence, StoreError> {
    let mut transaction = engine.begin().await?;
    let long_ago = engine.boot_ms().saturating_sub(FORGET_AFTER_MS);
    let forgotten = vec![engine.boot_id(), long_ago.into()];
    transaction.execute(FORGET, forgotten).await?;
    let row = vec![Value::text(id), engine.boot_id(), engine.lease_end(lease)];
    transaction.execute(REGISTER, row).await?;
    let head = log::head(&mut transaction).await?;
    engine.commit(transaction).await?;
    Ok(head)
}

pub(super) async fn renew(
    engine: &SqliteEngine,
    id: InstanceId,
    applied: Sequence,
    lease: Duration,
) -> Result<Lease, StoreError> {
    let mut transaction = engine.begin().await?;
    let values = vec![
        Value::text(id),
        engine.boot_id(),
        engine.lease_end(lease),
        rows::stored(applied).into(),
    ];
    let changed = transaction.execute(RENEW, values).await?;
    engine.commit(transaction).await?;
    Ok(Lease::of_rows(changed))
}

pub(super) async fn list(engine: &SqliteEngine) -> Result<Vec<InstanceRow>, StoreError> {
    let mut reader = engine.reader().await?;
    let values = vec![engine.boot_id(), engine.boot_ms().into()];
    let found = reader.fetch(INSTANCES, values).await?;
    found.iter().map(rows::instance).collect()
}

/// The clock is read with the write lock held: a renewal before it has been seen.
pub(super) async fn evict_if_expired(
    engine: &SqliteEngine,
    id: InstanceId,
) -> Result<bool, StoreError> {
    let mut transaction = engine.begin().await?;
    let values = vec![Value::text(id), engine.boot_id(), engine.boot_ms().into()];
    let evicted = transaction.execute(EVICT_IF_EXPIRED, values).await?;
    engine.commit(transaction).await?;
    Ok(evicted > 0)
}
