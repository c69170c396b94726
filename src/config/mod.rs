//! What the configuration means: checked, complete, in types that the floors above can use without
//! asking again.
//!
//! The way there: a text becomes a tree whose values know their place (`tree`), the environment
//! writes over it (`environment`), the list of keys is read from it (`file`, by `read` and `values`),
//! and what they mean together is checked (`resolve`). Nothing stops at a mistake: all of them are in
//! one [`ConfigErrors`].

pub mod limits;
pub mod postgres;

mod environment;
mod error;
mod example;
mod file;
mod header_values;
mod keys;
mod read;
mod resolve;
mod route;
mod secret;
mod show;
mod source;
mod tree;
mod values;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ipnet::IpNet;
use toml::de::DeTable;
use zeroize::Zeroizing;

pub use environment::{environment, locale};
pub use error::{ConfigErrors, RenderStyle};
pub use example::example;
use limits::Limits;
use read::{Read, Reader};
pub use route::{CredentialSource, Route, UpstreamCredential};
use source::{Origin, Sources};
use tree::{Builder, Node, Value};

/// Reads the configuration file at `path`, and writes over it what `environment` says (see
/// [`environment()`]).
///
/// # Errors
/// All that is wrong with it, or that it cannot be read.
pub fn load(
    path: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigErrors> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigErrors::unreadable(
            &name,
            format!("cannot read {name}: {error}"),
            format!("`genkan config example > {name}` writes one to begin with"),
        )
    })?;
    let base = path.parent().unwrap_or(Path::new(""));
    parse(&name, &text, base, environment)
}

/// Reads a configuration from its text. `name` is what errors call it; relative paths begin at
/// `base`.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(
    name: &str,
    text: &str,
    base: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigErrors> {
    let mut reader = Reader {
        sources: Sources::default(),
        problems: Vec::new(),
        base: base.to_owned(),
        foreign: Vec::new(),
    };
    let environment: Vec<_> = environment.into_iter().collect();
    reader.foreign = environment::foreign(&environment);
    let config = read_document(name, text, environment, &mut reader);
    match config {
        Some(config) if reader.problems.is_empty() => Ok(config),
        _ => Err(ConfigErrors::new(name, &reader.sources, reader.problems)),
    }
}

/// The configuration, perhaps with mistakes reported. `None`: certainly with.
fn read_document(
    name: &str,
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
    reader: &mut Reader,
) -> Option<Config> {
    let source = reader.sources.add(name, text.to_owned());
    let root = |span| Origin {
        source,
        span,
        path: Rc::from(""),
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        reader
            .sources
            .hide_unparsed(source, file::RawConfig::FIELDS);
        for error in errors {
            // The parser's own text would show the line as it is.
            let origin = root(error.span().unwrap_or(0..0));
            reader.wrong(&origin, &format!("not TOML: {}", error.message()), None);
        }
        return None;
    }
    let mut builder = Builder {
        sources: &mut reader.sources,
        source,
        offset: 0,
    };
    let mut table = builder.table(document.get_ref(), &Rc::from(""));
    environment::apply(&mut table, environment, reader);
    let document = Node {
        value: Value::Table(table),
        origin: root(0..0),
    };
    let written = file::RawConfig::read(&document, reader)?;
    resolve::config(written, reader)
}

/// The listener for operators and people: health, readiness, metrics, the management API, the console.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where people reach it. `None`: at the address.
    pub url: Option<String>,
    /// Where clients reach the gateway. `None`: at the first listener's address.
    pub gateway_url: Option<String>,
    /// Other names by which it is reached, in lower case, without port.
    pub hosts: Vec<String>,
}

/// An OpenID Connect provider, and what this console is to it.
#[derive(Debug, Clone)]
pub struct Oidc {
    /// Its issuer, without a slash at the end.
    pub issuer: String,
    /// What it calls this console.
    pub client_id: String,
    /// By which this console shows that it is.
    pub client_secret: ClientSecret,
    /// Whether an address is taken for verified where the provider does not say.
    pub assume_email_verified: bool,
}

/// A client's secret: shown nowhere, wiped when dropped.
#[derive(Clone)]
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    /// The secret itself, for the provider.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// A whole gateway.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Where operators and people connect.
    pub admin: Admin,
    /// The services behind; [`Route::upstream`] is an index into it.
    pub upstreams: Vec<Upstream>,
    /// What goes where; at least one.
    pub routes: Vec<Route>,
    /// Peers whose `Forwarded`, `X-Forwarded-*` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The bounds.
    pub limits: Limits,
    /// The database.
    pub store: Store,
    /// The identity provider. `None`: people sign in by links.
    pub oidc: Option<Oidc>,
    /// What is logged.
    pub log: Log,
    /// Threads of the data plane, each with its own runtime and upstream connections; at least 1.
    pub workers: usize,
}

/// One socket for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs and metrics.
    pub name: String,
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// TLS, by rustls, with ALPN `h2` and `http/1.1`. `None`: plain HTTP/1.1, and HTTP/2 by prior
    /// knowledge.
    pub tls: Option<ListenerTls>,
}

/// The certificate of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// PEM: the certificate, then its chain.
    pub certificate_file: PathBuf,
    /// PEM: the private key.
    pub key_file: PathBuf,
}

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP/1.1.
    Http,
    /// TLS; HTTP/2 where ALPN agrees on it, else HTTP/1.1.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in routes, logs and metrics.
    pub name: String,
    /// Plain or TLS: one for all addresses.
    pub scheme: Scheme,
    /// Where it is; at least one. Requests go round.
    pub addresses: Vec<Address>,
    /// PEM roots that alone are trusted. `None`: the system's.
    pub tls_roots_file: Option<PathBuf>,
    /// What the upstream sees as `Host`.
    pub host: UpstreamHost,
    /// From the first SYN to the end of the TLS handshake, in ms; 504 or 502 then.
    pub connect_timeout_ms: u64,
    /// From the request being sent to the head of the answer, in ms; 504 then. 0: no limit (long
    /// polls, and MCP tools that answer late).
    pub first_byte_timeout_ms: u64,
    /// An idle connection is closed after this, in ms. Keep it below the upstream's own.
    pub idle_timeout_ms: u64,
    /// Whether HTTP/2 is offered to it by ALPN.
    pub http2: bool,
}

/// The `Host` header towards an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamHost {
    /// As the client sent it.
    Preserve,
    /// The upstream's own address: what a public service behind TLS expects.
    Upstream,
}

/// Host and port of one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The database.
#[derive(Clone)]
pub enum Store {
    /// One file, for gateways and commands of one host.
    Sqlite {
        /// The file; created when absent.
        path: PathBuf,
    },
    /// A PostgreSQL, for any number of hosts.
    Postgres {
        /// `postgres://user:password@host:port/database`, which [`postgres::Server`] reads.
        url: Zeroizing<String>,
        /// Connections at most, for this process.
        connections_max: u32,
    },
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path } => write!(f, "Sqlite({})", path.display()),
            Self::Postgres {
                connections_max, ..
            } => {
                write!(f, "Postgres(…, connections_max: {connections_max})")
            }
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Which requests are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogRequests {
    /// None.
    None,
    /// Those that were refused or failed.
    Refused,
    /// All.
    All,
}

/// What is logged, always to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// The least severe level of genkan's own lines. Libraries are held at `warn`: below it, HTTP/2
    /// prints header values.
    pub level: tracing::Level,
    /// Which requests are logged.
    pub requests: LogRequests,
}
