//! The values of a configuration: what each must look like, and what to write instead.

use std::net::SocketAddr;
use std::path::PathBuf;

use http::Uri;
use ipnet::IpNet;

use super::read::{Read, Reader, nearest};
use super::tree::{Node, Value};
use super::{Address, CredentialSource, LogFormat, LogRequests, Scheme, UpstreamHost};
use crate::model::scope::Scope;

/// A choice of a few words.
pub(super) trait Keyword: Copy + PartialEq + 'static {
    /// Each word with its meaning.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for a meaning.
    fn keyword(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, resolve)| *resolve == self)
            .map_or("", |(keyword, _)| keyword)
    }
}

macro_rules! keywords {
    ($($type:ty { $($keyword:literal => $resolve:expr,)+ })+) => {$(
        impl Keyword for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($keyword, $resolve)),+];
        }

        impl Read for $type {
            fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
                read_keyword(node, reader)
            }
        }
    )+};
}

keywords! {
    Scope {
        "api" => Self::Api,
        "mcp" => Self::Mcp,
        "manage" => Self::Manage,
    }
    CredentialSource {
        "x-api-key" => Self::ApiKeyHeader,
        "bearer" => Self::Bearer,
    }
    UpstreamHost {
        "preserve" => Self::Preserve,
        "upstream" => Self::Upstream,
    }
    LogFormat {
        "human" => Self::Human,
        "json" => Self::Json,
    }
    LogRequests {
        "none" => Self::None,
        "refused" => Self::Refused,
        "all" => Self::All,
    }
    tracing::Level {
        "error" => Self::ERROR,
        "warn" => Self::WARN,
        "info" => Self::INFO,
        "debug" => Self::DEBUG,
        "trace" => Self::TRACE,
    }
}

fn read_keyword<T: Keyword>(node: &Node, reader: &mut Reader) -> Option<T> {
    let written = reader.plain(node)?;
    if let Some((_, resolve)) = T::WORDS.iter().find(|(keyword, _)| *keyword == written) {
        return Some(*resolve);
    }
    let known = T::WORDS.iter().map(|(keyword, _)| *keyword);
    let help = match nearest(&written, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of: {}", known.collect::<Vec<_>>().join(", ")),
    };
    reader.wrong(&node.origin, "unknown word", help);
    None
}

impl Read for bool {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        reader.reveal(node);
        if let Value::Boolean(truth) = node.value {
            return Some(truth);
        }
        reader.expected(node, "true or false");
        None
    }
}

/// A whole number of at least `MIN` and at most `MAX`.
pub(super) struct Within<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<const MIN: u64, const MAX: u64> Read for Within<MIN, MAX> {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        number(node, reader, MIN, MAX).map(Self)
    }
}

/// A whole number of at least `min` and at most `max`.
pub(super) fn number(node: &Node, reader: &mut Reader, min: u64, max: u64) -> Option<u64> {
    reader.reveal(node);
    let Value::Integer(written) = node.value else {
        reader.expected(node, "a whole number");
        return None;
    };
    let number = u64::try_from(written).ok();
    let within = number.filter(|number| (min..=max).contains(number));
    if within.is_none() {
        let what = format!("must be at least {min} and at most {max}");
        reader.wrong(&node.origin, &what, None);
    }
    within
}

/// Reads a string with `parse`; what it refuses is reported as `what` with `help`.
pub(super) fn parsed<T>(
    node: &Node,
    reader: &mut Reader,
    (what, help): (&str, &str),
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    parsed_unless(node, reader, (what, help), |_text| false, parse)
}

/// The same; what is refused is not shown where it may hold a secret.
pub(super) fn parsed_unless<T>(
    node: &Node,
    reader: &mut Reader,
    (what, help): (&str, &str),
    may_hold_secret: impl FnOnce(&str) -> bool,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let text = reader.text(node)?;
    let value = parse(&text);
    if value.is_some() || !may_hold_secret(&text) {
        reader.reveal(node);
    } else {
        reader.sources.hide_with_comment(&node.origin);
    }
    if value.is_none() {
        reader.wrong(&node.origin, what, help.to_owned());
    }
    value
}

impl Read for SocketAddr {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let complaint = (
            "not an address with a port",
            "for example \"127.0.0.1:8080\", \"0.0.0.0:443\" or \"[::]:443\"",
        );
        parsed(node, reader, complaint, |text| text.parse().ok())
    }
}

impl Read for IpNet {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let complaint = (
            "not a network",
            "for example \"10.0.0.0/8\", or \"192.0.2.1/32\" for one address",
        );
        parsed(node, reader, complaint, |text| text.parse().ok())
    }
}

/// A path; a relative one begins at the folder of the configuration file. It is not shown yet.
pub(super) fn path(node: &Node, reader: &mut Reader) -> Option<PathBuf> {
    let text = reader.text(node)?;
    let (what, help) = if text.contains("://") {
        reader.sources.hide_with_comment(&node.origin);
        ("a URL where a path is wanted", "a URL has another key")
    } else if text.is_empty() || text.contains('\0') {
        ("the path is empty", "give a path")
    } else {
        return Some(reader.base.join(text));
    };
    reader.wrong(&node.origin, what, help.to_owned());
    None
}

impl Read for PathBuf {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let path = path(node, reader)?;
        reader.reveal(node);
        Some(path)
    }
}

/// A name for logs and metrics.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

impl Name {
    /// What [`Name::is_valid`] wants, for people.
    pub(super) const RULE: &'static str =
        "1 to 64 letters, digits, `-` or `_`: it stands in logs and metrics";

    /// Whether it can stand in logs, metrics and the names of variables.
    pub(super) fn is_valid(name: &str) -> bool {
        (1..=64).contains(&name.len())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    }
}

