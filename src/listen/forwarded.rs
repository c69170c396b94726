//! Where a client is, when trusted proxies stand between.
//!
//! Each proxy appends the address that it saw to `X-Forwarded-For` (or, RFC 7239, to `Forwarded`), and only
//! what a trusted proxy appended is believed. So the lists are read from the right: as long as an address is
//! that of a trusted proxy, its word on the address before it counts; the first that is not is the client's.
//! What stands to the left of it, anybody may have written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies in a row that are followed. Chains of more than a few are loops or nonsense.
const HOPS_MAX: usize = 32;

/// The address of a client, as far as it is known: that of its connection, or what trusted proxies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress {
    /// IPv4 addresses as such, never mapped into IPv6.
    pub ip: IpAddr,
    /// The port of the connection. `None`: a proxy named the address.
    port: Option<u16>,
}

impl ClientAddress {
    /// Of whom a connection comes from.
    pub fn of_peer(peer: SocketAddr) -> Self {
        Self {
            ip: peer.ip().to_canonical(),
            port: Some(peer.port()),
        }
    }

    /// Of whom a request comes from that a trusted proxy passed on: the right-most address in its headers that is
    /// not a trusted proxy's. Something else than an address stops the search at the last that was one.
    ///
    /// `X-Forwarded-For` decides where it is present, and `Forwarded` where it is not.
    #[must_use]
    pub fn before(self, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let mut nearest = self.ip;
        // Both are lists over all lines of the header (RFC 9110 §5.3), the nearest hop last.
        if headers.contains_key(FORWARDED_FOR) {
            let lines = headers.get_all(FORWARDED_FOR).iter().rev();
            let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
            nearest = follow(nearest, hops.map(address), trusted);
        } else {
            let lines = headers.get_all(FORWARDED).iter().rev();
            let hops = lines.flat_map(|line| Elements(Some(line.as_bytes())));
            nearest = follow(nearest, hops.map(for_of), trusted);
        }
        if nearest == self.ip {
            return self;
        }
        Self {
            ip: nearest,
            port: None,
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// Whether an address is that of a proxy whose word is believed.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// From a trusted peer outwards, up to the first that is not trusted.
fn follow(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet]) -> IpAddr {
    let mut nearest = peer;
    for hop in hops.take(HOPS_MAX) {
        let Some(hop) = hop else { break };
        nearest = hop;
        if !is_trusted(hop, trusted) {
            break;
        }
    }
    nearest
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim_ascii();
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let found = if let Some(inside) = bracketed {
        IpAddr::V6(inside.parse::<Ipv6Addr>().ok()?)
    } else if let Ok(plain) = text.parse::<IpAddr>() {
        plain
    } else if text.starts_with('[') {
        text.parse::<SocketAddr>().ok()?.ip()
    } else {
        let (host, port) = text.split_once(':')?;
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let _port: u16 = port.parse().ok().filter(|_| is_port)?;
        IpAddr::V4(host.parse::<Ipv4Addr>().ok()?)
    };
    Some(found.to_canonical())
}

/// The elements of a `Forwarded` line from the right. Quotes are matched from the right too: what a client
/// left open on the left does not reach what a proxy appended.
struct Elements<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0.take()?;
        let mut quoted = false;
        let comma = rest.iter().rposition(|byte| {
            quoted ^= *byte == b'"';
            *byte == b',' && !quoted
        });
        let Some(comma) = comma else {
            return Some(rest);
        };
        let (before, element) = rest.split_at(comma);
        self.0 = Some(before);
        element.get(1..)
    }
}

