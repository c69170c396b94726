//! What may be written in a configuration file: every key, its type, its default and the reason.
//!
//! This is the only list of keys. The reader refuses what is not in it, takes defaults from it, and
//! `genkan config example` prints it. What the values mean together is in [`resolve`](super::resolve).

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::header_values::{KeptHeader, PageHeader, UpstreamHeader};
use super::limits::Limits;
use super::read::{Field, Given, Named, NonEmpty, Presence, Read, Reader, Section, Spanned};
use super::secret::{Secret, SecretFile};
use super::source::Origin;
use super::tree::Node;
use super::values::{
    ClientId, CorsOrigin, HostName, Issuer, Name, PublicUrl, Url, UrlPath, Within,
};
use super::{CredentialSource, LogFormat, LogRequests, UpstreamHost};
use crate::model::scope::Scope;

/// Declares a table of the file. Each key: why it exists, whether it must be there, its type, and
/// its default (or, where there is none, an example) in TOML; for a table within, its header.
///
/// A field is none where it is absent or was refused: its mistakes have been reported by then. Whether
/// a value is a secret, its type says; which keys exclude each other, their presence.
macro_rules! section {
    ($(#[doc = $about:literal])+ $name:ident {
        $($(#[doc = $reason:literal])+ $presence:ident $key:ident: $type:ty = $value:literal,)+
    }) => {
        $(#[doc = $about])+
        pub(super) struct $name {
            $(pub(super) $key: Option<Spanned<$type>>,)+
        }

        impl Read for $name {
            const FIELDS: &'static [Field] = &[$(Field::of::<$type>(
                stringify!($key),
                Presence::$presence,
                $value,
                concat!($($reason, "\n"),+),
            ),)+];

            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                let table = reader.table(node, Self::FIELDS)?;
                let mut fields = Self::FIELDS.iter();
                Some(Self {
                    $($key: reader.field(node, table, fields.next()?),)+
                })
            }
        }

        impl Section for $name {
            fn given(&self) -> Vec<(&'static Field, Option<&Origin>)> {
                let places = [$(self.$key.as_ref().map(|at| &at.origin)),+];
                Self::FIELDS.iter().zip(places).collect()
            }
        }
    };
}

section! {
    /// A whole configuration.
    RawConfig {
        /// Threads of the data plane, each with connections of its own; 1 to 256. By default as many
        /// as there are cores.
        Optional workers: Within<1, 256> = "4",
        /// Peers whose Forwarded, X-Forwarded-* and X-Request-Id headers are believed, on every listener: the
        /// load balancer, if there is one. From everybody else these headers are removed. The right-most
        /// address in X-Forwarded-For (in Forwarded, only where that is absent) that is not trusted itself
        /// is the client's. A balancer that writes Forwarded must remove X-Forwarded-For; what it does not
        /// write, it passes on as the client wrote it. So the last entry of X-Forwarded-Proto counts,
        /// Forwarded is passed on only where X-Forwarded-For is absent, and X-Forwarded-Host is Host.
        Default trusted_proxies: Vec<IpNet> = "[]",
        /// Where operators and people connect: /healthz, /readyz, /metrics, the management API, the console.
        Default admin: Admin = "[admin]",
        /// Where clients connect. One table for each socket.
        Required listeners: NonEmpty<Listener> = "[[listeners]]",
        /// The services behind, by names of your choice.
        Required upstreams: Named<Upstream> = "[upstreams.genesis]",
        /// What goes where, and who may. The longest prefix of the more specific host wins.
        Required routes: NonEmpty<Route> = "[[routes]]",
        /// The database: exactly one of sqlite, postgres and postgres_file.
        Required store: Store = "[store]",
        /// An identity provider by which people sign in to the console, beside one-time links.
        Optional oidc: Oidc = "[oidc]",
        /// What is logged, always to standard error.
        Default log: Log = "[log]",
        /// The bounds. What reaches one is answered or counted, never waited out in silence.
        Default limits: Limits = "[limits]",
    }
}

