//! Hosts that are the same though they are written in another way.

use std::net::IpAddr;

/// A host without the dot that ends a whole name (RFC 1034 §3.1): `example.com.` is `example.com`.
pub fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Whether a request's host, without port, is a route's. Case, and how an address of IPv6 is shortened,
/// make no difference; nor does an IPv4 address within an IPv6 one (RFC 4291 §2.5.5.2).
pub(super) fn is_same(own: &str, host: &str) -> bool {
    let host = without_dot(host);
    own.eq_ignore_ascii_case(host)
        || host.starts_with('[')
            && address(host).is_some_and(|host| address(own).is_some_and(|own| own == host))
}

fn address(host: &str) -> Option<IpAddr> {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = plain.parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_may_be_written_in_several_ways() {
        for host in ["a.example", "A.Example", "a.example."] {
            assert!(is_same("a.example", host), "{host}");
        }
        for host in ["[::1]", "[0:0::1]", "[0:0:0:0:0:0:0:1]"] {
            assert!(is_same("[::1]", host), "{host}");
        }
        assert!(is_same("127.0.0.1", "[::ffff:127.0.0.1]"));
        for host in [
            "a.example..",
            "b.example",
            "a.example.b",
            "",
            "[::2]",
            "[::",
        ] {
            assert!(
                !is_same("a.example", host) && !is_same("[::1]", host),
                "{host}"
            );
        }
    }
}
