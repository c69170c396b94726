//! Which schema a database has, and whether this binary may work with it.

use sqlx::SqlSafeStr;
use sqlx::migrate::{AppliedMigration, Migration, MigrationType, Migrator};

use super::StoreError;

/// The table in which sqlx notes what was applied.
pub(super) const TABLE: &str = "_sqlx_migrations";

/// What is to be done with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// Nothing.
    Current,
    /// Migrations are missing.
    Behind,
}

/// The migrations of one engine: name and text, numbered from 1 in this order.
pub(super) fn migrator(texts: &[(&'static str, &'static str)]) -> Migrator {
    let numbered = (1..).zip(texts).map(|(version, (name, text))| {
        Migration::new(
            version,
            (*name).into(),
            MigrationType::Simple,
            text.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(numbered.collect())
}

/// Compares what was applied with what this binary has.
///
/// # Errors
///
/// [`StoreError::Newer`]; [`StoreError::Corrupt`] when a migration was applied with another text.
pub(super) fn judge(
    applied: &[AppliedMigration],
    migrator: &Migrator,
) -> Result<Schema, StoreError> {
    let newest = |versions: &mut dyn Iterator<Item = i64>| versions.max().unwrap_or(0);
    let found = newest(&mut applied.iter().map(|migration| migration.version));
    let known = newest(&mut migrator.iter().map(|migration| migration.version));
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    let altered = migrator.iter().find(|own| {
        applied
            .iter()
            .any(|other| other.version == own.version && other.checksum != own.checksum)
    });
    match altered {
        Some(migration) => Err(StoreError::Corrupt(format!(
            "schema version {} was made by another build; run the genkan that made it, or restore \
             a backup",
            migration.version
        ))),
        None if found < known => Ok(Schema::Behind),
        None => Ok(Schema::Current),
    }
}
