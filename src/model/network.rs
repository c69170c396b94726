//! Where requests come from, as far as something is shared out among clients.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or the 64 bits of an IPv6 address that a provider gives to one customer (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientNetwork {
    /// The gateway itself, which looks up the keys of open requests anew.
    Own,
    /// A client's; the other bits are zero.
    Client(IpAddr),
}

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        Self::Client(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(network).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Who asks for a look-up, as far as look-ups are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookupOrigin {
    /// Where the request comes from.
    pub address: IpAddr,
    /// Whether the connection has presented an unknown key before: anybody who guesses shares places with others who
    /// guess from the same network, and not with those beside them who have a new key.
    pub has_guessed: bool,
}

impl From<IpAddr> for LookupOrigin {
    fn from(address: IpAddr) -> Self {
        Self {
            address,
            has_guessed: false,
        }
    }
}

/// Whose look-ups take their turns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LookupGroup {
    network: ClientNetwork,
    has_guessed: bool,
}

impl LookupGroup {
    /// The gateway itself, which looks up the keys of open requests anew.
    pub const OWN: Self = Self {
        network: ClientNetwork::Own,
        has_guessed: false,
    };
}

impl From<LookupOrigin> for LookupGroup {
    fn from(origin: LookupOrigin) -> Self {
        Self {
            network: origin.address.into(),
            has_guessed: origin.has_guessed,
        }
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the gateway"),
            Self::Client(address @ IpAddr::V4(_)) => address.fmt(f),
            Self::Client(address @ IpAddr::V6(_)) => write!(f, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> ClientNetwork {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_customer_of_a_provider_is_one_network() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("::1"), ClientNetwork::Own);
        assert_eq!(network("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(network("192.0.2.1").to_string(), "192.0.2.1");
    }
}
