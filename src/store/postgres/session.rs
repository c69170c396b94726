//! How a statement is run on PostgreSQL: within a time.

use std::ops::DerefMut;
use std::time::Duration;

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
