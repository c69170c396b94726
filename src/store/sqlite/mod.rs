//! SQLite: one file, for any number of processes of one host.
//!
//! Write-ahead log, so that readers never wait for the writer; `synchronous = FULL`, for the answer
//! to a revocation is a promise. One connection writes, always from `BEGIN IMMEDIATE`: a transaction
//! that begins by reading cannot wait for the lock, whatever the busy timeout.

mod errors;
mod file;
mod guards;
mod instances;
mod lease_file;
mod log;
mod open;
mod session;
mod usage;
mod wait;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqlitePool};

use self::errors::explain;
use self::file::Files;
use self::instances::LeaseFile;
use self::session::Link;
use self::write::Write;
use super::database::Database;
use super::engine::{Engine, Session, Value};
use super::rows::Columns;
use super::{
    Instances, Lease, LogPage, Management, Report, StoreError, WhenAbsent, access_ends, accounts,
    audit, idempotency, invitations, lineage, marks, rotations, rows, secrets, sessions, sql,
    usage as usage_statements,
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
    marks::ALL,
    rotations::ALL,
    secrets::ALL,
    sessions::ALL,
    usage_statements::ALL,
    usage::ALL,
    log::ALL,
];

/// Every statement that is run on the file of leases, by name.
pub const LEASE_STATEMENTS: &[&[(&str, &str)]] = &[instances::ALL, super::instances::ALL];

/// Opens the file and brings its schema up to date; a new one has the mode 0600, and its folder is made too.
/// `busy_timeout`: how long a writer waits for other processes before [`StoreError::Locked`].
pub async fn open(
    path: &Path,
    busy_timeout: Duration,
    absent: WhenAbsent,
) -> Result<Arc<dyn Management>, StoreError> {
    let engine = open::engine(path, busy_timeout, absent).await?;
    Ok(Arc::new(Database(engine)))
}

/// One open file.
struct SqliteEngine {
    files: Arc<Files>,
    /// One connection: of this process, one writes at a time.
    writer: SqlitePool,
    /// Instances and their leases.
    leases: LeaseFile,
    /// For look-ups on a request's way, and nothing else.
    lookups: SqlitePool,
    /// For what management reads.
    readers: SqlitePool,
    /// One, for the log: whatever waits elsewhere, it is followed.
    follower: SqlitePool,
    /// One, for signs of life.
    probe: SqlitePool,
    watch: wait::Watch,
}

impl SqliteEngine {
    /// A connection for reading. What it reads is everybody's only while the files are those at the paths; and a pool
    /// would try for seconds to open a connection that is refused.
    async fn lend(&self, pool: &SqlitePool) -> Result<Link<PoolConnection<Sqlite>>, StoreError> {
        self.files.check()?;
        let connection = pool.acquire().await.map_err(explain)?;
        // It may have been waited for.
        self.files.check()?;
        Ok(Link(connection))
    }

    async fn begin_write(&self) -> Result<Link<Write>, StoreError> {
        self.files.check()?;
        let connection = self.writer.acquire().await.map_err(explain)?;
        // It may have been waited for.
        self.files.check()?;
        Write::begin(connection).await.map(Link).map_err(explain)
    }

    /// Notes the longest lease in the database: anybody who finds no file of leases waits for so long.
    async fn record_longest_lease(&self, lease: Duration) -> Result<(), StoreError> {
        let lease_ms = rows::lease_ms(lease);
        let mut reader = self.lend(&self.follower).await?;
        let known = reader.first(log::LONGEST_LEASE, vec![]).await?;
        let known = known.map_or(Ok(0), |row| row.integer("longest_lease_ms"))?;
        if known >= lease_ms {
            return Ok(());
        }
        drop(reader);
        let mut transaction = self.begin_write().await?;
        transaction
            .execute(log::RECORD_LONGEST_LEASE, vec![lease_ms.into()])
            .await?;
        transaction.0.commit().await.map_err(explain)
    }
}

impl Engine for SqliteEngine {
    type Reader = Link<PoolConnection<Sqlite>>;
    type Transaction = Link<Write>;

    const USAGE: usage_statements::Statements = usage::STATEMENTS;

    const WITHOUT_MARKS: Option<&'static str> = None;

    async fn write_apart(
        &self,
        statements: Vec<usage_statements::BoundStatement>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for (sql, values) in statements {
            transaction.execute(sql, values).await?;
        }
        // No follower has to be woken for it.
        transaction.0.commit().await.map_err(explain)
    }

    async fn reader(&self) -> Result<Self::Reader, StoreError> {
        self.lend(&self.readers).await
    }

    async fn lookup_reader(&self) -> Result<Self::Reader, StoreError> {
        self.lend(&self.lookups).await
    }

    async fn probe_reader(&self) -> Result<Self::Reader, StoreError> {
        self.lend(&self.probe).await
    }

    fn lookups_at_once(&self) -> usize {
        self.lookups.options().get_max_connections() as usize
    }

    async fn begin(&self) -> Result<Self::Transaction, StoreError> {
        self.begin_write().await
    }

    async fn commit(&self, transaction: Self::Transaction) -> Result<(), StoreError> {
        transaction.0.commit().await.map_err(explain)?;
        self.watch.written();
        // What was written to a file that nobody else sees is no success.
        self.files.check()
    }

    /// The head first: a change that comes between the two is read from the log, after the row is there.
    async fn register(&self, id: InstanceId, lease: Duration) -> Result<Sequence, StoreError> {
        let head = crate::store::log::head(&mut self.lend(&self.follower).await?).await?;
        self.record_longest_lease(lease).await?;
        self.leases.register(id, lease, head).await?;
        Ok(head)
    }

    async fn renew(&self, id: InstanceId, applied: Sequence) -> Result<Lease, StoreError> {
        self.leases.renew(id, applied).await
    }

    async fn read_log(&self, from: Sequence, limit: u32) -> Result<LogPage, StoreError> {
        let values = crate::store::log::page_values(from, limit);
        // Compared before the log is read: who revokes in another file after that waits for the lease to end.
        let mut reader = self.lend(&self.follower).await?;
        let found = reader.fetch(log::LOG_PAGE, values).await?;
        rows::log_page(&found, from, limit)
    }

    async fn acknowledge(
        &self,
        id: InstanceId,
        applied: Sequence,
        reports: &[Report],
    ) -> Result<Lease, StoreError> {
        self.leases.acknowledge(id, applied, reports).await
    }

    async fn write_instance(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        self.leases.write(sql, values).await
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        let head = crate::store::log::head(&mut self.lend(&self.follower).await?).await?;
        self.leases.instances(head).await
    }

    async fn reports_reader(&self) -> Result<Self::Reader, StoreError> {
        self.leases.reader().await
    }

    async fn wait_for_change(&self, at_most: Duration) {
        self.watch.wait(at_most).await;
    }

    async fn check_gateway(&self) -> Result<(), StoreError> {
        self.files.check()?;
        self.files.writable()
    }

    async fn describe(&self) -> Result<String, StoreError> {
        let mut reader = self.probe_reader().await?;
        let row = reader.first(log::VERSION, vec![]).await?;
        let version = row
            .map_or(Ok(None), |row| row.text("version"))?
            .unwrap_or_default();
        Ok(format!("SQLite {version}, {}", self.files.path().display()))
    }

    async fn close(&self) {
        self.watch.close().await;
        for pool in [&self.lookups, &self.readers, &self.follower, &self.probe] {
            pool.close().await;
        }
        self.writer.close().await;
        self.leases.close().await;
        self.files.close().await;
    }
}
