//! How a client addressed its request: read once, before the first attempt to send it, and kept beside it.
//!
//! **Invariant.** Every attempt is addressed from here. What an attempt left in the request is its own:
//! HTTP/2 moves the host from its header into the target, and a request that comes back unsent comes
//! back so.

use http::header::{CONNECTION, HOST, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, Uri, Version};

use super::location::ClientAddress;
use crate::model::refusal::{BadRequest, Refusal};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TE_OPTION: HeaderValue = HeaderValue::from_static("te");

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Addressing {
    /// Host and port as the client named them.
    host: Option<HeaderValue>,
    /// The canonical path, and the query as it came.
    target: PathAndQuery,
    takes_trailers: bool,
    /// Whether the client spoke TLS: with us, or with the proxy before us that is trusted.
    is_tls: bool,
    /// The host that the client named to that proxy, where it is another and the route keeps it.
    forwarded_host: Option<HeaderValue>,
}

impl Addressing {
    /// Of a request whose headers and target are what an upstream may see: `X-Forwarded-Proto` and `-Host` are
    /// ours, or checked.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let target = request.uri().path_and_query().cloned();
        let host = headers.get(HOST);
        let is_secure = |scheme: &HeaderValue| {
            let secure: [&[u8]; 2] = [b"https", b"wss"];
            secure
                .iter()
                .any(|it| it.eq_ignore_ascii_case(scheme.as_bytes()))
        };
        Self {
            host: host.cloned(),
            target: target.unwrap_or_else(|| PathAndQuery::from_static("/")),
            takes_trailers: headers.contains_key(TE),
            is_tls: headers.get(FORWARDED_PROTO).is_some_and(is_secure),
            forwarded_host: headers
                .get(FORWARDED_HOST)
                .filter(|it| Some(*it) != host)
                .cloned(),
        }
    }

    /// Host and port as the client named them.
    pub(super) fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    /// Where the client believes that it is.
    pub(super) fn client_address(&self) -> Option<ClientAddress<'_>> {
        let host = self.forwarded_host.as_ref().or(self.host.as_ref())?;
        let scheme = if self.is_tls { "https" } else { "http" };
        Some(ClientAddress {
            scheme,
            authority: host.to_str().ok()?,
        })
    }

    /// Addresses a request for an HTTP/1.1 connection: a path, and the host in a header. Whatever the client
    /// spoke: of an HTTP/2 request hyper would not chunk the body.
    pub(super) fn write_http1<B>(&self, request: &mut Request<B>, host: &HeaderValue) {
        *request.version_mut() = Version::HTTP_11;
        // The first attempt finds both as they should be, and to look costs less than to write.
        let uri = request.uri();
        if uri.authority().is_some() || uri.path_and_query() != Some(&self.target) {
            *request.uri_mut() = Uri::from(self.target.clone());
        }
        let headers = request.headers_mut();
        if headers.get(HOST) != Some(host) {
            headers.insert(HOST, host.clone());
        }
        if self.takes_trailers && !headers.contains_key(CONNECTION) {
            headers.insert(CONNECTION, TE_OPTION);
        }
    }

    /// Addresses a request for an HTTP/2 connection: the host is in the target (RFC 9113 §8.3.1).
    ///
    /// # Errors
    /// [`BadRequest::Host`]: a host that cannot stand there.
    pub(super) fn write_http2<B>(
        &self,
        request: &mut Request<B>,
        host: &HeaderValue,
        scheme: Scheme,
    ) -> Result<(), Refusal> {
        let refusal = Refusal::BadRequest(BadRequest::Host);
        let authority = Authority::try_from(host.as_bytes()).map_err(|_invalid| refusal)?;
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(authority);
        parts.path_and_query = Some(self.target.clone());
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_invalid| refusal)?;
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.remove(HOST);
        headers.remove(CONNECTION);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lines: &[(&str, &str)]) -> Request<()> {
        let builder = Request::get("/a?b=c").header(HOST, "gate.example:8080");
        let add =
            |builder: http::request::Builder, line: &(&str, &str)| builder.header(line.0, line.1);
        lines.iter().fold(builder, add).body(()).unwrap()
    }

    fn address(lines: &[(&str, &str)]) -> String {
        let addressing = Addressing::of(&request(lines));
        let address = addressing.client_address().unwrap();
        format!("{}://{}", address.scheme, address.authority)
    }

    #[test]
    fn a_request_that_comes_back_from_http2_is_addressed_as_at_first() {
        let mut sent = request(&[("te", "trailers"), ("connection", "te")]);
        let addressing = Addressing::of(&sent);
        let host = addressing.host().unwrap().clone();
        for _ in 0..2 {
            addressing
                .write_http2(&mut sent, &host, Scheme::HTTPS)
                .unwrap();
            assert_eq!(sent.uri(), "https://gate.example:8080/a?b=c");
            assert_eq!(sent.headers().len(), 1, "only TE");
        }
        addressing.write_http1(&mut sent, &host);
        assert_eq!(sent.uri(), "/a?b=c");
        assert_eq!(sent.headers()[HOST], "gate.example:8080");
        assert_eq!(sent.headers()[CONNECTION], "te");
        assert_eq!(sent.version(), Version::HTTP_11);
        let upstream = HeaderValue::from_static("up.example");
        addressing
            .write_http2(&mut sent, &upstream, Scheme::HTTPS)
            .unwrap();
        assert_eq!(sent.uri(), "https://up.example/a?b=c");
    }

    #[test]
    fn a_clients_address_is_what_is_said_of_it_to_the_upstream() {
        let host = ("x-forwarded-host", "api.example");
        for (lines, expected) in [
            (vec![], "http://gate.example:8080"),
            (
                vec![("x-forwarded-proto", "HTTPS")],
                "https://gate.example:8080",
            ),
            (
                vec![("x-forwarded-proto", "ws")],
                "http://gate.example:8080",
            ),
            (
                vec![("x-forwarded-proto", "wss"), host],
                "https://api.example",
            ),
        ] {
            assert_eq!(address(&lines), expected);
        }
    }
}
