//! What a request asks for: one host and one path, or a refusal.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::header::{EXPECT, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Request, Uri, Version};

use crate::config::limits::Limits;
use crate::model::key;
use crate::model::refusal::{BadRequest, Refusal};
use crate::route::{path, without_dot};

/// The longest host that is served: a name has at most so many bytes when it is written (RFC 1035 §2.3.4), and
/// addresses are shorter. It is repeated in answers (see [`super::location`]).
const HOST_BYTES_MAX: usize = 253;

/// Where a request wants to go.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// The host as the client named it, without port and without a dot at its end.
    pub host: &'a str,
    /// The canonical path.
    pub path: Cow<'a, str>,
}

impl<'a> Target<'a> {
    /// Reads and checks the request line and what belongs to it, in the order in which a refusal is
    /// most useful to the caller.
    pub(super) fn read<B>(request: &'a Request<B>, limits: &Limits) -> Result<Self, Refusal> {
        let method = request.method();
        // A key may be written where a method belongs, and it is not the upstream's to see.
        if matches!(*method, Method::CONNECT | Method::TRACE)
            || key::is_in(method.as_str().as_bytes())
        {
            return Err(Refusal::MethodNotAllowed);
        }
        let line = request
            .uri()
            .path_and_query()
            .map_or("", PathAndQuery::as_str);
        if line.len() > limits.target_bytes_max {
            return Err(Refusal::TargetTooLong);
        }
        if head_bytes(request.headers()) > limits.head_bytes_max {
            return Err(Refusal::HeadTooLarge);
        }
        check_scheme(request.uri())?;
        check_framing(request)?;
        check_expectation(request.headers())?;
        let authority = authority(request)?;
        if key::is_in(authority.as_bytes()) {
            return Err(bad(BadRequest::Host));
        }
        let path = path::canonical(request.uri().path());
        let path = path.map_err(|fault| bad(BadRequest::Path(fault)))?;
        Ok(Self {
            host: without_dot(host_of(authority)),
            path,
        })
    }

    /// The canonical path, where it is not what came.
    pub(super) fn into_changed_path(self) -> Option<String> {
        match self.path {
            Cow::Borrowed(_) => None,
            Cow::Owned(path) => Some(path),
        }
    }
}

fn bad(what: BadRequest) -> Refusal {
    Refusal::BadRequest(what)
}

fn head_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

/// An absolute target names a scheme (RFC 9112 §3.2.2): only those that are served here.
fn check_scheme(uri: &Uri) -> Result<(), Refusal> {
    let served = |scheme: &str| {
        let schemes = ["http", "https"];
        schemes.iter().any(|it| it.eq_ignore_ascii_case(scheme))
    };
    if uri.scheme_str().is_none_or(served) {
        Ok(())
    } else {
        Err(bad(BadRequest::Target))
    }
}

/// Only `chunked`, only once, only in HTTP/1.1 (RFC 9112 §6.1). Anything else is where request
/// smuggling begins: the next reader may understand the list in another way.
fn check_framing<B>(request: &Request<B>) -> Result<(), Refusal> {
    let mut encodings = request.headers().get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(only), None)
            if only.as_bytes().eq_ignore_ascii_case(b"chunked")
                && request.version() == Version::HTTP_11 =>
        {
            Ok(())
        }
        _ => Err(bad(BadRequest::TransferEncoding)),
    }
}

fn check_expectation(headers: &HeaderMap) -> Result<(), Refusal> {
    let met = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(EXPECT).iter().all(met) {
        Ok(())
    } else {
        Err(Refusal::ExpectationFailed)
    }
}

/// The one authority that the request line and the `Host` header agree on (RFC 9112 §3.2).
fn authority<B>(request: &Request<B>) -> Result<&str, Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.to_str().map_err(|_not_ascii| bad(BadRequest::Host))?),
        _ => return Err(bad(BadRequest::Host)),
    };
    let target = request.uri().authority().map(Authority::as_str);
    let authority = match (target, named) {
        (Some(target), Some(named)) if !target.eq_ignore_ascii_case(named) => {
            return Err(bad(BadRequest::HostMismatch));
        }
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) => return Err(bad(BadRequest::Host)),
    };
    if is_authority(authority) {
        Ok(authority)
    } else {
        Err(bad(BadRequest::Host))
    }
}

/// `host` or `host:port`, without user information (RFC 9110 §4.2.4), lists or spaces.
pub(super) fn is_authority(text: &str) -> bool {
    let host = host_of(text);
    let port = text.get(host.len()..).unwrap_or_default();
    is_host(host)
        && (port.is_empty()
            || port.strip_prefix(':').is_some_and(|port| {
                port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
            }))
}