section! {
    /// `[admin]`
    Admin {
        /// Address and port; port 0 lets the system choose.
        Default address: SocketAddr = r#""127.0.0.1:8081""#,
        /// Where people reach it, through the proxy that ends TLS for it: in links of invitations. Without
        /// it: http and the address. Browsers keep the console's cookie over https, and on this machine.
        Optional url: PublicUrl = r#""https://genkan.example.com""#,
        /// Where clients reach the gateway: in what the console shows to copy, and, where it is https, in
        /// redirects of clients that name its host by http. Without it: the address of the first listener.
        Optional gateway_url: PublicUrl = r#""https://gateway.example.com""#,
        /// Names other than that of the url by which it is reached, such as a scraper's. Requests under a
        /// name that is not known are refused (DNS rebinding); addresses and localhost are always known.
        Default hosts: Vec<HostName> = "[]",
    }
}

section! {
    /// `[[listeners]]`
    Listener {
        /// Its name in logs and metrics.
        Required name: Name = r#""main""#,
        /// Address and port; port 0 lets the system choose.
        Required address: SocketAddr = r#""127.0.0.1:8080""#,
        /// TLS with HTTP/2 and HTTP/1.1; without it, plain HTTP.
        Optional tls: ListenerTls = "[listeners.tls]",
    }
}

section! {
    /// `[listeners.tls]`
    ListenerTls {
        /// PEM: the certificate, then its chain. Relative paths begin at this file's folder.
        Required certificate_file: PathBuf = r#""tls/certificate.pem""#,
        /// PEM: the private key.
        Required key_file: PathBuf = r#""tls/key.pem""#,
    }
}

section! {
    /// `[upstreams.NAME]`
    Upstream {
        /// Where it is: http or https, the same for all. Requests go round.
        Required urls: NonEmpty<Spanned<Url>> = r#"["https://genesis.example.com"]"#,
        /// PEM roots that alone are trusted, for a private authority. Without it: the system's.
        Optional tls_roots_file: PathBuf = r#""tls/roots.pem""#,
        /// What the upstream sees as Host: "preserve" (as the client sent it) or "upstream" (its own
        /// address, as a public service behind TLS expects).
        Default host: UpstreamHost = r#""preserve""#,
        /// From the first packet to the end of the TLS handshake: then 502 or 504. A healthy
        /// upstream takes milliseconds; one lost packet costs a second.
        Default connect_timeout_ms: Within<1, 600_000> = "5_000",
        /// From the request being sent to the head of the answer: then 504. 0: no limit, for long
        /// polls and MCP tools that answer late.
        Default first_byte_timeout_ms: Within<0, 86_400_000> = "60_000",
        /// An idle connection is closed after this. Keep it below the upstream's own, so that no
        /// request meets a connection that is being closed: Node.js and uvicorn close after 5 s.
        Default idle_timeout_ms: Within<1, 3_600_000> = "4_000",
        /// Whether HTTP/2 is spoken to an https upstream that offers it. For the time being one connection of
        /// each worker carries all requests then: one that the upstream ends (GOAWAY) may cost the requests
        /// that are on their way, and its limit of streams is a limit for all.
        Default http2: bool = "false",
    }
}

