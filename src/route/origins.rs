//! The origins of the gateway's own pages (RFC 6454 §6.2), as far as its configuration knows them. What a
//! request says of its host is no evidence: a page that rebinds its name to this address sends that
//! name as `Host` and as `Origin`.

use std::net::{IpAddr, SocketAddr};

use http::Uri;

use crate::config::{self, Config};

/// What a browser may send as `Origin` of a page that was loaded from this route. `addresses`: where the
/// listeners of the configuration are bound, in their order.
///
/// A route with a host has that host's, on the ports of the listeners and on those of http and https,
/// which a proxy in front may serve. Another has those of the addresses that listeners are bound to; on
/// a loopback address that is every name of loopback.
pub(super) fn own(config: &Config, route: &config::Route, addresses: &[SocketAddr]) -> Vec<String> {
    let mut origins: Vec<String> = Vec::new();
    if let Some(url) = &config.admin.gateway_url {
        origins.extend(of_url(url));
    }
    if let Some(host) = &route.host {
        origins.extend([format!("http://{host}"), format!("https://{host}")]);
    }
    for (listener, address) in config.listeners.iter().zip(addresses) {
        let scheme = if listener.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let hosts = match &route.host {
            Some(host) => vec![host.clone()],
            None => names_of(address.ip()),
        };
        let on_port = |host: String| serialize(scheme, &host, address.port());
        origins.extend(hosts.into_iter().map(on_port));
    }
    origins.sort();
    origins.dedup();
    origins
}

/// The names under which an address is reached without asking anybody: none of the unspecified one.
fn names_of(address: IpAddr) -> Vec<String> {
    let written = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let address = address.to_canonical();
    if address.is_loopback() {
        let others = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        return others.into_iter().chain([written(address)]).collect();
    }
    if address.is_unspecified() {
        return Vec::new();
    }
    vec![written(address)]
}

fn of_url(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?;
    let port = uri.port_u16().unwrap_or_else(|| default_port(scheme));
    Some(serialize(scheme, uri.host()?, port))
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

/// As browsers do, without a port that goes without saying (RFC 6454 §6.2).
fn serialize(scheme: &str, host: &str, port: u16) -> String {
    if port == default_port(scheme) {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(extra: &str, host: &str, address: &str) -> Vec<String> {
        let text = format!(
            "[admin]\n{extra}\n[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n\
             [upstreams.u]\nurls = [\"http://u\"]\n[[routes]]\nname = \"mcp\"\npath_prefix = \"/\"\n\
             upstream = \"u\"\nscope = \"mcp\"\n{host}\n[store]\nsqlite = \"x\"\n"
        );
        let config = config::parse("test", &text, std::path::Path::new(""), []).unwrap();
        own(&config, &config.routes[0], &[address.parse().unwrap()])
    }

    #[test]
    fn a_loopback_listener_has_every_name_of_loopback_and_its_own_port() {
        let expected = [
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://localhost:8080",
        ];
        assert_eq!(origins("", "", "127.0.0.1:8080"), expected);
    }

    #[test]
    fn an_address_has_its_own_and_the_unspecified_one_has_none() {
        assert_eq!(origins("", "", "192.0.2.7:80"), ["http://192.0.2.7"]);
        assert_eq!(origins("", "", "0.0.0.0:8080"), Vec::<String>::new());
        let url = "gateway_url = \"https://Gateway.example:443\"";
        assert_eq!(origins(url, "", "[::]:8080"), ["https://gateway.example"]);
    }

    #[test]
    fn a_routes_host_is_its_only_name() {
        let host = "host = \"a.example\"";
        let expected = [
            "http://a.example",
            "http://a.example:8080",
            "https://a.example",
        ];
        assert_eq!(origins("", host, "127.0.0.1:8080"), expected);
    }
}
