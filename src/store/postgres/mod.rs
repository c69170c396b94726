//! PostgreSQL: for any number of hosts.
//!
//! READ COMMITTED on the primary and nothing more. A write begins by locking the row that counts the
//! log: writers queue there and nowhere else, so that none deadlocks with another and what one reads
//! remains true until it commits. Every wait has a bound: a server that is away or frozen costs its
//! caller seconds, never a thread or a lock for ever.

mod connect;
mod errors;
mod fitness;
mod guards;
mod heartbeat;
mod instances;
mod open;
mod session;
mod usage;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{PgPool, Postgres, Transaction};

use self::session::{Link, PooledSession, answered};
use super::database::Database;
use super::engine::{Engine, Session, Value};
use super::rows::Columns;
use super::{
    Instances, Lease, LogPage, Management, Report, StoreError, WhenAbsent, access_ends, accounts,
    audit, idempotency, invitations, lineage, marks, rotations, secrets, sessions, sql,
    usage as usage_statements,
};
use crate::model::change::Sequence;
use crate::model::id::InstanceId;

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
    instances::ALL,
    super::instances::ALL,
    guards::ALL,
];

/// Connects and brings the schema up to date. Of `connections_max` one listens for changes, one is the
/// follower's, and the others are divided by purpose (`open::Shares`).
///
/// # Errors
///
/// No error text holds the URL: there may be a password in it.
pub async fn open(
    url: &str,
    connections_max: u32,
    absent: WhenAbsent,
) -> Result<Arc<dyn Management>, StoreError> {
    let engine = open::engine(url, connections_max, absent).await?;
    Ok(Arc::new(Database(engine)))
}

/// One database.
struct PostgresEngine {
    /// For look-ups on a request's way, and nothing else.
    lookups: PgPool,
    /// For what management reads.
    readers: PgPool,
    /// For what is written. Writers queue for the log's lock in any case.
    writers: PgPool,
    /// One, for signs of life.
    probe: PgPool,
    heartbeat: heartbeat::Heartbeat,
    watch: wait::Watch,
    /// How it is connected to.
    options: PgConnectOptions,
    /// Where it is, for people.
    address: String,
    protection: connect::Protection,
}

impl Engine for PostgresEngine {
    type Reader = PooledSession;
    type Transaction = Link<Transaction<'static, Postgres>>;

    const USAGE: usage_statements::Statements = usage::STATEMENTS;

    const WITHOUT_MARKS: Option<&'static str> = Some(instances::WITHOUT_MARKS);

    async fn write_apart(
        &self,
        statements: Vec<usage_statements::BoundStatement>,
    ) -> Result<(), StoreError> {
        let mut transaction = Link(answered(self.writers.begin()).await?);
        for (sql, values) in statements {
            transaction.execute(sql, values).await?;
        }
        self.commit(transaction).await
    }

    async fn reader(&self) -> Result<Self::Reader, StoreError> {
        answered(self.readers.acquire())
            .await
            .map(PooledSession::new)
    }

    async fn lookup_reader(&self) -> Result<Self::Reader, StoreError> {
        answered(self.lookups.acquire())
            .await
            .map(PooledSession::new)
    }

    async fn probe_reader(&self) -> Result<Self::Reader, StoreError> {
        answered(self.probe.acquire()).await.map(PooledSession::new)
    }

    async fn reports_reader(&self) -> Result<Self::Reader, StoreError> {
        self.reader().await
    }

    fn lookups_at_once(&self) -> usize {
        self.lookups.options().get_max_connections() as usize
    }

    async fn begin(&self) -> Result<Self::Transaction, StoreError> {
        let mut transaction = answered(self.writers.begin()).await.map(Link)?;
        transaction.fetch(instances::LOCK_HEAD, vec![]).await?;
        Ok(transaction)
    }

    async fn commit(&self, transaction: Self::Transaction) -> Result<(), StoreError> {
        answered(transaction.0.commit()).await
    }

    async fn register(&self, id: InstanceId, lease: Duration) -> Result<Sequence, StoreError> {
        instances::register(self, id, lease).await
    }

    async fn renew(&self, id: InstanceId, applied: Sequence) -> Result<Lease, StoreError> {
        instances::renew(self, id, applied).await
    }

    async fn read_log(&self, from: Sequence, limit: u32) -> Result<LogPage, StoreError> {
        instances::read_log(self, from, limit).await
    }

    async fn acknowledge(
        &self,
        id: InstanceId,
        applied: Sequence,
        reports: &[Report],
    ) -> Result<Lease, StoreError> {
        instances::acknowledge(self, id, applied, reports).await
    }

    /// One statement is a transaction, and takes no lock but its row's.
    async fn write_instance(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        if self.heartbeat.beats().await {
            return self.heartbeat.execute(sql, values).await;
        }
        self.reader().await?.execute(sql, values).await
    }

    async fn instances(&self) -> Result<Instances, StoreError> {
        instances::list(self).await
    }

    async fn wait_for_change(&self, at_most: Duration) {
        self.watch.wait(at_most).await;
    }

    async fn check_gateway(&self) -> Result<(), StoreError> {
        fitness::check(&self.options).await
    }

    async fn describe(&self) -> Result<String, StoreError> {
        let mut reader = self.probe_reader().await?;
        let row = reader.first(instances::VERSION, vec![]).await?;
        let (version, tls) = match row {
            Some(row) => (row.text("version")?, row.text("tls")?),
            None => (None, None),
        };
        Ok(format!(
            "PostgreSQL {}, {}: {}",
            version.unwrap_or_default(),
            self.address,
            self.protection.told(tls.as_deref()),
        ))
    }

    async fn close(&self) {
        self.watch.close().await;
        self.heartbeat.close().await;
        for pool in [&self.lookups, &self.readers, &self.writers, &self.probe] {
            pool.close().await;
        }
    }
}