section! {
    /// `[[routes]]`
    Route {
        /// Its name in logs and metrics.
        Required name: Name = r#""api""#,
        /// The host it is for, without port. Without it: any.
        Optional host: HostName = r#""api.example.com""#,
        /// The paths it is for: "/api/" holds for /api/x and not for /apix. The path is kept.
        Required path_prefix: UrlPath = r#""/api/""#,
        /// The name of an upstream.
        Required upstream: Name = r#""genesis""#,
        /// Where a key is accepted: "x-api-key" (the header), "bearer" (Authorization). It never
        /// reaches the upstream.
        Default credentials: NonEmpty<CredentialSource> = r#"["x-api-key", "bearer"]"#,
        /// What a key must be allowed to: "api", "mcp" or "manage".
        Required scope: Scope = r#""api""#,
        /// Whether the Model Context Protocol is spoken here. A page may use it whose origin is that of the
        /// route's host, of `gateway_url`, of a listener's own address, or one of `cors_origins`.
        Default mcp: bool = "false",
        /// Paths that need no key: exact, or with all below where they end in a slash. There the caller's
        /// own x-api-key and Authorization reach the upstream, unless they hold a key of genkan's.
        Default public_paths: Vec<Spanned<UrlPath>> = "[]",
        /// Browser origins that are served; "*" for all. genkan answers their preflight requests itself.
        Default cors_origins: Vec<CorsOrigin> = "[]",
        /// More headers that pages of those origins may send. These always may be: x-api-key,
        /// authorization, content-type, accept, last-event-id, and names that begin with mcp-.
        Default cors_headers: Vec<PageHeader> = "[]",
        /// Headers that pass though they name another target, host or method than the request line:
        /// x-original-url, x-http-method-override, destination (WebDAV) and their like are removed otherwise.
        /// x-forwarded-host (the last entry) only where each trusted proxy writes it itself.
        Default keep_headers: Vec<KeptHeader> = "[]",
        /// A credential of the platform's own that the upstream gets instead of the caller's.
        Optional upstream_credential: UpstreamCredential = "[routes.upstream_credential]",
    }
}

section! {
    /// `[routes.upstream_credential]`
    UpstreamCredential {
        /// The header that carries it.
        Required header: UpstreamHeader = r#""x-api-key""#,
        /// Its whole value, from a file: one line. For a bearer, the line begins with "Bearer ".
        Either value_file: Given<SecretFile> = r#""secrets/upstream-key""#,
        /// Instead: the value itself. Anyone who reads this file has the key.
        Instead value: Given<Secret> = r#""the-key""#,
        /// It is sent for callers with a key; and on these paths, of the route's public ones, for everybody.
        Default public_paths: Vec<Spanned<UrlPath>> = "[]",
    }
}

section! {
    /// `[oidc]`
    Oidc {
        /// OpenID Connect: where `.well-known/openid-configuration` is below.
        Required issuer: Issuer = r#""https://login.example.com""#,
        /// What the provider calls this console. Register `URL/sign-in/callback` there, where URL is that of
        /// `[admin]`.
        Required client_id: ClientId = r#""genkan""#,
        /// The client's secret, from a file: one line.
        Either client_secret_file: Given<SecretFile> = r#""secrets/oidc-client-secret""#,
        /// Instead: the secret itself. Anyone who reads this file has it.
        Instead client_secret: Given<Secret> = r#""the-secret""#,
        /// Whether an address is taken for verified where the provider sends no claim `email_verified`, as
        /// Microsoft Entra ID does for work accounts. Only for an issuer of one tenant, whose administrators
        /// alone give out addresses; upstreams are told that it is verified. An `email_verified` that is
        /// false is refused all the same.
        Default assume_email_verified: bool = "false",
    }
}

section! {
    /// `[store]`
    Store {
        /// A file, created when absent: for the gateways and commands of one host.
        Either sqlite: Given<PathBuf> = r#""data/genkan.db""#,
        /// Instead: a PostgreSQL, for any number of hosts. Its URL from a file: one line.
        Instead postgres_file: Given<SecretFile> = r#""secrets/postgres-url""#,
        /// Instead: the URL itself, as libpq reads it; no option of it is ignored, and no PG… variable read.
        /// Use ?sslmode=verify-full over a network. Anyone who reads this file has the password.
        Instead postgres: Given<Secret> = r#""postgres://genkan:password@127.0.0.1:5432/genkan""#,
        /// Connections to PostgreSQL at most, for this process. One listens, one keeps the lease, one is
        /// for `/readyz`; of the others a quarter writes, a third reads for management, and the rest
        /// looks keys up: none waits for another. The server's own limit, often 100, is shared by all.
        Default connections_max: Within<6, 1_000> = "12",
    }
}

section! {
    /// `[log]`
    Log {
        /// "human", or "json": one object a line.
        Default format: LogFormat = r#""human""#,
        /// The least severe level of genkan's own lines: "error", "warn", "info", "debug", "trace".
        Default level: tracing::Level = r#""info""#,
        /// Which requests are logged: "none", "refused" (or failed), "all".
        Default requests: LogRequests = r#""refused""#,
    }
}
