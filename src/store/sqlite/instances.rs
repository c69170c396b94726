//! Instances and their leases, in a file of their own beside the database's.
//!
//! A renewal waits for no writer of the database, however long that one holds its lock, and needs no room on a full
//! disk: the file is small, and room for it is reserved. The protocol allows it: an instance writes its row, and then
//! reads the log; who revokes appends to the log, and then reads the rows. One of the two sees the other, whichever
//! files both are in. What the file holds matters to running processes alone: it is not in a backup, and its commits do
//! not wait for the disk.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, raw_sql};
use tokio::time::sleep;

use super::errors::{damaged_leases, explain, explain_leases};
use super::file::Files;
use super::lease_file::{longest_lease, reserve};
use super::session::Link;
use super::write::Write;
use crate::model::change::Sequence;
use crate::model::id::InstanceId;
use crate::store::engine::{Session, Value};
use crate::store::rows::{self, Columns};
use crate::store::sql::{forget, renew, statements};
use crate::store::{Instances, Lease, Report, StoreError, instances, log};

/// Reports of so many entries of the log are kept.
const ENTRIES_REPORTED: i64 = 100_000;

/// The tables, as the database had them until its schema version 4; and which database an instance follows.
const SCHEMA: &str = "\
    CREATE TABLE IF NOT EXISTS instances (
        id         TEXT    NOT NULL PRIMARY KEY,
        renewals   INTEGER NOT NULL,
        lease_ms   INTEGER NOT NULL,
        applied    INTEGER NOT NULL,
        evicted    INTEGER NOT NULL CHECK (evicted IN (0, 1)),
        renewed_at INTEGER NOT NULL,
        database   TEXT    NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS identity (id TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS revocation_reports (
        seq              INTEGER NOT NULL,
        instance_id      TEXT    NOT NULL,
        streams_cut      INTEGER NOT NULL,
        last_accepted_at INTEGER,
        PRIMARY KEY (seq, instance_id)
    ) STRICT";

statements! {
    FORGET = forget!("CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)");
    /// Those that are old, and those of a database that was here before and had come further.
    FORGET_REPORTS = "DELETE FROM revocation_reports WHERE seq < $1 OR seq > $2";
    REGISTER = "INSERT INTO instances (id, renewals, lease_ms, applied, evicted, renewed_at, database) \
        VALUES ($1, 0, $2, $3, FALSE, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), $4)";
    RENEW = renew!("CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)");
    /// What an instance has applied of another database says nothing of this one; nor does what is beyond the head, of
    /// one that was restored in its place.
    INSTANCES = "SELECT CAST($1 AS INTEGER) AS head, $2 AS history, \
            i.id, i.renewals, i.lease_ms, \
            CASE WHEN i.database = $2 AND i.applied <= $1 THEN i.applied ELSE 0 END AS applied, i.evicted, \
            CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - i.renewed_at AS renewed_ago_ms \
        FROM (SELECT 1) LEFT JOIN instances i ON TRUE ORDER BY i.id";
    IDENTITY = "SELECT id FROM identity";
    IDENTIFY = "INSERT INTO identity (id) VALUES ($1)";
    FORGET_IDENTITY = "DELETE FROM identity";
    REPORT = "INSERT OR IGNORE INTO revocation_reports \
            (seq, instance_id, streams_cut, last_accepted_at) \
        SELECT json_extract(value, '$.seq'), $1, json_extract(value, '$.cut'), \
            json_extract(value, '$.last') FROM json_each($2)";
}

/// The file, opened.
pub(super) struct LeaseFile {
    files: Arc<Files>,
    path: PathBuf,
    /// One connection. What it does takes less than a millisecond.
    pool: SqlitePool,
    _file: File,
    /// Files in which room was reserved. They stay open: to close one takes SQLite's own locks on it away, which belong
    /// to the process and not to the descriptor (`fcntl(2)`).
    reserved: OnceLock<Vec<File>>,
}

impl LeaseFile {
    /// Makes its tables, and sees that it is the file that belongs to the database.
    pub(super) async fn open(
        files: &Arc<Files>,
        database: &SqliteConnectOptions,
        (options, kept): (SqliteConnectOptions, File),
        pools: &SqlitePoolOptions,
    ) -> Result<Self, StoreError> {
        let file = Self {
            _file: kept,
            files: Arc::clone(files),
            path: files.leases().path().to_owned(),
            pool: pools.clone().max_connections(1).connect_lazy_with(options),
            reserved: OnceLock::new(),
        };
        let mut connection = file.lend().await?;
        let made = raw_sql(SCHEMA).execute(&mut *connection.0).await;
        made.map_err(|error| file.explain(error))?;
        drop(connection);
        file.bind_to_database(database).await?;
        Ok(file)
    }

    /// Whether it is the file that belongs to the database; else it becomes it, when no lease can hold any more that is
    /// in the one before: that was deleted or replaced, and who has it open notices before its lease is renewed. Who
    /// waits holds no lock meanwhile: others may write, and each waits for itself.
    async fn bind_to_database(&self, database: &SqliteConnectOptions) -> Result<(), StoreError> {
        let mut connection = database.connect().await.map_err(explain)?;
        let mut waited = Duration::ZERO;
        loop {
            if self.belongs_to_database(&mut connection).await? {
                break;
            }
            let longest = longest_lease(&mut connection).await?;
            sleep(longest.saturating_sub(waited)).await;
            waited = waited.max(longest);
            raw_sql("BEGIN IMMEDIATE")
                .execute(&mut connection)
                .await
                .map_err(explain)?;
            // A gateway may have noted a longer lease meanwhile: then that is waited for too.
            let is_over = longest_lease(&mut connection).await? <= waited;
            if is_over && !self.belongs_to_database(&mut connection).await? {
                self.bind(&mut connection).await?;
            }
            raw_sql("COMMIT")
                .execute(&mut connection)
                .await
                .map_err(explain)?;
        }
        connection.close().await.map_err(explain)
    }

    /// In a transaction of the database.
    async fn bind(&self, database: &mut SqliteConnection) -> Result<(), StoreError> {
        let id = uuid::Uuid::now_v7().to_string();
        let mut own = self.begin().await?;
        own.execute(FORGET_IDENTITY, vec![]).await?;
        own.execute(IDENTIFY, vec![Value::text(&id)]).await?;
        own.0.commit().await.map_err(|error| self.explain(error))?;
        let noted = sqlx::query("UPDATE lease_file SET id = $1").bind(self.known_as(&id));
        noted.execute(database).await.map_err(explain)?;
        Ok(())
    }

    /// What the database calls the file: a copy of it, a restored backup for instance, has the same id and is another.
    fn known_as(&self, id: &str) -> String {
        format!("{id} {}", self.files.leases().name())
    }

    async fn belongs_to_database(
        &self,
        database: &mut SqliteConnection,
    ) -> Result<bool, StoreError> {
        let known = sqlx::query_scalar("SELECT id FROM lease_file");
        let known: String = known.fetch_one(database).await.map_err(explain)?;
        let row = self.lend().await?.first(IDENTITY, vec![]).await;
        let row = row.map_err(|error| {
            if matches!(error, StoreError::Corrupt(_)) {
                damaged_leases(&self.path.display())
            } else {
                error
            }
        })?;
        let own = row.map_or(Ok(None), |row| row.text("id"))?;
        Ok(own.is_some_and(|own| known == self.known_as(&own)))
    }

    async fn lend(&self) -> Result<Link<PoolConnection<Sqlite>>, StoreError> {
        self.files.check()?;
        let connection = self.pool.acquire().await;
        let connection = connection.map_err(|error| self.explain(error))?;
        // It may have been waited for.
        self.files.check()?;
        Ok(Link(connection))
    }

    async fn begin(&self) -> Result<Link<Write>, StoreError> {
        let connection = self.lend().await?.0;
        let begun = Write::begin(connection).await.map(Link);
        begun.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: sqlx::Error) -> StoreError {
        explain_leases(&self.path, error)
    }

    /// For what instances reported.
    pub(super) async fn reader(&self) -> Result<Link<PoolConnection<Sqlite>>, StoreError> {
        self.lend().await
    }

    /// The row of an instance that begins at `head`, which was read before.
    pub(super) async fn register(
        &self,
        id: InstanceId,
        lease: Duration,
        head: Sequence,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        transaction.execute(FORGET, vec![]).await?;
        let oldest = rows::stored(head).saturating_sub(ENTRIES_REPORTED);
        let kept = vec![oldest.into(), rows::stored(head).into()];
        transaction.execute(FORGET_REPORTS, kept).await?;
        let row = vec![
            Value::text(id),
            rows::lease_ms(lease).into(),
            rows::stored(head).into(),
            Value::text(self.files.database()),
        ];
        transaction.execute(REGISTER, row).await?;
        transaction
            .0
            .commit()
            .await
            .map_err(|error| self.explain(error))?;
        self.reserve();
        Ok(())
    }

    /// Renewals and acknowledgements find room when the disk is full. A file system that cannot reserve any has none
    /// then: leases end, and requests are answered 503.
    fn reserve(&self) {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        self.reserved.get_or_init(|| {
            let paths = [self.path.as_path(), Path::new(&log)];
            paths.into_iter().filter_map(reserve).collect()
        });
    }

    pub(super) async fn renew(
        &self,
        id: InstanceId,
        applied: Sequence,
    ) -> Result<Lease, StoreError> {
        let values = vec![Value::text(id), rows::stored(applied).into()];
        self.write(RENEW, values).await.map(Lease::of_rows)
    }

    /// In one transaction, so that a reader of the acknowledgement sees the reports.
    pub(super) async fn acknowledge(
        &self,
        id: InstanceId,
        applied: Sequence,
        reports: &[Report],
    ) -> Result<Lease, StoreError> {
        let mut transaction = self.begin().await?;
        if !reports.is_empty() {
            let values = vec![Value::text(id), log::reports_as_json(reports)];
            transaction.execute(REPORT, values).await?;
        }
        let values = vec![Value::text(id), rows::stored(applied).into()];
        let changed = transaction.execute(instances::ACKNOWLEDGE, values).await?;
        transaction
            .0
            .commit()
            .await
            .map_err(|error| self.explain(error))?;
        Ok(Lease::of_rows(changed))
    }

    /// Runs one statement. Committed when it returns.
    pub(super) async fn write(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        let changed = transaction.execute(sql, values).await?;
        transaction
            .0
            .commit()
            .await
            .map_err(|error| self.explain(error))?;
        Ok(changed)
    }

    /// Every row. `head` is what the database said after the caller's own change had been committed.
    pub(super) async fn instances(&self, head: Sequence) -> Result<Instances, StoreError> {
        let values = vec![
            rows::stored(head).into(),
            Value::text(self.files.database()),
        ];
        rows::instances(&self.lend().await?.fetch(INSTANCES, values).await?)
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}