/// What an element says in its one `for` (RFC 7239 §5.2), if that is an address.
fn for_of(element: &[u8]) -> Option<IpAddr> {
    // An escape in a quoted string: no proxy needs one for an address.
    if element.contains(&b'\\') {
        return None;
    }
    let mut quoted = false;
    let pairs = element.split(|byte| {
        quoted ^= *byte == b'"';
        *byte == b';' && !quoted
    });
    let mut found = None;
    for pair in pairs {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at(equals);
        if name.trim_ascii().eq_ignore_ascii_case(b"for") {
            if found.is_some() {
                return None;
            }
            let value = value.get(1..)?.trim_ascii();
            let unquoted = value
                .strip_prefix(b"\"")
                .and_then(|rest| rest.strip_suffix(b"\""));
            found = Some(address(unquoted.unwrap_or(value))?);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "10.0.0.1:4711";

    fn found(lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().unwrap());
        ClientAddress::of_peer(PEER.parse().unwrap())
            .before(&headers, &trusted)
            .to_string()
    }

    #[test]
    fn the_right_most_address_that_is_not_trusted_is_the_clients() {
        for (list, client) in [
            ("203.0.113.9", "203.0.113.9"),
            ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
            ("6.6.6.6, 203.0.113.9, 10.2.3.4,10.9.9.9", "203.0.113.9"),
            ("10.2.3.4, 10.9.9.9", "10.2.3.4"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2001:db8::5", "2001:db8::5"),
            ("[2001:db8::5]", "2001:db8::5"),
            ("2001:db8::5,[2001:db8:1::9]:80 , 10.1.1.1:9", "2001:db8::5"),
            ("203.0.113.9, ::ffff:10.1.1.1", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            // Something else stops the search at the last that was an address.
            ("6.6.6.6, unknown, 10.2.3.4", "10.2.3.4"),
            ("6.6.6.6, , 10.2.3.4", "10.2.3.4"),
            ("6.6.6.6, unknown", PEER),
            ("6.6.6.6,", PEER),
            ("", PEER),
            ("localhost", PEER),
            ("203.0.113.9:", PEER),
            ("203.0.113.9:+80", PEER),
            ("203.0.113.9:99999", PEER),
            ("203.0.113.9 10.1.1.1", PEER),
            ("0x7f.1", PEER),
            ("[203.0.113.9]", PEER),
            ("[2001:db8::5", PEER),
            ("fe80::1%eth0", PEER),
        ] {
            assert_eq!(found(&[("x-forwarded-for", list)]), client, "{list}");
        }
        let lines = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "10.2.3.4"),
        ];
        assert_eq!(found(&lines), "203.0.113.9", "several lines are one list");
        assert_eq!(found(&[]), PEER);
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_has_it() {
        for (list, client) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("For=\"203.0.113.9:80\";proto=https", "203.0.113.9"),
            ("proto=http;by=10.0.0.1;for=203.0.113.9", "203.0.113.9"),
            ("for=\"[2001:db8::5]:4711\"", "2001:db8::5"),
            ("for=6.6.6.6, for=203.0.113.9, for=10.2.3.4", "203.0.113.9"),
            (
                "for=203.0.113.9;host=\"a,b;c\", for=10.2.3.4",
                "203.0.113.9",
            ),
            // What a client left open does not swallow what the proxy appended.
            ("for=\"6.6.6.6, for=203.0.113.9", "203.0.113.9"),
            ("for=6.6.6.6;host=\", for=203.0.113.9", "203.0.113.9"),
            (
                "for=6.6.6.6, for=\"a\\\",for=7.7.7.7, for=10.2.3.4",
                "7.7.7.7",
            ),
            ("for=6.6.6.6, for=unknown, for=10.2.3.4", "10.2.3.4"),
            ("for=_hidden", PEER),
            ("for=203.0.113.9;for=6.6.6.6", PEER),
            ("for=\"203.0.113.9\\\"", PEER),
            ("proto=https", PEER),
            ("for", PEER),
            ("for=", PEER),
            ("", PEER),
        ] {
            assert_eq!(found(&[("forwarded", list)]), client, "{list}");
        }
    }

    #[test]
    fn x_forwarded_for_decides_where_both_are_present() {
        let lines = [
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        assert_eq!(found(&lines), "203.0.113.9");
        let lines = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "unknown")];
        assert_eq!(found(&lines), PEER);
    }

    proptest! {
        /// Whatever a client writes, the proxy's own element behind it decides.
        #[test]
        fn nothing_to_the_left_changes_what_a_proxy_appended(left in "[ -~\u{80}-\u{ff}]{0,60}") {
            for (name, own) in [
                ("x-forwarded-for", "203.0.113.9"),
                ("forwarded", "for=203.0.113.9;proto=https"),
                ("forwarded", "for=\"203.0.113.9:1\";host=\"a,b\""),
            ] {
                let mut headers = HeaderMap::new();
                let line = format!("{left}, {own}");
                headers.append(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
                let trusted = ["10.0.0.0/8".parse().unwrap()];
                let client = ClientAddress::of_peer(PEER.parse().unwrap());
                prop_assert_eq!(client.before(&headers, &trusted).to_string(), "203.0.113.9");
            }
        }

        /// Any bytes: an answer, and no panic.
        #[test]
        fn any_line_is_read(bytes in prop::collection::vec(0x20_u8..0x7f, 0..200)) {
            let value = HeaderValue::from_bytes(&bytes).unwrap();
            for name in ["x-forwarded-for", "forwarded"] {
                let mut headers = HeaderMap::new();
                headers.append(name, value.clone());
                let trusted = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
                let client = ClientAddress::of_peer(PEER.parse().unwrap());
                drop(client.before(&headers, &trusted).to_string());
            }
        }
    }
}
