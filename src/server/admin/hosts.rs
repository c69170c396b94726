//! By which names the admin listener may be called.
//!
//! A page of another site can make its own name lead to this machine (DNS rebinding), and then reads as its own
//! whatever answers under that name. So a name counts only where it is known beforehand. Addresses always do: to
//! rebind takes a name, and probes and scrapers use addresses.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::Admin;

/// What a name that is not known is told.
const REFUSED: &str = "421: this listener is not known by the name that the request gives as its host.\n\
    Reach it by its address or as localhost, or name it in the configuration: in `url` under [admin] where \
    people reach it, or in `hosts` there.\n";
const NO_HOST: &str =
    "400: a request names its host once, as a name or an address and perhaps a port.\n";

/// The names, in lower case, without port.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<[String]>);

impl Hosts {
    /// As the configuration has them.
    pub(super) fn new(admin: &Admin) -> Self {
        let url = admin.url.as_deref().and_then(|url| {
            let url: Uri = url.parse().ok()?;
            Some(name_of(url.authority()?.as_str())?.to_ascii_lowercase())
        });
        let hosts = admin.hosts.iter();
        let hosts = hosts.map(|host| host.trim_end_matches('.').to_owned());
        Self(hosts.chain(url).collect())
    }

    /// Whether `authority`, a host and perhaps a port, is one of ours.
    fn hold(&self, authority: &str) -> bool {
        let Some(name) = name_of(authority) else {
            return false;
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        is_address(name) || is_loopback(name) || self.0.iter().any(|known| is(known))
    }
}

/// The host of `host:port`, an address of IPv6 in brackets, without the dot at its end. None: it is no host.
/// The port is not looked at further: who can choose it can choose no name by it.
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

/// `localhost` and names below it lead to this machine whatever a name server says (RFC 6761 §6.3).
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

/// In front of everything: a request under another name is refused before anything is done for it.
pub(super) async fn only_known(
    State(hosts): State<Hosts>,
    request: Request,
    next: Next,
) -> Response {
    let mut lines = request.headers().get_all(HOST).iter();
    let (header, second) = (lines.next(), lines.next());
    let header = header.map(HeaderValue::to_str);
    let target = request.uri().authority().map(Authority::as_str);
    // Browsers name the host always; a probe in HTTP/1.0 need not (RFC 9112 §3.2).
    let may_be_absent = request.version() < Version::HTTP_11;
    let header = match (header, second) {
        (None, None) if may_be_absent => Some(None),
        (Some(Ok(header)), None) => Some(Some(header)),
        (_, Some(_)) | (None | Some(Err(_)), None) => None,
    };
    let refused = match header {
        None => Some((StatusCode::BAD_REQUEST, NO_HOST)),
        Some(header) => {
            let mut all = [header, target].into_iter().flatten();
            let all_known = all.all(|name| hosts.hold(name));
            (!all_known).then_some((StatusCode::MISDIRECTED_REQUEST, REFUSED))
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
            assert!(hosts.hold(known), "{known}");
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
            assert!(!hosts.hold(other), "{other}");
        }
    }
}
