//! What PostgreSQL's errors mean, and what to do about them.
//!
//! Of the server's words only the message is passed on: its detail names values.

use std::{fmt, io};

use sqlx::error::DatabaseError;

use super::guards::TriggersDisabled;
use crate::store::StoreError;

/// What a pooler does that lends sessions by the transaction.
pub(super) const NO_SESSION: &str = "a pooler in front of PostgreSQL gives each transaction another session; genkan \
    needs one session for each connection, as its settings and its LISTEN are the session's. In PgBouncer set \
    `pool_mode = session` for this database, or name PostgreSQL itself in the store's URL";

/// From sqlx's error to ours.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "sqlx's errors are an open set"
)]
pub(super) fn explain(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) => explain_state(error.as_ref()),
        sqlx::Error::Io(error) => explain_io(&error),
        sqlx::Error::Tls(error) => no_tls(&error),
        sqlx::Error::Configuration(error) if error.is::<TriggersDisabled>() => {
            StoreError::Unguarded(error.to_string())
        }
        sqlx::Error::PoolTimedOut => StoreError::Unavailable(
            "PostgreSQL gave no connection in time; check that it runs, or allow this process more \
             connections"
                .to_owned(),
        ),
        sqlx::Error::PoolClosed => {
            StoreError::Unavailable("this process is ending and has closed it".to_owned())
        }
        other => StoreError::Unavailable(format!("PostgreSQL: {other}")),
    }
}

/// The handshake failed, or there was none.
fn no_tls(error: &dyn fmt::Display) -> StoreError {
    StoreError::Unavailable(format!(
        "the TLS handshake with PostgreSQL failed ({error}); check `sslmode` and `sslrootcert` in the \
         store's URL, and that its host is a name in the server's certificate"
    ))
}

fn explain_io(error: &io::Error) -> StoreError {
    // What rustls says comes as data that are not as they should be.
    if error.kind() == io::ErrorKind::InvalidData {
        return no_tls(error);
    }
    StoreError::Unavailable(format!(
        "PostgreSQL cannot be reached ({error}); check that it runs and that the store's URL names \
         its host and port"
    ))
}

/// By SQLSTATE (PostgreSQL's manual, appendix A).
fn explain_state(error: &dyn DatabaseError) -> StoreError {
    let message = error.message();
    let state = error.code().unwrap_or_default();
    match state.as_ref() {
        "23000" => StoreError::Forbidden(message.to_owned()),
        "23505" => StoreError::Exists(format!("such a row ({message})")),
        "23503" => StoreError::NotFound("what the new row refers to".to_owned()),
        "25006" => StoreError::ReadOnly(
            "PostgreSQL takes no writes; name the primary in the store's URL, not a standby, and \
             check `default_transaction_read_only`"
                .to_owned(),
        ),
        "40001" | "40P01" | "55P03" => {
            StoreError::Locked(format!("{message}; end that process, or try again"))
        }
        "57014" => StoreError::Locked(
            "the statement waited too long for a lock; see pg_stat_activity for who holds it"
                .to_owned(),
        ),
        // A prepared statement that another session has, or that this one does not have.
        "26000" | "42P05" => StoreError::Unavailable(NO_SESSION.to_owned()),
        "28000" | "28P01" => StoreError::Unavailable(format!(
            "PostgreSQL refused the login ({message}); check user and password in the store's URL"
        )),
        "3D000" => StoreError::Unavailable(format!(
            "{message}; create it with `createdb`, or name another in the store's URL"
        )),
        "42501" => StoreError::Unavailable(format!(
            "{message}; grant genkan's user that right, or make it the owner of the database"
        )),
        "53100" => StoreError::Unavailable(
            "PostgreSQL's disk is full; free some space, genkan goes on by itself".to_owned(),
        ),
        "53300" => StoreError::Unavailable(format!(
            "{message}; raise `max_connections` of the server, or lower genkan's"
        )),
        "XX001" | "XX002" => StoreError::Corrupt(format!("{message}; restore a backup")),
        _other => StoreError::Unavailable(format!("PostgreSQL: {message} (SQLSTATE {state})")),
    }
}
