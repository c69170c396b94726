//! Opening: connections with their settings, and the schema.

use std::time::Duration;

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

use super::PostgresEngine;
use super::connect::{self, Way};
use super::errors::explain;
use super::guards;
use super::heartbeat::Heartbeat;
use super::session::{ANSWER_TIMEOUT, answered};
use super::wait::Watch;
use crate::config::postgres::{Server, UrlError};
use crate::store::schema::{self, Schema};
use crate::store::{StoreError, WhenAbsent};

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
    (
        "log by statement",
        include_str!("migrations/0005_log_by_statement.sql"),
    ),
    (
        "assumed proofs",
        include_str!("migrations/0006_assumed_proofs.sql"),
    ),
    (
        "marks of revoking everything",
        include_str!("migrations/0007_revoke_all_marks.sql"),
    ),
    ("marks hold", include_str!("migrations/0008_marks_hold.sql")),
];

/// Settings of every connection. Compiling a plan to machine code (`jit`) pays off in reports; here the
/// planner, which guesses that an empty table is large, makes a statement of 0.3 ms one of 120 ms. A
/// process that is stopped in the middle of a transaction holds the
/// log's lock: the server ends it. A commit that is not on disk is no promise, whatever the server's
/// default. And the first column: whether triggers fire, which nobody may have changed since the start.
const SETTINGS: &str = "SELECT current_setting('session_replication_role'), \
    set_config('idle_in_transaction_session_timeout', '2s', false), \
    set_config('jit', 'off', false), \
    set_config('default_transaction_isolation', 'read committed', false), \
    set_config('statement_timeout', $1, false), \
    CASE current_setting('synchronous_commit') \
        WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END";

/// Whether the server takes writes: it is no standby, and not set to read only.
const TAKES_WRITES: &str = "SELECT NOT pg_is_in_recovery() \
    AND current_setting('default_transaction_read_only') = 'off'";
const NO_WRITES: &str = "PostgreSQL takes no writes, and the URL's target_session_attrs wants them; \
    name the primary";

pub(super) async fn engine(
    url: &str,
    connections_max: u32,
    absent: WhenAbsent,
) -> Result<PostgresEngine, StoreError> {
    let server: Server = url.parse().map_err(|error: UrlError| {
        StoreError::Unavailable(format!("the store's URL cannot be used: {error}"))
    })?;
    let ways = connect::ways(&server)?;
    let brought_up = timeout(MIGRATE_TIMEOUT, bring_up(&server, ways, absent)).await;
    let way = brought_up.map_err(|_elapsed| {
        StoreError::Locked(format!(
            "its schema was not ready within {} s; see pg_locks for who holds the advisory lock",
            MIGRATE_TIMEOUT.as_secs()
        ))
    })??;
    let shares = Shares::of(connections_max);
    let pool = |connections_max| pool(&server, &way, connections_max);
    Ok(PostgresEngine {
        lookups: pool(shares.lookups),
        readers: pool(shares.readers),
        writers: pool(shares.writers),
        probe: pool(1),
        heartbeat: Heartbeat::new(way.options.clone(), server.must_take_writes),
        watch: Watch::new(pool(1)),
        address: connect::address(&way.options),
        protection: way.protection,
        options: way.options,
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
fn pool(server: &Server, way: &Way, connections_max: u32) -> PgPool {
    let must_take_writes = server.must_take_writes;
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(server.connect_timeout)
        .after_connect(move |connection, _meta| Box::pin(configure(connection, must_take_writes)))
        .connect_lazy_with(way.options.clone())
}

/// Makes a new connection one of genkan's; of a server that takes no writes only where that is wanted.
pub(super) async fn configure(
    connection: &mut PgConnection,
    must_take_writes: bool,
) -> sqlx::Result<()> {
    let settings = sqlx::query_scalar(SETTINGS).bind(format!("{}ms", ANSWER_TIMEOUT.as_millis()));
    guards::judge(settings.fetch_one(&mut *connection).await?)?;
    if must_take_writes && !takes_writes(connection).await? {
        return Err(sqlx::Error::Configuration(NO_WRITES.into()));
    }
    Ok(())
}

/// Whether the server takes writes.
pub(super) async fn takes_writes(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(TAKES_WRITES).fetch_one(connection).await
}

/// Verifies the schema, and migrates it when it is behind. On a connection of its own: its errors are
/// the connection's, not a pool's, and a lock that is left ends with it.
async fn bring_up(server: &Server, ways: Vec<Way>, absent: WhenAbsent) -> Result<Way, StoreError> {
    let (mut connection, way) = connect::first(server, ways).await?;
    if server.must_take_writes && !answered(takes_writes(&mut connection)).await? {
        return Err(StoreError::ReadOnly(NO_WRITES.to_owned()));
    }
    let migrator = schema::migrator(MIGRATIONS);
    let applied = applied(&mut connection).await?;
    if applied.is_empty() && absent == WhenAbsent::Refuse {
        let address = connect::address(&way.options);
        return Err(StoreError::Absent(format!("in PostgreSQL at {address}")));
    }
    if schema::judge(&applied, &migrator)? == Schema::Behind {
        migrate(&mut connection, &migrator).await?;
    }
    guards::verify(&mut connection).await?;
    answered(connection.close()).await?;
    Ok(way)
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
