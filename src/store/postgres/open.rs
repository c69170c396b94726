//! Connecting: options, settings, schema.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::time::timeout;

use super::PostgresEngine;
use super::errors::explain;
use super::guards;
use super::heartbeat::Heartbeat;
use super::session::{ANSWER_TIMEOUT, answered};
use super::wait::Watch;
use crate::store::StoreError;
use crate::store::schema::{self, Schema};

/// The longest wait for a connection, new or lent. Far longer than a connection takes, and short
/// enough that a person at a command line sees what is wrong.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest wait for the schema, another process's migration included.
const MIGRATE_TIMEOUT: Duration = Duration::from_mins(1);
/// The schema, version by version. Text that was released is never edited.
pub(super) const MIGRATIONS: &[(&str, &str)] = &[
    ("ground", include_str!("migrations/0001_ground.sql")),
    (
        "observed leases",
        include_str!("migrations/0002_observed_leases.sql"),
    ),
    ("people", include_str!("migrations/0003_people.sql")),
    ("proofs", include_str!("migrations/0004_proofs.sql")),
];

/// Settings of every connection. Compiling a plan to machine code (`jit`) pays off in reports; here the
/// planner, which guesses that an empty table is large, makes a statement of 0.3 ms one of 120 ms. A
/// process that is stopped in the middle of a transaction holds the
/// log's lock: the server ends it. A commit that is not on disk is no promise, whatever the server's
/// default.
const SETTINGS: &str = "SELECT set_config('idle_in_transaction_session_timeout', '2s', false), \
    set_config('jit', 'off', false), \
    set_config('default_transaction_isolation', 'read committed', false), \
    set_config('statement_timeout', $1, false), \
    CASE current_setting('synchronous_commit') \
        WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END";

pub(super) async fn engine(url: &str, connections_max: u32) -> Result<PostgresEngine, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(|_may_hold_a_password| {
        StoreError::Unavailable(
            "the store's URL cannot be read; write postgres://user:password@host:port/database, \
             special characters in the password as %XX"
                .to_owned(),
        )
    })?;
    let options = options
        .application_name("genkan")
        .disable_statement_logging();
    let brought_up = timeout(MIGRATE_TIMEOUT, bring_up(&options)).await;
    brought_up.map_err(|_elapsed| {
        StoreError::Locked(format!(
            "its schema was not ready within {} s; see pg_locks for who holds the advisory lock",
            MIGRATE_TIMEOUT.as_secs()
        ))
    })??;
    let shares = Shares::of(connections_max);
    Ok(PostgresEngine {
        lookups: pool(&options, shares.lookups),
        readers: pool(&options, shares.readers),
        writers: pool(&options, shares.writers),
        probe: pool(&options, 1),
        heartbeat: Heartbeat::new(options.clone()),
        watch: Watch::new(pool(&options, 1)),
    })
}

/// How the connections of a process are divided: what waits for one purpose keeps no other waiting.
#[derive(Debug, PartialEq, Eq)]
struct Shares {
    lookups: u32,
    readers: u32,
    writers: u32,
}

impl Shares {
    /// One listens, one keeps the lease, one is for signs of life; of the others, of which there are at
    /// least three, most are for look-ups.
    fn of(connections_max: u32) -> Self {
        let others = connections_max.saturating_sub(3).max(3);
        let (readers, writers) = (others / 3, (others / 4).max(1));
        Self {
            lookups: others - readers - writers,
            readers,
            writers,
        }
    }
}

/// Connections are tried before they are lent: after a restart of the server the first request does
/// not find a dead one.
fn pool(options: &PgConnectOptions, connections_max: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(CONNECT_TIMEOUT)
        .after_connect(|connection, _meta| Box::pin(configure(connection)))
        .connect_lazy_with(options.clone())
}

pub(super) async fn configure(connection: &mut PgConnection) -> sqlx::Result<()> {
    let settings = sqlx::query(SETTINGS).bind(format!("{}ms", ANSWER_TIMEOUT.as_millis()));
    settings.execute(connection).await.map(drop)
}

/// Verifies the schema, and migrates it when it is behind. On a connection of its own: its errors are
/// the connection's, not a pool's, and a lock that is left ends with it.
async fn bring_up(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut connection = match timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(connected) => connected.map_err(|error| not_connected(options, error))?,
        Err(_elapsed) => return Err(no_answer(options)),
    };
    let migrator = schema::migrator(MIGRATIONS);
    let applied = applied(&mut connection).await?;
    if schema::judge(&applied, &migrator)? == Schema::Behind {
        migrate(&mut connection, &migrator).await?;
    }
    guards::verify(&mut connection).await?;
    answered(connection.close()).await
}

/// With the address, which is what is wrong most often.
fn not_connected(options: &PgConnectOptions, error: sqlx::Error) -> StoreError {
    let sqlx::Error::Io(error) = error else {
        return explain(error);
    };
    StoreError::Unavailable(format!(
        "PostgreSQL at {}:{} cannot be reached ({error}); check that it runs and that the store's \
         URL names its host and port",
        options.get_host(),
        options.get_port(),
    ))
}

fn no_answer(options: &PgConnectOptions) -> StoreError {
    StoreError::Unavailable(format!(
        "PostgreSQL at {}:{} gave no answer within {} s; check that it runs and that the network \
         lets genkan through",
        options.get_host(),
        options.get_port(),
        CONNECT_TIMEOUT.as_secs()
    ))
}

/// What was applied; nothing in a new database.
async fn applied(connection: &mut PgConnection) -> Result<Vec<AppliedMigration>, StoreError> {
    let table = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(schema::TABLE);
    if !answered(table.fetch_one(&mut *connection)).await? {
        return Ok(Vec::new());
    }
    let listed = connection.list_applied_migrations(schema::TABLE).await;
    listed.map_err(explain_migration)
}

/// Several processes may start at once: sqlx takes an advisory lock, and each that comes later finds
/// the work done.
async fn migrate(connection: &mut PgConnection, migrator: &Migrator) -> Result<(), StoreError> {
    let migrated = migrator.run_direct(None, connection, false).await;
    migrated.map_err(explain_migration)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "sqlx's errors are an open set"
)]
fn explain_migration(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => explain(error),
        other => StoreError::Corrupt(format!("its schema cannot be brought up to date: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_has_a_connection_and_together_they_keep_to_the_bound() {
        for connections_max in 6..=1_000 {
            let shares = Shares::of(connections_max);
            let Shares {
                lookups,
                readers,
                writers,
            } = shares;
            assert_eq!(lookups + readers + writers + 3, connections_max);
            assert!([lookups, readers, writers].iter().all(|&share| share >= 1));
        }
        let default = Shares {
            lookups: 4,
            readers: 3,
            writers: 2,
        };
        assert_eq!(Shares::of(12), default);
    }
}
