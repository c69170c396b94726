//! Writing to the file: in a transaction that begins as a writer, on a connection that is thrown away unless it
//! commits.

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite, SqliteConnection, raw_sql};

/// A transaction that writes.
///
/// Unless it is committed, its connection is closed, which rolls it back: after an error nobody can say whether it
/// still has a transaction. SQLite ends one by itself when the disk is full, cannot be read or written, or there is no
/// memory (<https://sqlite.org/lang_transaction.html>), and the driver does not notice. So the driver's own
/// transactions, which count on, are not used either.
pub(super) struct Write {
    connection: Connection,
}

/// A connection that is closed when it is dropped, and never lent again, unless it is given back.
struct Connection(Option<PoolConnection<Sqlite>>);

impl Write {
    /// Begins at once as a writer: a transaction that begins by reading cannot wait for the lock.
    pub(super) async fn begin(connection: PoolConnection<Sqlite>) -> sqlx::Result<Self> {
        let mut write = Self {
            connection: Connection(Some(connection)),
        };
        write.run("BEGIN IMMEDIATE").await?;
        Ok(write)
    }

    /// Commits.
    pub(super) async fn commit(mut self) -> sqlx::Result<()> {
        self.run("COMMIT").await?;
        // Back to its pool.
        drop(self.connection.0.take());
        Ok(())
    }

    pub(super) async fn run(&mut self, sql: &'static str) -> sqlx::Result<()> {
        let connection = self.connection.get()?;
        raw_sql(sql).execute(connection).await.map(drop)
    }

    pub(super) fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        self.connection.get()
    }
}

impl Connection {
    fn get(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        self.0.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::open;
    use crate::store::engine::{Engine as _, Session as _};
    use crate::store::{StoreError, WhenAbsent};

    #[tokio::test]
    async fn a_transaction_that_sqlite_ended_by_itself_leaves_no_connection_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genkan.db");
        let busy_timeout = Duration::from_millis(100);
        let engine = open::engine(&path, busy_timeout, WhenAbsent::Create)
            .await
            .unwrap();
        let mut ended = engine.begin().await.unwrap();
        // As a full disk has it: the transaction is over, and nobody said so.
        ended.execute("ROLLBACK", vec![]).await.unwrap();
        drop(ended);
        for _ in 0..3 {
            let next = engine.begin().await.unwrap();
            engine.commit(next).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_writer_that_leaves_lets_the_next_one_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genkan.db");
        let busy_timeout = Duration::from_millis(100);
        let engine = open::engine(&path, busy_timeout, WhenAbsent::Create)
            .await
            .unwrap();
        let first = engine.begin().await.unwrap();
        let refused = engine.begin().await.err();
        assert!(
            matches!(refused, Some(StoreError::Locked(_))),
            "{refused:?}"
        );
        drop(first);
        let second = engine.begin().await.unwrap();
        engine.commit(second).await.unwrap();
    }
}