/// A name or an address, no longer than one can be. No part of a name is empty, but that a dot may end it.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').map(str::parse::<Ipv6Addr>);
        return address.is_some_and(|address| address.is_ok());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    let host = without_dot(host);
    let mut labels = host.split('.');
    host.len() <= HOST_BYTES_MAX
        && labels.all(|label| !label.is_empty() && label.bytes().all(allowed))
}

/// The authority without its port.
pub(super) fn host_of(authority: &str) -> &str {
    match authority.rfind(']') {
        Some(end) => authority.get(..=end).unwrap_or(authority),
        None => authority
            .split_once(':')
            .map_or(authority, |(host, _port)| host),
    }
}

/// Leaves in the URI what an upstream is asked for: the canonical path, and the query as it came.
pub(super) fn rewrite_uri(uri: &mut Uri, changed_path: Option<String>) {
    if changed_path.is_none() && uri.authority().is_none() {
        return;
    }
    let query = uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let path = changed_path.unwrap_or_else(|| uri.path().to_owned());
    // Both parts come from a URI that was parsed, so the whole is one too.
    *uri = PathAndQuery::try_from(path + &query)
        .map(Uri::from)
        .unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(request: http::request::Builder) -> Result<(String, String), Refusal> {
        let request = request.body(()).unwrap();
        Target::read(&request, &Limits::default()).map(|t| (t.host.to_owned(), t.path.into_owned()))
    }

    #[test]
    fn host_and_path_are_read_from_either_form() {
        let origin = Request::get("/api/%61").header(HOST, "genkan.test:80");
        assert_eq!(
            read(origin),
            Ok(("genkan.test".to_owned(), "/api/a".to_owned()))
        );
        let absolute = Request::get("http://[::1]:80/api").header(HOST, "[::1]:80");
        assert_eq!(read(absolute), Ok(("[::1]".to_owned(), "/api".to_owned())));
        for whole in ["genkan.test.", "genkan.test.:80", "genkan.test"] {
            let (host, _path) = read(Request::get("/").header(HOST, whole)).unwrap();
            assert_eq!(host, "genkan.test", "{whole}");
        }
    }

    #[test]
    fn a_host_that_is_absent_double_listed_or_dressed_up_is_refused() {
        let host = Err(bad(BadRequest::Host));
        assert_eq!(read(Request::get("/")), host);
        assert_eq!(
            read(Request::get("/").header(HOST, "a").header(HOST, "a")),
            host
        );
        for bad in [
            "a,b",
            "a b",
            "user@a",
            "",
            ":80",
            "a:",
            "a:b",
            "a:123456",
            "[",
            "[]",
            "[x]",
            "a..",
            ".",
            "..",
            ".a",
            "a..b",
            "[1.2.3.4]",
            "[::1].",
            "[:::]",
            "[::1",
        ] {
            let answer = read(Request::get("/").header(HOST, bad));
            assert!(
                answer == host || bad == "a:" && answer.is_ok(),
                "{bad}: {answer:?}"
            );
        }
        let other = Request::get("http://a/").header(HOST, "b");
        assert_eq!(read(other), Err(bad(BadRequest::HostMismatch)));
    }

    #[test]
    fn a_host_is_no_longer_than_a_name_can_be() {
        let host = |bytes: usize| {
            let name = "a.".repeat(bytes);
            name.get(..bytes).unwrap().to_owned()
        };
        for ending in ["", ".", ":65535", ".:65535"] {
            let longest = host(HOST_BYTES_MAX) + ending;
            assert!(is_authority(&longest), "{longest}");
            let longer = host(HOST_BYTES_MAX + 2) + ending;
            assert!(!is_authority(&longer), "{longer}");
        }
    }

    #[test]
    fn only_http_is_served() {
        let other = Request::get("ftp://a/").header(HOST, "a");
        assert_eq!(read(other), Err(bad(BadRequest::Target)));
        assert!(read(Request::get("HTTPS://a/").header(HOST, "a")).is_ok());
    }

    #[test]
    fn only_plain_chunked_is_a_transfer_encoding() {
        for bad in [
            "xchunked, chunked",
            "identity, chunked",
            "chunked, chunked",
            "gzip",
            "",
        ] {
            let request = Request::post("/")
                .header(HOST, "a")
                .header(TRANSFER_ENCODING, bad);
            assert_eq!(
                read(request),
                Err(super::bad(BadRequest::TransferEncoding)),
                "{bad}"
            );
        }
    }
}
