//! Where a PostgreSQL is and how it is spoken to: its URL, as libpq reads it (PostgreSQL 18, §32.1.1.2).
//!
//! Nothing that a URL says is ignored: every option that libpq knows is honoured, or refused with what
//! to do instead (`options`); an unknown one is a mistake. And nothing else is read: no `PG…` variable, no
//! `.pgpass`, no service file. What the URL does not say is a default that is written down here.
//!
//! No error holds a part of the URL that may be a password: no value at all, and the name of an option
//! only where nothing in the URL can be a password that was cut in two.

mod options;
mod settings;
mod split;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use zeroize::Zeroizing;

/// The port without one in the URL.
const PORT_DEFAULT: u16 = 5_432;
/// The longest wait for a connection where the URL does not say: far longer than one takes, and short
/// enough that a person at a command line sees what is wrong.
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// What the server's lists of connections call this process.
const APPLICATION_NAME_DEFAULT: &str = "genkan";

/// A PostgreSQL, from its URL.
#[derive(Clone)]
pub struct Server {
    /// Where it listens.
    pub place: Place,
    /// The port, or the number at the end of the socket's name.
    pub port: u16,
    /// Who genkan is there. `None`: as this process is called by the system.
    pub user: Option<String>,
    /// The password; empty: none.
    pub password: Zeroizing<String>,
    /// The database. `None`: called as the user is.
    pub database: Option<String>,
    /// How the connection is protected.
    pub tls: Tls,
    /// What the server's lists of connections call this process.
    pub application_name: String,
    /// Settings of each connection (`-c name=value`).
    pub settings: Vec<(String, String)>,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// Whether a server that takes no writes is refused when it is connected to.
    pub must_take_writes: bool,
    /// Prepared statements kept for each connection. `None`: as many as sqlx keeps.
    pub statements_max: Option<usize>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A name or an address, IPv6 without brackets.
    Host(String),
    /// A folder with a Unix socket.
    Folder(PathBuf),
    /// Nobody said: the Unix socket of this machine, if there is one, or `localhost`.
    Here,
}

/// How a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Whether there is TLS, and whether the certificate is verified.
    pub mode: TlsMode,
    /// Of [`TlsMode::VerifyFull`]: PEM roots beside the public ones. `None`: those of the system.
    pub roots_file: Option<PathBuf>,
    /// The certificate of this client and its key, PEM.
    pub client: Option<ClientFiles>,
}

/// The certificate of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// PEM: the certificate, then its chain.
    pub certificate_file: PathBuf,
    /// PEM: the private key, not encrypted.
    pub key_file: PathBuf,
}

/// Whether there is TLS (PostgreSQL 18, §32.19.3). `verify-ca` is refused: see `options`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// Without, or where the server refuses that, with.
    Allow,
    /// With, or where that does not work, without.
    Prefer,
    /// With TLS; any server certificate is accepted.
    Require,
    /// With, and the certificate is for this host, by an authority that is trusted.
    VerifyFull,
}

impl TlsMode {
    /// The word in the URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, port, .. } = self;
        write!(f, "Server({place:?}, {port}, …)")
    }
}

/// Why a URL is refused. Holds nothing of it that may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {help}")]
pub struct UrlError {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl UrlError {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            help: help.into(),
        }
    }
}

/// What the URL said so far, option by option; the last word on each.
#[derive(Default)]
struct Draft {
    host: Option<String>,
    hostaddr: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Zeroizing<String>,
    database: Option<String>,
    sslmode: Option<SslModeValue>,
    roots: Option<Roots>,
    sslcert: Option<PathBuf>,
    sslkey: Option<PathBuf>,
    application_name: Option<String>,
    fallback_application_name: Option<String>,
    settings: Vec<(String, String)>,
    connect_timeout: Option<Duration>,
    must_take_writes: bool,
    statements_max: Option<usize>,
}

/// The word after `sslmode`: libpq's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SslModeValue {
    Mode(TlsMode),
    VerifyCa,
}

/// What `sslrootcert` says.
enum Roots {
    System,
    File(PathBuf),
}

impl FromStr for Server {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let parts = split::Parts::of(url)?;
        let mut draft = Draft::default();
        parts.fill(&mut draft)?;
        options::fill(&parts, &mut draft)?;
        draft.server()
    }
}

