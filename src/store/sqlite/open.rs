//! Opening the file: folder, mode, schema.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::time::{Instant, sleep};

use super::SqliteEngine;
use super::errors::explain;
use super::file::{Files, OpenFile};
use super::guards;
use super::instances::LeaseFile;
use super::lease_file::{UnopenedLeaseFile, forget_lease_file};
use super::wait::Watch;
use crate::store::schema::{self, Schema};
use crate::store::{StoreError, WhenAbsent};

/// Connections for look-ups. One takes some 50 µs: few suffice, each has a thread of its own.
const LOOKUPS_MAX: u32 = 4;
/// Connections for what management reads.
const READERS_MAX: u32 = 3;
/// Between two tries to open a file that another process is just creating.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// The schema, version by version. Text that was released is never edited.
const MIGRATIONS: &[(&str, &str)] = &[
    ("ground", include_str!("migrations/0001_ground.sql")),
    (
        "observed leases",
        include_str!("migrations/0002_observed_leases.sql"),
    ),
    ("people", include_str!("migrations/0003_people.sql")),
    ("proofs", include_str!("migrations/0004_proofs.sql")),
    (
        "leases apart",
        include_str!("migrations/0005_leases_apart.sql"),
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

pub(super) async fn engine(
    path: &Path,
    busy_timeout: Duration,
    absent: WhenAbsent,
) -> Result<SqliteEngine, StoreError> {
    match absent {
        WhenAbsent::Create => create_if_absent(path).map_err(|error| unusable(path, &error))?,
        WhenAbsent::Refuse if !path.exists() => return Err(none_at(path)),
        // Nothing is made of an empty file.
        WhenAbsent::Refuse
            if fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) =>
        {
            return Err(none_at(path));
        }
        WhenAbsent::Refuse if path.is_dir() => {
            return Err(unusable(path, &io::ErrorKind::IsADirectory.into()));
        }
        WhenAbsent::Refuse => {}
    }
    // By whichever name it is reached, its companions are beside it, and the same for all.
    let canonical = fs::canonicalize(path).map_err(|error| unusable(path, &error))?;
    let path = canonical.as_path();
    // Before the first connection: what is opened later is compared with this.
    let database = OpenFile::database(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(busy_timeout)
        .disable_statement_logging();
    let bring_up = bring_up(&options, busy_timeout, absent).await;
    bring_up.map_err(|error| name_file(path, error))?;
    let leases = UnopenedLeaseFile::beside(path, &options)?;
    if leases.is_held_unseen().await? {
        forget_lease_file(&options).await?;
    }
    let (lease_options, lease_file) = (leases.options, leases.file);
    let files = Files::open((database, &options), (leases.opened, &lease_options)).await?;
    let files = Arc::new(files);
    let pools = pools(busy_timeout, &files);
    let leases = LeaseFile::open(&files, &options, (lease_options, lease_file), &pools).await?;
    files.check()?;
    let pool = |connections_max| {
        let sized = pools.clone().max_connections(connections_max);
        sized.connect_lazy_with(options.clone())
    };
    let files_of_watch = Arc::clone(&files);
    Ok(SqliteEngine {
        files,
        writer: pool(1),
        leases,
        lookups: pool(LOOKUPS_MAX),
        readers: pool(READERS_MAX),
        follower: pool(1),
        probe: pool(1),
        watch: Watch::new(options, files_of_watch),
    })
}

/// Every connection is compared with the files, after it was opened: a pool opens them when it needs them, and the path
/// may name another file by then.
fn pools(busy_timeout: Duration, files: &Arc<Files>) -> SqlitePoolOptions {
    let files = Arc::clone(files);
    SqlitePoolOptions::new()
        .acquire_timeout(busy_timeout.saturating_mul(2))
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |_connection, _about| {
            let checked = files.check_connection();
            Box::pin(async move { checked })
        })
}

fn none_at(path: &Path) -> StoreError {
    StoreError::Absent(format!("at `{}`", path.display()))
}

/// The file holds hashes and addresses: it is its owner's alone, and SQLite gives its companions
/// (`-wal`, `-shm`) the same mode.
fn create_if_absent(path: &Path) -> io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::metadata(path)?.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok(())
        }
        created => created.map(drop),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "io's kinds are an open set")]
pub(super) fn unusable(path: &Path, error: &io::Error) -> StoreError {
    let advice = match error.kind() {
        io::ErrorKind::IsADirectory => "name a file in it, such as `genkan.db`",
        io::ErrorKind::PermissionDenied => {
            "let the user that runs genkan write the file and its folder"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "one of its folders is a file; name another path"
        }
        io::ErrorKind::StorageFull => "free some space",
        _other => "check the path of the store in the configuration",
    };
    let path = path.display();
    StoreError::Unavailable(format!("`{path}` cannot be opened: {error}; {advice}"))
}

