//! Connecting as the URL says, and what protects the connection.
//!
//! The driver takes missing options from libpq's environment variables. So every option is set.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::timeout;

use super::errors::explain;
use crate::config::postgres::{Place, Server, TlsMode};
use crate::store::StoreError;

/// Where a server of this machine has its socket, by Debian's build and by PostgreSQL's own.
const FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// The longest file of certificates or keys that is read, in bytes: far more than any authority has.
const FILE_BYTES_MAX: u64 = 4_194_304;

/// One way to connect.
pub(super) struct Way {
    pub(super) options: PgConnectOptions,
    pub(super) protection: Protection,
}

/// What lies between genkan and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    /// A Unix socket: nothing leaves this machine.
    Socket,
    /// A network, with TLS or without.
    Network(TlsMode),
}

impl Protection {
    /// In words, given which TLS the server says that this connection has.
    pub(super) fn told(self, version: Option<&str>) -> String {
        let mode = match self {
            Self::Socket => return "a Unix socket of this machine".to_owned(),
            Self::Network(mode) => mode,
        };
        let certificate = match mode {
            TlsMode::VerifyFull => "certificate verified".to_owned(),
            TlsMode::Disable | TlsMode::Allow | TlsMode::Prefer | TlsMode::Require => {
                format!("certificate NOT verified (sslmode={})", mode.as_str())
            }
        };
        match (version, mode) {
            // PostgreSQL writes TLSv1.3.
            (Some(version), _) => format!("{}, {certificate}", version.replace("TLSv", "TLS ")),
            (None, TlsMode::Require | TlsMode::VerifyFull) => format!(
                "TLS, {certificate}; behind what answers there, a pooler perhaps, NOT encrypted"
            ),
            (None, TlsMode::Disable | TlsMode::Allow | TlsMode::Prefer) => {
                format!("NOT encrypted (sslmode={})", mode.as_str())
            }
        }
    }
}

/// The ways that the URL allows, the first before the second.
pub(super) fn ways(server: &Server) -> Result<Vec<Way>, StoreError> {
    let options = options(server)?;
    let mode = server.tls.mode;
    let (first, second) = match mode {
        _ if options.get_socket().is_some() => (PgSslMode::Disable, None),
        TlsMode::Disable => (PgSslMode::Disable, None),
        TlsMode::Allow => (PgSslMode::Disable, Some(PgSslMode::Require)),
        TlsMode::Prefer => (PgSslMode::Prefer, Some(PgSslMode::Disable)),
        TlsMode::Require => (PgSslMode::Require, None),
        TlsMode::VerifyFull => (PgSslMode::VerifyFull, None),
    };
    let protection = match options.get_socket() {
        Some(_folder) => Protection::Socket,
        None => Protection::Network(mode),
    };
    let way = |mode| Way {
        options: options.clone().ssl_mode(mode),
        protection,
    };
    Ok([Some(first), second]
        .into_iter()
        .flatten()
        .map(way)
        .collect())
}

/// Sets every option of the driver, so that it reads none from the environment.
fn options(server: &Server) -> Result<PgConnectOptions, StoreError> {
    let user = match &server.user {
        Some(user) => user.clone(),
        None => whoami::username().map_err(|error| {
            StoreError::Unavailable(format!(
                "the system does not say what this user is called ({error}); write a user into the \
                 store's URL"
            ))
        })?,
    };
    let database = server.database.as_deref().unwrap_or(&user);
    let mut options = PgConnectOptions::new_without_pgpass()
        .port(server.port)
        .username(&user)
        .password(&server.password)
        .database(database)
        .application_name(&server.application_name)
        // Nothing here is a fraction, and poolers refuse a connection that sets what they do not know.
        .extra_float_digits(None)
        .disable_statement_logging();
    // Without any, not even an empty text is sent.
    if !server.settings.is_empty() {
        options = options.options(server.settings.iter().map(|(name, value)| (name, value)));
    }
    if let Some(statements_max) = server.statements_max {
        options = options.statement_cache_capacity(statements_max);
    }
    options = match (&server.place, socket_of(server)) {
        (Place::Host(host), _) => options.host(host),
        (_, Some(folder)) => options.host("localhost").socket(folder),
        (Place::Folder(_) | Place::Here, None) => options.host("localhost"),
    };
    if let Some(client) = &server.tls.client {
        readable("sslcert", &client.certificate_file, "CERTIFICATE")?;
        readable("sslkey", &client.key_file, "PRIVATE KEY")?;
        options = options
            .ssl_client_cert(&client.certificate_file)
            .ssl_client_key(&client.key_file);
    }
    Ok(match &server.tls.roots_file {
        Some(file) => {
            readable("sslrootcert", file, "CERTIFICATE")?;
            options.ssl_root_cert(file)
        }
        None if server.tls.mode == TlsMode::VerifyFull => {
            options.ssl_root_cert_from_pem(system_roots())
        }
        None => options.ssl_root_cert_from_pem(Vec::new()),
    })
}

fn socket_of(server: &Server) -> Option<PathBuf> {
    match &server.place {
        Place::Host(_) => None,
        Place::Folder(folder) => Some(folder.clone()),
        Place::Here => FOLDERS
            .iter()
            .map(PathBuf::from)
            .find(|folder| folder.join(format!(".s.PGSQL.{}", server.port)).exists()),
    }
}

