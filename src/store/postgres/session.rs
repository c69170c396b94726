//! How a statement is run on PostgreSQL: within a time.

use std::ops::DerefMut;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres};
use tokio::time::timeout;

use super::errors::explain;
use crate::store::StoreError;
use crate::store::engine::{Session, Value};

/// The longest wait for one answer. The server gives up at the same time, so that a statement that
/// nobody waits for holds no lock; this side's limit is for a server that is frozen or cut off.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits for the server, at most [`ANSWER_TIMEOUT`].
pub(super) async fn answered<T>(
    answer: impl Future<Output = sqlx::Result<T>>,
) -> Result<T, StoreError> {
    match timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(explain),
        Err(_elapsed) => Err(StoreError::Unavailable(format!(
            "PostgreSQL gave no answer within {} s; check the server and the network to it",
            ANSWER_TIMEOUT.as_secs()
        ))),
    }
}

/// A connection or a transaction, as a [`Session`].
pub(super) struct Link<C>(pub(super) C);

impl<C: DerefMut<Target = PgConnection> + Send> Session for Link<C> {
    type Row = PgRow;

    async fn fetch(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<PgRow>, StoreError> {
        answered(bind(sql, values).fetch_all(&mut *self.0)).await
    }

    async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        let done = answered(bind(sql, values).execute(&mut *self.0)).await?;
        Ok(done.rows_affected())
    }
}

/// A connection that a pool lent. One that still owes an answer when its user stops waiting is closed,
/// not given back: the pool would wait for that answer before it lends it again, and with a server
/// that hangs soon have none left.
pub(super) struct PooledSession(Option<PoolConnection<Postgres>>);

impl PooledSession {
    pub(super) const fn new(connection: PoolConnection<Postgres>) -> Self {
        Self(Some(connection))
    }

    fn take(&mut self) -> Result<PendingStatement, StoreError> {
        let connection = self
            .0
            .take()
            .map(|connection| PendingStatement(Some(connection)));
        connection.ok_or_else(|| {
            StoreError::Unavailable("the connection broke off at an earlier statement".to_owned())
        })
    }
}

/// A connection in the middle of a statement; dropped, it is closed.
struct PendingStatement(Option<PoolConnection<Postgres>>);

impl PendingStatement {
    async fn run<T>(
        &mut self,
        run: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        match &mut self.0 {
            Some(connection) => answered(run(connection)).await,
            None => Err(StoreError::Unavailable("no connection".to_owned())),
        }
    }

    fn paid(mut self) -> Option<PoolConnection<Postgres>> {
        self.0.take()
    }
}

impl Drop for PendingStatement {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

impl Session for PooledSession {
    type Row = PgRow;

    async fn fetch(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut owing = self.take()?;
        let query = bind(sql, values);
        let rows = owing
            .run(async |connection| query.fetch_all(connection).await)
            .await?;
        self.0 = owing.paid();
        Ok(rows)
    }

    async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        let mut owing = self.take()?;
        let query = bind(sql, values);
        let done = owing
            .run(async |connection| query.execute(connection).await)
            .await?;
        self.0 = owing.paid();
        Ok(done.rows_affected())
    }
}

fn bind(sql: &'static str, values: Vec<Value>) -> Query<'static, Postgres, PgArguments> {
    let statement = sqlx::query(sql);
    values
        .into_iter()
        .fold(statement, |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
            Value::Number(number) => query.bind(number),
            Value::Flag(flag) => query.bind(flag),
        })
}
