//! Whether the triggers that write the log are those that the migrations made.

use std::collections::BTreeMap;

use sqlx::migrate::Migrator;
use sqlx::{Connection, SqliteConnection};

use super::errors::explain;
use crate::store::StoreError;

const GUARDS: &str = "SELECT name, sql FROM sqlite_schema WHERE type IN ('trigger', 'view')";

/// Compares with a database in memory that was migrated just now: SQLite keeps the text as written.
///
/// # Errors
/// [`StoreError::Unguarded`] names the first that is missing or differs.
pub(super) async fn verify(
    connection: &mut SqliteConnection,
    migrator: &Migrator,
) -> Result<(), StoreError> {
    let mut fresh = SqliteConnection::connect("sqlite::memory:")
        .await
        .map_err(explain)?;
    let migrated = migrator.run_direct(None, &mut fresh, false).await;
    migrated.map_err(super::open::explain_migration)?;
    let expected = guards(&mut fresh).await?;
    let found = guards(connection).await?;
    let wrong = expected
        .iter()
        .find(|(name, text)| found.get(*name) != Some(*text));
    match wrong {
        None => Ok(()),
        Some((name, _)) if found.contains_key(name) => Err(StoreError::Unguarded(format!(
            "trigger `{name}` was altered"
        ))),
        Some((name, _)) => Err(StoreError::Unguarded(format!(
            "trigger `{name}` is missing"
        ))),
    }
}

async fn guards(connection: &mut SqliteConnection) -> Result<BTreeMap<String, String>, StoreError> {
    let listed = sqlx::query_as(GUARDS).fetch_all(connection).await;
    let rows: Vec<(String, String)> = listed.map_err(explain)?;
    Ok(rows.into_iter().collect())
}
