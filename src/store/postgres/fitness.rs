//! Whether a gateway can run on what answers at the URL: it takes writes, and a connection is one session.
//!
//! A pooler that lends a server's session for one transaction (`pgbouncer` with `pool_mode = transaction` or
//! `statement`) breaks what genkan sets once for each connection: its settings, the LISTEN by which a revocation
//! arrives, and the advisory lock of a migration.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection, Row as _};

use super::errors::NO_SESSION;
use super::open::takes_writes;
use super::session::answered;
use crate::store::StoreError;

/// Which session of the server answers. Not prepared: a pooler may send the parts of a prepared statement to two of
/// them.
const SESSION: &str = "SELECT pg_backend_pid()::TEXT";
/// How often it is asked while another connection is in a transaction. A pooler lends the session that was used last,
/// as a rule, so that the first time shows it.
const TRIES: usize = 3;
const NO_WRITES: &str = "PostgreSQL takes no writes: it is a standby, or default_transaction_read_only is on. A \
    gateway writes its lease; name the primary in the store's URL";

/// On two connections of its own: what goes wrong with them is not hidden by a pool's tries.
///
/// # Errors
/// [`StoreError::ReadOnly`], or [`StoreError::Unavailable`] where a pooler gives each transaction another session.
pub(super) async fn check(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut one = answered(options.connect()).await?;
    let mut other = answered(options.connect()).await?;
    one_session_each(&mut one, &mut other).await?;
    if !answered(takes_writes(&mut one)).await? {
        return Err(StoreError::ReadOnly(NO_WRITES.to_owned()));
    }
    for connection in [one, other] {
        answered(connection.close()).await?;
    }
    Ok(())
}

async fn one_session_each(
    one: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<(), StoreError> {
    let first = session(one).await?;
    for _try in 0..TRIES {
        // With `pool_mode = statement` no transaction can begin.
        let begun = answered(other.execute("BEGIN")).await;
        begun.map_err(|_refused| StoreError::Unavailable(NO_SESSION.to_owned()))?;
        let held = session(other).await?;
        let again = session(one).await?;
        answered(other.execute("ROLLBACK")).await?;
        if held == again || again != first {
            return Err(StoreError::Unavailable(NO_SESSION.to_owned()));
        }
    }
    Ok(())
}

async fn session(connection: &mut PgConnection) -> Result<String, StoreError> {
    let row = answered(connection.fetch_one(SESSION)).await?;
    row.try_get(0)
        .map_err(|_mistyped| StoreError::Corrupt("`pg_backend_pid` cannot be read".to_owned()))
}
