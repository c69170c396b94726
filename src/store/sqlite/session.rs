//! How a statement is run on SQLite.

use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqliteConnection};

use super::errors::explain;
use super::write::Write;
use crate::store::StoreError;
use crate::store::engine::{Session, Value};

/// A connection or a transaction, as a [`Session`].
pub(super) struct Link<C>(pub(super) C);

/// What has a connection.
pub(super) trait Connected: Send {
    fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection>;
}

impl Connected for PoolConnection<Sqlite> {
    fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        Ok(&mut *self)
    }
}

impl Connected for Write {
    fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        self.connection()
    }
}

impl<C: Connected> Session for Link<C> {
    type Row = SqliteRow;

    async fn fetch(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let connection = self.0.connection().map_err(explain)?;
        let found = bind(sql, values).fetch_all(connection).await;
        found.map_err(explain)
    }

    async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        let connection = self.0.connection().map_err(explain)?;
        let done = bind(sql, values).execute(connection).await;
        done.map(|done| done.rows_affected()).map_err(explain)
    }
}

fn bind(sql: &'static str, values: Vec<Value>) -> Query<'static, Sqlite, SqliteArguments> {
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
