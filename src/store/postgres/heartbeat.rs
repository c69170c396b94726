//! The connection of leases and of the log, apart from the pool: look-ups that queue for connections
//! delay no renewal, and one that hangs is left behind at once rather than returned to anybody.

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions, PgConnection};
use tokio::sync::Mutex;

use super::open;
use super::session::{Link, answered};
use crate::store::StoreError;
use crate::store::engine::{Session, Value};

/// One connection, made when it is first needed, and made anew after any error.
pub(super) struct Heartbeat {
    options: PgConnectOptions,
    must_take_writes: bool,
    /// Taken out while a statement runs, and put back only when it was answered: a caller that stops
    /// waiting drops the connection with its half-read answer.
    connection: Mutex<Option<Box<PgConnection>>>,
}

impl Heartbeat {
    pub(super) fn new(options: PgConnectOptions, must_take_writes: bool) -> Self {
        Self {
            options,
            must_take_writes,
            connection: Mutex::default(),
        }
    }

    /// How many rows a statement changed. Committed when it returns.
    pub(super) async fn execute(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<u64, StoreError> {
        let mut kept = self.connection.lock().await;
        let mut link = self.link(kept.take()).await?;
        let done = link.execute(sql, values).await?;
        *kept = Some(link.0);
        Ok(done)
    }

    /// The rows that a statement yields. Committed when it returns.
    pub(super) async fn fetch(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let mut kept = self.connection.lock().await;
        let mut link = self.link(kept.take()).await?;
        let rows = link.fetch(sql, values).await?;
        *kept = Some(link.0);
        Ok(rows)
    }

    async fn link(
        &self,
        kept: Option<Box<PgConnection>>,
    ) -> Result<Link<Box<PgConnection>>, StoreError> {
        if let Some(connection) = kept {
            return Ok(Link(connection));
        }
        let mut connection = answered(self.options.connect()).await?;
        answered(open::configure(&mut connection, self.must_take_writes)).await?;
        Ok(Link(Box::new(connection)))
    }

    /// Whether it is connected, as it is in a process that follows the log. A command does not make a
    /// connection more for the few looks that it takes.
    pub(super) async fn beats(&self) -> bool {
        self.connection.lock().await.is_some()
    }

    pub(super) async fn close(&self) {
        drop(self.connection.lock().await.take());
    }
}
