//! What the two engines have in common, so that every rule above SQL is written once.

use std::fmt::Display;
use std::time::Duration;

use super::rows::Columns;
use super::{Instances, Lease, LogPage, Report, StoreError, usage};
use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::InstanceId;
use crate::model::key::KeyHash;

/// A value to be bound to a statement.
#[derive(Debug)]
pub(super) enum Value {
    Text(Option<String>),
    Bytes(Vec<u8>),
    Number(Option<i64>),
    Flag(bool),
}

impl Value {
    /// Whatever is stored as its text: an id, a name, an address.
    pub(super) fn text(value: impl Display) -> Self {
        Self::Text(Some(value.to_string()))
    }

    /// The same, or NULL.
    pub(super) fn optional_text(value: Option<impl Display>) -> Self {
        Self::Text(value.map(|value| value.to_string()))
    }

    /// The milliseconds of a moment, or NULL.
    pub(super) fn optional_time(value: Option<Timestamp>) -> Self {
        Self::Number(value.map(Timestamp::as_millis))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Number(Some(value))
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        value.as_millis().into()
    }
}

impl From<&KeyHash> for Value {
    fn from(value: &KeyHash) -> Self {
        Self::Bytes(value.as_bytes().to_vec())
    }
}

/// A connection, inside a transaction or not. Errors are explained already.
pub(super) trait Session: Send {
    /// What it answers with.
    type Row: Columns + Send;

    /// All rows that a statement yields.
    fn fetch(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, StoreError>> + Send;

    /// How many rows a statement changed.
    fn execute(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The first row, if there is one.
    fn first(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Option<Self::Row>, StoreError>> + Send {
        async move { Ok(self.fetch(sql, values).await?.into_iter().next()) }
    }

    /// The number that a `SELECT COUNT(*) AS n` yields.
    fn count(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async move {
            let row = self.first(sql, values).await?;
            let counted = row.map_or(Ok(0), |row| row.integer("n"))?;
            Ok(u64::try_from(counted).unwrap_or(0))
        }
    }
}

/// A database: how it is reached, and what it does in its own way.
pub(super) trait Engine: Send + Sync {
    /// A connection for one statement.
    type Reader: Session;
    /// A transaction; dropped, it is rolled back.
    type Transaction: Session;

    /// The statements that record uses.
    const USAGE: usage::Statements;

    /// Counts gateways that may hold a lease and do not know marks. `None`: there is no such gateway on this engine.
    const WITHOUT_MARKS: Option<&'static str>;

    /// Runs statements in a transaction that wakes nobody, and takes no lock of the log's where writers can
    /// go side by side.
    fn write_apart(
        &self,
        statements: Vec<usage::BoundStatement>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A connection for one statement of management.
    fn reader(&self) -> impl Future<Output = Result<Self::Reader, StoreError>> + Send;

    /// A connection for one look-up on a request's way, of those that serve nothing else: callers who
    /// invent keys keep management waiting as little as management keeps them.
    fn lookup_reader(&self) -> impl Future<Output = Result<Self::Reader, StoreError>> + Send;

    /// A connection for a sign of life, which neither of the others can occupy.
    fn probe_reader(&self) -> impl Future<Output = Result<Self::Reader, StoreError>> + Send;

    /// A connection for what instances reported.
    fn reports_reader(&self) -> impl Future<Output = Result<Self::Reader, StoreError>> + Send;

    /// See [`super::Store::lookups_at_once`].
    fn lookups_at_once(&self) -> usize;

    /// Begins a write, alone: writers queue here, so that what one of them reads remains true until
    /// it commits, and none deadlocks with another.
    fn begin(&self) -> impl Future<Output = Result<Self::Transaction, StoreError>> + Send;

    /// Commits. When it returns, the write is on disk.
    fn commit(
        &self,
        transaction: Self::Transaction,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// See [`super::Store::register`].
    fn register(
        &self,
        id: InstanceId,
        lease: Duration,
    ) -> impl Future<Output = Result<Sequence, StoreError>> + Send;

    /// See [`super::Store::renew`].
    fn renew(
        &self,
        id: InstanceId,
        applied: Sequence,
    ) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// See [`super::Store::read_log`].
    fn read_log(
        &self,
        from: Sequence,
        limit: u32,
    ) -> impl Future<Output = Result<LogPage, StoreError>> + Send;

    /// See [`super::Store::acknowledge`].
    fn acknowledge(
        &self,
        id: InstanceId,
        applied: Sequence,
        reports: &[Report],
    ) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Writes one row of `instances`: committed when it returns.
    fn write_instance(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// See [`super::Store::instances`].
    fn instances(&self) -> impl Future<Output = Result<Instances, StoreError>> + Send;

    /// See [`super::Store::wait_for_change`].
    fn wait_for_change(&self, at_most: Duration) -> impl Future<Output = ()> + Send;

    /// See [`super::Store::check_gateway`].
    fn check_gateway(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// See [`super::Store::describe`].
    fn describe(&self) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// See [`super::Store::close`].
    fn close(&self) -> impl Future<Output = ()> + Send;
}