/// The system's roots in PEM. One that cannot be read is left out; without any, the public ones remain.
fn system_roots() -> Vec<u8> {
    let found = rustls_native_certs::load_native_certs();
    found.certs.iter().fold(Vec::new(), |mut pem, certificate| {
        let text = BASE64_STANDARD.encode(certificate);
        for part in [
            "-----BEGIN CERTIFICATE-----\n",
            &text,
            "\n-----END CERTIFICATE-----\n",
        ] {
            pem.extend_from_slice(part.as_bytes());
        }
        pem
    })
}

/// Says early, and by the name of the option, that a file is not what it should be.
fn readable(option: &str, file: &Path, label: &str) -> Result<(), StoreError> {
    let wrong = |why: String| {
        StoreError::Unavailable(format!(
            "`{option}` in the store's URL names {}: {why}; name a PEM file that genkan's user may read",
            file.display()
        ))
    };
    let is_short = std::fs::metadata(file).map(|it| it.is_file() && it.len() <= FILE_BYTES_MAX);
    match is_short {
        Ok(true) => {}
        Ok(false) => return Err(wrong("it is no file, or too long".to_owned())),
        Err(error) => return Err(wrong(error.to_string())),
    }
    let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let text = zeroize::Zeroizing::new(text);
    if text
        .windows(label.len())
        .any(|part| part == label.as_bytes())
    {
        return Ok(());
    }
    Err(wrong(format!("it holds no {label}")))
}

/// Connects by the first way that works. The next is tried only where TLS, or the want of it, is what
/// failed: a server that is away is away by every way.
pub(super) async fn first(
    server: &Server,
    ways: Vec<Way>,
) -> Result<(PgConnection, Way), StoreError> {
    let mut refused = StoreError::Unavailable("no way to connect".to_owned());
    for way in ways {
        match timeout(server.connect_timeout, way.options.connect()).await {
            Ok(Ok(connection)) => return Ok((connection, way)),
            Ok(Err(error)) => {
                let may_be_tls = is_about_tls(&error);
                refused = not_connected(&way.options, error);
                if !may_be_tls {
                    break;
                }
            }
            Err(_elapsed) => {
                refused = no_answer(server, &way.options);
                break;
            }
        }
    }
    Err(refused)
}

/// Whether a connection may have failed for its TLS: the handshake, or a rule of `pg_hba.conf`.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "sqlx's errors are an open set"
)]
fn is_about_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.kind() == ErrorKind::InvalidData,
        sqlx::Error::Database(error) => error.code().as_deref() == Some("28000"),
        _other => false,
    }
}

/// For people: where it is and which database, without user and password.
pub(super) fn address(options: &PgConnectOptions) -> String {
    let separator = match options.get_socket() {
        Some(_folder) => ' ',
        None => '/',
    };
    let database = options.get_database().unwrap_or_default();
    format!("{}{separator}{database}", place(options))
}

fn place(options: &PgConnectOptions) -> String {
    let port = options.get_port();
    match options.get_socket() {
        Some(folder) => format!("{}:{port}", folder.display()),
        None if options.get_host().contains(':') => format!("[{}]:{port}", options.get_host()),
        None => format!("{}:{port}", options.get_host()),
    }
}

/// With the address, which is what is wrong most often.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "sqlx's errors are an open set"
)]
fn not_connected(options: &PgConnectOptions, error: sqlx::Error) -> StoreError {
    let error = match error {
        sqlx::Error::Io(error) if error.kind() != ErrorKind::InvalidData => error,
        sqlx::Error::Database(error) if is_not_ready(error.as_ref()) => {
            return StoreError::Unreachable(format!(
                "PostgreSQL at {} takes no connection at the moment ({})",
                place(options),
                error.message()
            ));
        }
        other => return explain(other),
    };
    StoreError::Unreachable(format!(
        "PostgreSQL at {} cannot be reached ({error}); check that it runs and that the store's URL names \
         its host and port",
        place(options),
    ))
}

/// Whether a server is starting up or ending, or has no connection left (PostgreSQL's manual, appendix A).
fn is_not_ready(error: &dyn DatabaseError) -> bool {
    matches!(error.code().as_deref(), Some("57P03" | "57P01" | "53300"))
}

fn no_answer(server: &Server, options: &PgConnectOptions) -> StoreError {
    StoreError::Unreachable(format!(
        "PostgreSQL at {} gave no answer within {} s; check that it runs and that the network \
         lets genkan through",
        place(options),
        server.connect_timeout.as_secs()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_protects_a_connection_is_said_without_flattery() {
        let network = Protection::Network;
        for (protection, version, told) in [
            (
                network(TlsMode::VerifyFull),
                Some("TLSv1.3"),
                "TLS 1.3, certificate verified",
            ),
            (
                network(TlsMode::Require),
                Some("TLSv1.2"),
                "TLS 1.2, certificate NOT verified (sslmode=require)",
            ),
            (
                network(TlsMode::Prefer),
                None,
                "NOT encrypted (sslmode=prefer)",
            ),
            (
                network(TlsMode::VerifyFull),
                None,
                "TLS, certificate verified; behind what answers there, a pooler perhaps, NOT encrypted",
            ),
            (Protection::Socket, None, "a Unix socket of this machine"),
        ] {
            assert_eq!(protection.told(version), told);
        }
    }
}
