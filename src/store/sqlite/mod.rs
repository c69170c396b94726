//! SQLite: one file, for any number of processes of one host.
//!
//! Write-ahead log, so that readers never wait for the writer; `synchronous = FULL`, for the answer
//! to a revocation is a promise. One connection writes, always from `BEGIN IMMEDIATE`: a transaction
//! that begins by reading cannot wait for the lock, whatever the busy timeout.

mod errors;
mod guards;
mod instances;
mod open;
mod session;
mod turns;
mod usage;
mod wait;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqlitePool};

use self::errors::explain;
use self::session::Link;
use self::turns::{Turn, Turns, Write};
use super::database::Database;
use super::engine::{Engine, Session, Value};
use super::rows::Columns;
use super::{
    Instances, Lease, LogPage, Management, Report, StoreError, access_ends, accounts, audit,
    idempotency, invitations, lineage, log, rotations, rows, secrets, sessions, sql,
    usage as tellings,
};
use crate::model::change::Sequence;
use crate::model::id::InstanceId;

/// How long a writer waits for another process's transaction. Ours take milliseconds; a backup tool
/// may take seconds.
pub const BUSY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Every statement that is run here, by name.
pub const STATEMENTS: &[&[(&str, &str)]] = &[
    sql::ALL,
    access_ends::ALL,
    accounts::ALL,
    audit::ALL,
    idempotency::ALL,
    invitations::ALL,
    lineage::ALL,
    rotations::ALL,
    secrets::ALL,
    sessions::ALL,
    tellings::ALL,
    usage::ALL,
    instances::ALL,
];

/// Opens the file, creating it (mode 0600) and its folder when absent, and brings its schema up to
/// date. `busy_timeout`: how long a writer waits for other processes before
/// [`StoreError::Locked`].
pub async fn open(path: &Path, busy_timeout: Duration) -> Result<Arc<dyn Management>, StoreError> {
    let engine = open::engine(path, busy_timeout).await?;
    Ok(Arc::new(Database(engine)))
}

/// One open file.
struct SqliteEngine {
    path: PathBuf,
    /// One connection. The follower's statements queue here and nowhere else.
    writer: SqlitePool,
    /// Whose turn it is to queue for the writer, of everybody else.
    turns: Turns,
    /// For look-ups on a request's way, and nothing else.
    lookups: SqlitePool,
    /// For what management reads.
    readers: SqlitePool,
    /// One, for the log and the instances: whatever waits elsewhere, the lease is renewed.
    follower: SqlitePool,
    /// One, for signs of life.
    probe: SqlitePool,
    watch: wait::Watch,
}

impl SqliteEngine {
    /// Commits what no follower has to be woken for.
    async fn commit_quietly(&self, transaction: Link<Write>) -> Result<(), StoreError> {
        transaction.0.commit().await.map_err(explain)
    }

    /// Begins a write of the follower's, which waits for one other write at most: however many of
    /// management's there are, the lease is renewed.
    async fn begin_next(&self) -> Result<Link<Write>, StoreError> {
        self.begin_with(None).await
    }

    async fn begin_with(&self, turn: Option<Turn>) -> Result<Link<Write>, StoreError> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        let transaction = begun.map_err(explain)?;
        Ok(Link(Write::new(transaction, turn)))
    }
}

async fn lend(pool: &SqlitePool) -> Result<Link<PoolConnection<Sqlite>>, StoreError> {
    pool.acquire().await.map(Link).map_err(explain)
}

impl Engine for SqliteEngine {
    type Reader = Link<PoolConnection<Sqlite>>;
    type Transaction = Link<Write>;

    const USAGE: tellings::Statements = usage::STATEMENTS;

    async fn write_apart(&self, statements: Vec<tellings::Bound>) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for (sql, values) in statements {
            transaction.execute(sql, values).await?;
        }
        self.commit_quietly(transaction).await
    }

    async fn reader(&self) -> Result<Self::Reader, StoreError> {
        lend(&self.readers).await
    }

    async fn lookup_reader(&self) -> Result<Self::Reader, StoreError> {
        lend(&self.lookups).await
    }

    async fn probe_reader(&self) -> Result<Self::Reader, StoreError> {
        lend(&self.probe).await
    }

    fn lookups_at_once(&self) -> usize {
        self.lookups.options().get_max_connections() as usize
    }

    async fn begin(&self) -> Result<Self::Transaction, StoreError> {
        let turn = self.turns.next().await?;
        self.begin_with(Some(turn)).await
    }

    async fn commit(&self, transaction: Self::Transaction) -> Result<(), StoreError> {
        transaction.0.commit().await.map_err(explain)?;
        self.watch.written();
        Ok(())
    }

    async fn register(&self, id: InstanceId, lease: Duration) -> Result<Sequence, StoreError> {
        instances::register(self, id, lease).await
    }

    async fn renew(&self, id: InstanceId, applied: Sequence) -> Result<Lease, StoreError> {
        let values = vec![Value::text(id), rows::stored(applied).into()];
        let renewed = self.write_instance(instances::RENEW, values).await;
        renewed.map(Lease::of_rows)
    }

    async fn read_log(&self, from: Sequence, limit: u32) -> Result<LogPage, StoreError> {
        let values = log::page_values(from, limit);
        let mut reader = lend(&self.follower).await?;
        let found = reader.fetch(instances::LOG_PAGE, values).await?;
        rows::log_page(&found, from, limit)
    }

    async fn acknowledge(
        &self,
        id: InstanceId,
        applied: Sequence,
        reports: &[Report],
    ) -> Result<Lease, StoreError> {
        instances::acknowledge(self, id, applied, reports).await
    }

    async fn write_instance(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.begin_next().await?;
        let changed = transaction.execute(sql, values).await?;
        self.commit_quietly(transaction).await?;
        Ok(changed)
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        let mut reader = lend(&self.follower).await?;
        rows::instances(&reader.fetch(instances::INSTANCES, vec![]).await?)
    }

    async fn wait_for_change(&self, at_most: Duration) {
        self.watch.wait(at_most).await;
    }

    async fn describe(&self) -> Result<String, StoreError> {
        let mut reader = self.probe_reader().await?;
        let row = reader.first(instances::VERSION, vec![]).await?;
        let version = row
            .map_or(Ok(None), |row| row.text("version"))?
            .unwrap_or_default();
        Ok(format!("SQLite {version}, {}", self.path.display()))
    }

    async fn close(&self) {
        self.watch.close().await;
        for pool in [&self.lookups, &self.readers, &self.follower, &self.probe] {
            pool.close().await;
        }
        self.writer.close().await;
    }
}
