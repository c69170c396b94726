//! What SQLite's errors mean, and what to do about them.

use std::fmt;
use std::path::Path;

use sqlx::error::DatabaseError;

use crate::store::StoreError;

/// Result codes (<https://sqlite.org/rescode.html>); an extended code holds its primary code in the
/// low eight bits.
mod code {
    pub(super) const BUSY: i64 = 5;
    pub(super) const LOCKED: i64 = 6;
    pub(super) const READONLY: i64 = 8;
    pub(super) const CORRUPT: i64 = 11;
    pub(super) const FULL: i64 = 13;
    pub(super) const CANTOPEN: i64 = 14;
    pub(super) const CONSTRAINT: i64 = 19;
    pub(super) const NOTADB: i64 = 26;
    pub(super) const CONSTRAINT_FOREIGNKEY: i64 = 787;
    pub(super) const CONSTRAINT_PRIMARYKEY: i64 = 1555;
    pub(super) const CONSTRAINT_TRIGGER: i64 = 1811;
    pub(super) const CONSTRAINT_UNIQUE: i64 = 2067;
}

/// From sqlx's error to ours. SQLite's messages name tables and columns, never values.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "sqlx's errors are an open set"
)]
pub(super) fn explain(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) => explain_code(error.as_ref()),
        sqlx::Error::PoolTimedOut => StoreError::Locked(
            "every connection of this process is waiting for it; end the process that holds it, \
             or try again"
                .to_owned(),
        ),
        other => StoreError::Unavailable(format!("SQLite: {other}")),
    }
}

/// Of the file of leases, by its name: nothing in it is of worth once every process has ended, so the advice is another
/// than for the database.
pub(super) fn explain_leases(path: &Path, error: sqlx::Error) -> StoreError {
    let path = path.display();
    let damaged = [code::CORRUPT, code::NOTADB, code::CONSTRAINT];
    if let sqlx::Error::Database(error) = &error
        && damaged.contains(&(extended_code(error.as_ref()) & 0xff))
    {
        return damaged_leases(&path);
    }
    let named = |text: String| format!("`{path}`: {text}");
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others come from no statement of this file"
    )]
    match explain(error) {
        StoreError::Locked(text) => StoreError::Locked(named(text)),
        StoreError::ReadOnly(text) => StoreError::ReadOnly(named(text)),
        StoreError::Unavailable(text) => StoreError::Unavailable(named(text)),
        other => other,
    }
}

/// `path`: of the file of leases.
pub(super) fn damaged_leases(path: &dyn fmt::Display) -> StoreError {
    StoreError::Unavailable(format!(
        "`{path}` is damaged. It holds the leases of running gateways and nothing else: stop every process of genkan, remove \
         it with its `-wal` and `-shm`, and start them again"
    ))
}

fn extended_code(error: &dyn DatabaseError) -> i64 {
    error.code().and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn explain_code(error: &dyn DatabaseError) -> StoreError {
    let message = error.message();
    let extended = extended_code(error);
    match (extended, extended & 0xff) {
        (code::CONSTRAINT_TRIGGER, _) => StoreError::Forbidden(message.to_owned()),
        (code::CONSTRAINT_UNIQUE | code::CONSTRAINT_PRIMARYKEY, _) => {
            StoreError::Exists(format!("such a row ({message})"))
        }
        (code::CONSTRAINT_FOREIGNKEY, _) => {
            StoreError::NotFound("what the new row refers to".to_owned())
        }
        (_, code::CONSTRAINT | code::CORRUPT) => StoreError::Corrupt(format!(
            "{message}; stop every process that uses the file and restore a backup"
        )),
        (_, code::BUSY | code::LOCKED) => StoreError::Locked(
            "it did not let go within the busy timeout; end that process, or try again".to_owned(),
        ),
        (_, code::READONLY) => StoreError::ReadOnly(
            "let genkan write the file, its `-wal` and `-shm`, and its folder, and check that the disk is mounted for \
             writing"
                .to_owned(),
        ),
        (_, code::FULL) => StoreError::Unavailable(
            "the disk is full; free some space, genkan goes on by itself".to_owned(),
        ),
        (_, code::NOTADB) => StoreError::Unavailable(
            "the file is not an SQLite database; name another file in the configuration, or move \
             this one away and genkan creates one"
                .to_owned(),
        ),
        (_, code::CANTOPEN) => StoreError::Unavailable(
            "the file cannot be opened; check that it and its folder exist and that genkan may \
             read and write them"
                .to_owned(),
        ),
        _other => StoreError::Unavailable(format!("SQLite: {message}")),
    }
}