/// Says which file it was about; the kind of the error remains.
pub(super) fn name_file(path: &Path, error: StoreError) -> StoreError {
    let named = |text: String| format!("`{}`: {text}", path.display());
    match error {
        StoreError::Unavailable(text) => StoreError::Unavailable(named(text)),
        StoreError::Locked(text) => StoreError::Locked(named(text)),
        StoreError::ReadOnly(text) => StoreError::ReadOnly(named(text)),
        StoreError::Corrupt(text) => StoreError::Corrupt(named(text)),
        StoreError::Absent(_) => none_at(path),
        other @ (StoreError::Unreachable(_)
        | StoreError::Newer { .. }
        | StoreError::Unguarded(_)
        | StoreError::NotFound(_)
        | StoreError::Exists(_)
        | StoreError::Forbidden(_)
        | StoreError::LastOwner(_)
        | StoreError::RoleLost
        | StoreError::AuthMethodEnded
        | StoreError::BeyondKey(_)
        | StoreError::OthersKeys
        | StoreError::Conflict(_)) => other,
    }
}

/// Verifies the schema, and migrates it when it is behind. Two processes that create the file at the
/// same moment may find it locked without the busy timeout being honoured (the change to WAL does
/// not wait), so that is tried again.
async fn bring_up(
    options: &SqliteConnectOptions,
    patience: Duration,
    absent: WhenAbsent,
) -> Result<(), StoreError> {
    let deadline = Instant::now() + patience;
    loop {
        match bring_up_once(options, absent).await {
            Err(StoreError::Locked(_)) if Instant::now() < deadline => sleep(RETRY_INTERVAL).await,
            result => return result,
        }
    }
}

async fn bring_up_once(
    options: &SqliteConnectOptions,
    absent: WhenAbsent,
) -> Result<(), StoreError> {
    let migrator = schema::migrator(MIGRATIONS);
    // A migration may make a table anew, and to drop the old one would delete what refers to it.
    let unchecked = options.clone().foreign_keys(false);
    let mut connection = unchecked.connect().await.map_err(explain)?;
    let applied = applied(&mut connection).await?;
    if applied.is_empty() && absent == WhenAbsent::Refuse {
        return Err(StoreError::Absent(String::new()));
    }
    if schema::judge(&applied, &migrator)? == Schema::Behind {
        migrate(&mut connection, &migrator).await?;
    }
    guards::verify(&mut connection, &migrator).await?;
    connection.close().await.map_err(explain)
}

/// What was applied; nothing for a new file.
async fn applied(connection: &mut SqliteConnection) -> Result<Vec<AppliedMigration>, StoreError> {
    let tables = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema WHERE name = $1")
        .bind(schema::TABLE);
    let known: i64 = tables.fetch_one(&mut *connection).await.map_err(explain)?;
    if known == 0 {
        return Ok(Vec::new());
    }
    let listed = connection.list_applied_migrations(schema::TABLE).await;
    listed.map_err(explain_migration)
}

/// All or nothing, and alone: sqlx has no lock of its own for SQLite.
async fn migrate(connection: &mut SqliteConnection, migrator: &Migrator) -> Result<(), StoreError> {
    let begun = connection.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begun.map_err(explain)?;
    let leases = leases_to_end(&mut transaction).await?;
    let migrated = migrator.run_direct(None, &mut *transaction, false).await;
    migrated.map_err(explain_migration)?;
    sleep(leases).await;
    transaction.commit().await.map_err(explain)
}

/// How long it takes until the leases have ended that are in the database itself, as they were until schema version 4.
/// Anybody who holds one cannot renew it while this transaction lasts, nor after it: nobody would wait for them any
/// more.
async fn leases_to_end(connection: &mut SqliteConnection) -> Result<Duration, StoreError> {
    let table = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'instances'");
    let is_there: i64 = table.fetch_one(&mut *connection).await.map_err(explain)?;
    let columns = sqlx::query_scalar(
        "SELECT COUNT(*) FROM pragma_table_info('instances') WHERE name = 'lease_ms'",
    );
    let has_length: i64 = columns.fetch_one(&mut *connection).await.map_err(explain)?;
    if is_there == 0 || has_length == 0 {
        return Ok(Duration::ZERO);
    }
    let longest =
        sqlx::query_scalar("SELECT COALESCE(MAX(lease_ms), 0) FROM instances WHERE NOT evicted");
    let longest: i64 = longest.fetch_one(&mut *connection).await.map_err(explain)?;
    Ok(Duration::from_millis(u64::try_from(longest).unwrap_or(0)))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "sqlx's errors are an open set"
)]
pub(super) fn explain_migration(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => explain(error),
        other => StoreError::Corrupt(format!("its schema cannot be brought up to date: {other}")),
    }
}
