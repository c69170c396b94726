//! Checks the host name of each request to the admin listener.
//!
//! Another site can make its own name resolve to this machine (DNS rebinding); its pages may then read every
//! response under that name, as of the same origin. So only configured names are accepted. IP addresses are always
//! accepted: DNS rebinding needs a name, and probes and scrapers use addresses.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::Admin;

/// The body of the answer to a request for an unknown name.
const UNKNOWN_HOST: &str = "421: this listener is not known by the name that the request gives as its host.\n\
    Reach it by its address or as localhost, or name it in the configuration: in `url` under [admin] where \
    people reach it, or in `hosts` there.\n";
const INVALID_HOST: &str =
    "400: a request names its host once, as a name or an address and perhaps a port.\n";

/// The configured names, in lower case and without ports.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<[String]>);

impl Hosts {
    /// Reads the names from `hosts` and `url` of the configuration.
    pub(super) fn new(admin: &Admin) -> Self {
        let url = admin.url.as_deref().and_then(|url| {
            let url: Uri = url.parse().ok()?;
            Some(name_of(url.authority()?.as_str())?.to_ascii_lowercase())
        });
        let hosts = admin.hosts.iter();
        let hosts = hosts.map(|host| host.trim_end_matches('.').to_owned());
        Self(hosts.chain(url).collect())
    }

    /// Whether `authority`, a host with an optional port, is accepted: an address, a loopback name or a configured
    /// name.
    fn accepts(&self, authority: &str) -> bool {
        let Some(name) = name_of(authority) else {
            return false;
        };
        let equals = |known: &str| name.eq_ignore_ascii_case(known);
        is_address(name) || is_loopback(name) || self.0.iter().any(|known| equals(known))
    }
}

/// The host of `host:port`, without a dot at its end; an IPv6 address keeps its brackets. Returns None if it is not
/// a host. Any port is accepted: a different port does not change the name.
fn name_of(authority: &str) -> Option<&str> {
    let (name, port) = if authority.starts_with('[') {
        let end = authority.find(']')?;
        let (name, rest) = authority.split_at_checked(end + 1)?;
        if rest.is_empty() {
            (name, "")
        } else {
            (name, rest.strip_prefix(':')?)
        }
    } else {
        authority.split_once(':').unwrap_or((authority, ""))
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    (is_port && !name.is_empty()).then_some(name)
}

fn is_address(name: &str) -> bool {
    let inside = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match inside {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    }
}

/// `localhost` and its subdomains always resolve to this machine, whatever a name server answers (RFC 6761 §6.3).
fn is_loopback(name: &str) -> bool {
    const LOCALHOST: &str = "localhost";
    let Some(at) = name.len().checked_sub(LOCALHOST.len()) else {
        return false;
    };
    let Some((before, end)) = name.split_at_checked(at) else {
        return false;
    };
    end.eq_ignore_ascii_case(LOCALHOST) && (before.is_empty() || before.ends_with('.'))
}

/// Middleware in front of every route: refuses a request for another name before any other work.
pub(super) async fn require_known(
    State(hosts): State<Hosts>,
    request: Request,
    next: Next,
) -> Response {
    let mut lines = request.headers().get_all(HOST).iter();
    let (header, second) = (lines.next(), lines.next());
    let header = header.map(HeaderValue::to_str);
    let target = request.uri().authority().map(Authority::as_str);
    // Browsers always send `Host`; an HTTP/1.0 probe may omit it (RFC 9112 §3.2).
    let may_be_absent = request.version() < Version::HTTP_11;
    let header = match (header, second) {
        (None, None) if may_be_absent => Some(None),
        (Some(Ok(header)), None) => Some(Some(header)),
        (_, Some(_)) | (None | Some(Err(_)), None) => None,
    };
    let refused = match header {
        None => Some((StatusCode::BAD_REQUEST, INVALID_HOST)),
        Some(header) => {
            let mut all = [header, target].into_iter().flatten();
            let all_known = all.all(|name| hosts.accepts(name));
            (!all_known).then_some((StatusCode::MISDIRECTED_REQUEST, UNKNOWN_HOST))
        }
    };
    match refused {
        None => next.run(request).await,
        Some((status, text)) => {
            (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_loopback_names_and_what_is_configured_are_known() {
        let hosts = Hosts::new(&Admin {
            address: "127.0.0.1:0".parse().unwrap(),
            url: Some("https://keys.example.com:8443".to_owned()),
            gateway_url: None,
            hosts: vec!["genkan".to_owned()],
        });
        for known in [
            "127.0.0.1",
            "127.0.0.1:8081",
            "192.0.2.7:80",
            "127.0.0.1.",
            "[::1]",
            "[2001:db8::1]:8081",
            "localhost",
            "LOCALHOST.:8081",
            "genkan.localhost:1",
            "keys.example.com",
            "Keys.Example.com.:443",
            "keys.example.com:8443",
            "genkan:8081",
        ] {
            assert!(hosts.accepts(known), "{known}");
        }
        for other in [
            "",
            ".",
            ":80",
            "evil.example",
            "keys.example.com.evil.example",
            "evil-keys.example.com",
            "notlocalhost",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1.nip.io:8081",
            "127.1",
            "0x7f000001",
            "2130706433",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[evil.example]",
            "127.0.0.1:80@evil.example",
            "evil.example@127.0.0.1",
            "localhost:80:80",
            "keys.example.com..",
            "花.localhos\u{300}t",
        ] {
            assert!(!hosts.accepts(other), "{other}");
        }
    }
}
