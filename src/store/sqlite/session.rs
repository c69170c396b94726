//! How a statement is run on SQLite.

use std::ops::DerefMut;

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqliteConnection};

use super::errors::explain;
use crate::store::StoreError;
use crate::store::engine::{Session, Value};

/// A connection or a transaction, as a [`Session`].
pub(super) struct Link<C>(pub(super) C);

impl<C: DerefMut<Target = SqliteConnection> + Send> Session for Link<C> {
    type Row = SqliteRow;

    async fn fetch(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        bind(sql, values)
            .fetch_all(&mut *self.0)
            .await
            .map_err(explain)
    }

    async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        let done = bind(sql, values).execute(&mut *self.0).await;
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