impl Draft {
    fn server(self) -> Result<Server, UrlError> {
        let place = place(self.host.as_deref(), self.hostaddr.as_deref())?;
        let has_two_names = self.host.is_some() && self.hostaddr.is_some();
        let tls = tls(self.sslmode, self.roots, (self.sslcert, self.sslkey))?;
        if has_two_names && tls.mode == TlsMode::VerifyFull {
            return Err(UrlError::new(
                "the URL has both a host and `hostaddr`, and sslmode=verify-full",
                "genkan verifies the certificate for what it connects to: name that as the host alone",
            ));
        }
        let name = self.application_name.or(self.fallback_application_name);
        Ok(Server {
            place,
            port: self.port.unwrap_or(PORT_DEFAULT),
            user: self.user,
            password: self.password,
            database: self.database,
            tls,
            application_name: name.unwrap_or_else(|| APPLICATION_NAME_DEFAULT.to_owned()),
            settings: self.settings,
            connect_timeout: self.connect_timeout.unwrap_or(CONNECT_TIMEOUT_DEFAULT),
            must_take_writes: self.must_take_writes,
            statements_max: self.statements_max,
        })
    }
}

/// An address is connected to; the name beside it would be for the certificate.
fn place(host: Option<&str>, address: Option<&str>) -> Result<Place, UrlError> {
    let Some(host) = address.or(host) else {
        return Ok(Place::Here);
    };
    if host.contains(',') {
        return Err(UrlError::new(
            "the URL names several hosts",
            "name one, that moves with the primary (a virtual address, a name, a proxy): after a \
             failover, connections to several servers could answer from two histories, and a revoked \
             key would be accepted by one",
        ));
    }
    if host.starts_with('/') {
        return Ok(Place::Folder(host.into()));
    }
    if host.starts_with('@') {
        return Err(UrlError::new(
            "the host is an abstract Unix socket",
            "name the folder of a socket in the file system: ?host=/var/run/postgresql",
        ));
    }
    // `%` and `:` are of IPv6 addresses with a zone.
    let plain = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
    if host.chars().all(plain) {
        Ok(Place::Host(host.to_owned()))
    } else {
        Err(UrlError::new(
            "the host is neither a name nor an address nor the path of a folder",
            split::FORM,
        ))
    }
}

fn tls(
    sslmode: Option<SslModeValue>,
    roots: Option<Roots>,
    client: (Option<PathBuf>, Option<PathBuf>),
) -> Result<Tls, UrlError> {
    // The system's roots are for verification and nothing else: so in libpq too.
    let implied = match roots {
        Some(Roots::System) => TlsMode::VerifyFull,
        Some(Roots::File(_)) | None => TlsMode::Prefer,
    };
    let mode = match sslmode.unwrap_or(SslModeValue::Mode(implied)) {
        SslModeValue::Mode(mode) => mode,
        SslModeValue::VerifyCa => {
            return Err(UrlError::new(
                "sslmode=verify-ca is not supported",
                "write sslmode=verify-full: beside `sslrootcert` the public authorities are trusted, and \
                 without a look at the name any certificate of theirs would do",
            ));
        }
    };
    if roots.is_some() && mode != TlsMode::VerifyFull {
        return Err(UrlError::new(
            "`sslrootcert` is given, and sslmode is not verify-full",
            "write sslmode=verify-full, or leave `sslrootcert` out: with less nothing would be verified",
        ));
    }
    let client = match client {
        (Some(certificate_file), Some(key_file)) => Some(ClientFiles {
            certificate_file,
            key_file,
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(UrlError::new(
                "of `sslcert` and `sslkey` only one is given",
                "give both: the certificate and its key",
            ));
        }
    };
    if client.is_some() && mode == TlsMode::Disable {
        return Err(UrlError::new(
            "`sslcert` is given, and sslmode=disable",
            "a certificate is shown in TLS only: write sslmode=verify-full, or leave it out",
        ));
    }
    let roots_file = match roots {
        Some(Roots::File(path)) => Some(path),
        Some(Roots::System) | None => None,
    };
    Ok(Tls {
        mode,
        roots_file,
        client,
    })
}
