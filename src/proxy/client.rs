//! The client of a connection, and the headers that describe it to upstreams.

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::listen::forwarded::{ClientAddress, is_trusted};
use crate::listen::watch::Watch;
use crate::model::network::LookupOrigin;
use crate::model::refusal::Refusal;

/// One client connection. The headers that say where a request came from are the same for all of its
/// requests, so they are made once.
#[derive(Debug)]
pub struct Client {
    /// Its other end.
    peer: ClientAddress,
    /// Whose word on where a client is, is believed.
    proxies: Arc<[IpNet]>,
    /// Its deadlines.
    pub watch: Arc<Watch>,
    /// Whether the peer is a proxy whose word on earlier hops is believed.
    pub trusted: bool,
    /// Whether an unknown key came on it.
    has_guessed: Cell<bool>,
    /// `X-Forwarded-For`.
    pub forwarded_for: HeaderValue,
    /// `X-Forwarded-Proto`.
    pub forwarded_proto: HeaderValue,
    /// `Forwarded` (RFC 7239 §4): `for=…;proto=…`.
    pub forwarded: HeaderValue,
}

impl Client {
    /// A connection from `peer`, over TLS or not.
    pub fn new(
        peer: SocketAddr,
        tls: bool,
        trusted_proxies: &Arc<[IpNet]>,
        watch: Arc<Watch>,
    ) -> Self {
        // A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d; the rules are written without.
        let peer = ClientAddress::of_peer(peer);
        let address = peer.ip;
        let scheme = if tls { "https" } else { "http" };
        Self {
            peer,
            watch,
            trusted: is_trusted(address, trusted_proxies),
            has_guessed: Cell::new(false),
            proxies: Arc::clone(trusted_proxies),
            forwarded_for: header(&address.to_string()),
            forwarded_proto: HeaderValue::from_static(scheme),
            forwarded: header(&forwarded(address, scheme)),
        }
    }

    /// Where a request comes from: the peer of the connection, or whom a trusted one names.
    pub fn address(&self, headers: &HeaderMap) -> ClientAddress {
        if self.trusted {
            return self.peer.before(headers, &self.proxies);
        }
        self.peer
    }

    /// Who asks for a look-up, of a request that comes from `address`. A trusted proxy's connection is of many clients:
    /// what one of them did says nothing of the next.
    pub fn origin(&self, address: ClientAddress) -> LookupOrigin {
        LookupOrigin {
            address: address.ip,
            has_guessed: self.has_guessed.get() && !self.trusted,
        }
    }

    /// Notes why a request was refused.
    pub fn note(&self, refusal: Refusal) {
        if refusal == Refusal::KeyUnknown {
            self.has_guessed.set(true);
        }
    }
}

fn forwarded(address: IpAddr, scheme: &str) -> String {
    let mut element = String::new();
    // Writing to a String cannot fail. IPv6 needs brackets and quotes (RFC 7239 §6).
    let _infallible = match address {
        IpAddr::V4(v4) => write!(element, "for={v4};proto={scheme}"),
        IpAddr::V6(v6) => write!(element, "for=\"[{v6}]\";proto={scheme}"),
    };
    element
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_invalid| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::watch::Ticks;

    fn client(peer: &str, trusted: &str) -> Client {
        let watch = Arc::new(Watch::new(Ticks::default()));
        Client::new(
            peer.parse().unwrap(),
            true,
            &Arc::from([trusted.parse().unwrap()]),
            watch,
        )
    }

    #[test]
    fn an_ipv6_peer_is_quoted() {
        let client = client("[2001:db8::1]:9", "10.0.0.0/8");
        assert_eq!(client.forwarded, "for=\"[2001:db8::1]\";proto=https");
        assert!(!client.trusted);
    }

    #[test]
    fn an_ipv4_peer_on_a_dual_stack_socket_is_an_ipv4_peer() {
        let client = client("[::ffff:10.1.2.3]:9", "10.0.0.0/8");
        assert_eq!(client.forwarded_for, "10.1.2.3");
        assert!(client.trusted);
    }
}