impl Read for Name {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        parsed(node, reader, ("not a name", Self::RULE), |text| {
            Self::is_valid(text).then(|| Self(text.to_owned()))
        })
    }
}

/// The address of an upstream, from a URL.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url(pub(super) Scheme, pub(super) Address);

impl Read for Url {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        // A URL with a user may hold a password: then it stays hidden.
        let text = reader.text(node)?;
        if text.contains('@') {
            let help = "upstreams get credentials by the `upstream_credential` of a route";
            reader.wrong(&node.origin, "the URL holds a user name", help.to_owned());
            return None;
        }
        let complaint = (
            "not the URL of an upstream",
            "`http://` or `https://`, a host and perhaps a port, and no path: \
             \"https://genesis.example.com\"",
        );
        parsed_unless(node, reader, complaint, url_may_hold_secret, parse_url)
    }
}

/// A user, a query or a fragment: where tokens stand in URLs.
fn url_may_hold_secret(text: &str) -> bool {
    text.contains(['@', '?', '#'])
}

fn parse_url(text: &str) -> Option<Url> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, port) = match uri.scheme_str()? {
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        _ => return None,
    };
    let authority = uri.authority()?;
    let host = authority.host().trim_matches(['[', ']']);
    let port = match authority.as_str().strip_prefix(authority.host())? {
        "" => port,
        written => written.strip_prefix(':')?.parse().ok()?,
    };
    let bare = uri.path() == "/" && uri.query().is_none() && !text.contains('#');
    let host = host.to_ascii_lowercase();
    (bare && !host.is_empty() && port != 0).then_some(Url(scheme, Address { host, port }))
}

/// The host of a route, in lower case.
pub(super) struct HostName(pub(super) String);

impl Read for HostName {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let complaint = (
            "not a host name",
            "a name or an address without scheme, port or path: \"api.example.com\"",
        );
        parsed(node, reader, complaint, |text| {
            let bracketed = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
            if let Some(address) = bracketed {
                let address: std::net::Ipv6Addr = address.parse().ok()?;
                return Some(Self(format!("[{address}]")));
            }
            // A dot at the end says that the name is whole (RFC 1034 §3.1): it is here.
            let name = text.strip_suffix('.').unwrap_or(text);
            let is_label = |label: &str| {
                !label.is_empty()
                    && label
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            };
            name.split('.')
                .all(is_label)
                .then(|| Self(name.to_ascii_lowercase()))
        })
    }
}

/// A path as requests have it after they were brought into their one canonical form.
pub(super) struct UrlPath(pub(super) String);

impl Read for UrlPath {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let complaint = (
            "not a plain path",
            "it begins with `/` and has no `.` or `..` segments, no `//`, and none of \
             % \\ ? # or blanks: \"/api/\"",
        );
        parsed(node, reader, complaint, |text| {
            let plain = text.starts_with('/')
                && !text.contains("//")
                && text
                    .chars()
                    .all(|c| c.is_ascii_graphic() && !"%\\?#".contains(c))
                && !text.split('/').any(|segment| matches!(segment, "." | ".."));
            plain.then(|| Self(text.to_owned()))
        })
    }
}

/// A browser origin (RFC 6454 §6.2), or `*`.
pub(super) struct CorsOrigin(pub(super) String);

impl Read for CorsOrigin {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let complaint = (
            "not an origin",
            "scheme and host as a browser sends them: \"https://app.example.com\", or \"*\" for all",
        );
        parsed_unless(node, reader, complaint, url_may_hold_secret, |text| {
            let is_origin = parse_url(text).is_some() && !text.ends_with('/');
            let origin = text.to_ascii_lowercase();
            // Browsers leave a port out that goes without saying.
            let silent = match origin.split_once("://") {
                Some(("https", _)) => ":443",
                _http => ":80",
            };
            let short = origin.strip_suffix(silent).unwrap_or(&origin).to_owned();
            (text == "*" || is_origin).then_some(Self(short))
        })
    }
}

/// An OpenID Connect issuer (OpenID Connect Discovery 1.0 §3): over TLS, or on this machine.
pub(super) struct Issuer(pub(super) String);

impl Read for Issuer {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let complaint = (
            "not an issuer",
            "`https://`, a host and perhaps a path, as the provider writes it: \
             \"https://login.example.com\"",
        );
        parsed_unless(node, reader, complaint, url_may_hold_secret, |text| {
            let uri: Uri = text.parse().ok()?;
            let is_here = matches!(uri.host()?, "127.0.0.1" | "[::1]" | "localhost");
            let safe = match uri.scheme_str()? {
                "https" => true,
                "http" => is_here,
                _other => false,
            };
            let plain = uri.query().is_none() && !text.contains(['#', '@']);
            (safe && plain).then(|| Self(text.trim_end_matches('/').to_owned()))
        })
    }
}

/// What an identity provider calls this console: visible ASCII (RFC 6749 §A.1).
pub(super) struct ClientId(pub(super) String);

impl Read for ClientId {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let complaint = ("not a client id", "visible ASCII, as the provider gives it");
        parsed(node, reader, complaint, |text| {
            let visible =
                !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            visible.then(|| Self(text.to_owned()))
        })
    }
}

/// Where something is reached from outside: scheme and host, and nothing behind them.
pub(super) struct PublicUrl(pub(super) String);

impl Read for PublicUrl {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let complaint = (
            "not a public address",
            "scheme and host, and no path: \"https://genkan.example.com\"",
        );
        parsed_unless(node, reader, complaint, url_may_hold_secret, |text| {
            let is_origin = parse_url(text).is_some() && !text.ends_with('/');
            is_origin.then(|| Self(text.to_ascii_lowercase()))
        })
    }
}
