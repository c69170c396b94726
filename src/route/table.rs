//! The routes, compiled once at start: which of them a host and a path belong to.

use std::cmp::Reverse;
use std::net::SocketAddr;

use http::HeaderValue;

use super::found::Found;
use super::{host, lenient, origins};
use crate::config::{self, Config, CredentialSource};

/// A route, ready to be walked.
#[derive(Debug)]
pub struct Route {
    /// Its place in the table; metrics are kept by it.
    pub index: usize,
    /// What was configured.
    pub config: config::Route,
    /// The challenge of its 401 without an error code (RFC 6750 §3).
    pub challenge: HeaderValue,
    /// Whether it is not for MCP, and its upstream has a route that is.
    pub is_beside_mcp: bool,
    /// The origins of its own pages.
    own_origins: Vec<String>,
    /// Its prefix as a lenient reader takes it.
    lenient_prefix: String,
    /// Its public paths as a lenient reader takes them.
    lenient_public_paths: Vec<String>,
}

impl Route {
    /// Whether a key may come from there.
    pub fn accepts(&self, source: CredentialSource) -> bool {
        self.config.credentials.contains(&source)
    }

    /// Whether this path needs no key.
    pub fn is_public(&self, path: &str) -> bool {
        covers(&self.config.public_paths, path)
    }

    /// Whether a page of this origin may speak to the route.
    pub fn accepts_origin(&self, origin: &[u8]) -> bool {
        self.config
            .cors_origins
            .iter()
            .any(|allowed| allowed == "*" || allowed.as_bytes().eq_ignore_ascii_case(origin))
    }

    /// Whether pages of every origin may use it.
    pub fn accepts_every_origin(&self) -> bool {
        self.config.cors_origins.iter().any(|it| it == "*")
    }

    /// Whether a page of this origin was loaded from the gateway itself, by what the configuration says
    /// of its addresses.
    pub fn is_own_origin(&self, origin: &[u8]) -> bool {
        self.own_origins
            .iter()
            .any(|own| own.as_bytes().eq_ignore_ascii_case(origin))
    }

    /// Whether every reader finds a public path: of one that is lenient in one way alone, the whole prefix
    /// has to be public.
    fn is_public_to_all(&self, path: &str, form: &str) -> bool {
        let public = &self.lenient_public_paths;
        let whole = format!("{}/", self.lenient_prefix);
        covers(public, &whole) || form == path && covers(public, form)
    }

    fn is_for(&self, host: &str) -> bool {
        let own = self.config.host.as_deref();
        own.is_none_or(|own| host::is_same(own, host))
    }

    fn matches(&self, host: &str, path: &str) -> bool {
        path_is_below(path, &self.config.path_prefix) && self.is_for(host)
    }

    /// Whether a lenient reader could choose this route where `other` was chosen: it is the more specific
    /// one, or would be if prefixes were as that reader takes them.
    fn could_precede(&self, other: &Self) -> bool {
        let same_host = self.config.host.is_none() == other.config.host.is_none();
        let (own, theirs) = (&self.lenient_prefix, &other.lenient_prefix);
        self.order() < other.order()
            || self.index != other.index
                && same_host
                && own.len() >= theirs.len()
                && lenient::is_below(own, theirs)
    }

    /// The less, the more specific: a host before any host, a longer prefix before a shorter.
    fn order(&self) -> (bool, Reverse<usize>) {
        order(&self.config)
    }
}

fn order(route: &config::Route) -> (bool, Reverse<usize>) {
    (route.host.is_none(), Reverse(route.path_prefix.len()))
}

/// Whether a path is one of these, or below one that ends in a slash.
pub(super) fn covers(paths: &[String], path: &str) -> bool {
    paths.iter().any(|it| {
        if it.ends_with('/') {
            path.starts_with(it.as_str())
        } else {
            path == it
        }
    })
}

/// `/api` and `/api/` hold for `/api/x`; `/api` holds for `/api` too; neither for `/apix`.
fn path_is_below(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// Whether two routes lead to the same server, by one name or by two.
fn share_an_address(config: &Config, route: &config::Route, other: &config::Route) -> bool {
    let addresses = |route: &config::Route| {
        let upstream = config.upstreams.get(route.upstream);
        upstream.map_or(&[][..], |upstream| &upstream.addresses)
    };
    addresses(route)
        .iter()
        .any(|address| addresses(other).contains(address))
}

/// All routes, the more specific first.
#[derive(Debug)]
pub struct Routes {
    routes: Vec<Route>,
}

impl Routes {
    /// Compiles the routes of a configuration, whose listeners are bound to `addresses`, in their order.
    pub fn new(config: &Config, addresses: &[SocketAddr]) -> Self {
        let mut configured = config.routes.clone();
        configured.sort_by_key(order);
        let compile = |(index, route): (usize, config::Route)| Route {
            index,
            challenge: challenge(&route),
            is_beside_mcp: !route.mcp
                && config
                    .routes
                    .iter()
                    .any(|other| other.mcp && share_an_address(config, &route, other)),
            own_origins: origins::own(config, &route, addresses),
            lenient_prefix: lenient::prefix(&route.path_prefix),
            lenient_public_paths: route
                .public_paths
                .iter()
                .map(|path| lenient::form(path).into_owned())
                .collect(),
            config: route,
        };
        Self {
            routes: configured.into_iter().enumerate().map(compile).collect(),
        }
    }

    /// The route of a host (without port) and a canonical path: of the routes that name the host the
    /// one with the longest prefix, else of those for any host.
    pub fn find(&self, host: &str, path: &str) -> Option<Found<'_>> {
        let mut routes = self.routes.iter();
        let route = routes.find(|route| route.matches(host, path))?;
        let mut found = Found::new(route);
        let mut forms = None;
        for other in self.routes.iter().filter(|it| it.could_precede(route)) {
            if !other.is_for(host) {
                continue;
            }
            let (form, without_program) = forms.get_or_insert_with(|| {
                let form = lenient::form(path);
                let without_program = lenient::without_front_controllers(&form);
                (form, without_program)
            });
            let is_below = |form: &str| lenient::is_below(form, &other.lenient_prefix);
            if is_below(form) || without_program.as_deref().is_some_and(is_below) {
                found.could_be(other, other.is_public_to_all(path, form));
            }
        }
        Some(found)
    }

    /// Whether any route of this host speaks MCP: then OAuth discovery is answered there.
    pub fn speaks_mcp(&self, host: &str) -> bool {
        self.routes
            .iter()
            .any(|route| route.config.mcp && route.is_for(host))
    }

    /// All of them, in the order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

fn challenge(route: &config::Route) -> HeaderValue {
    let realm: String = route
        .name
        .chars()
        .filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\'))
        .collect();
    HeaderValue::try_from(format!("Bearer realm=\"{realm}\""))
        .unwrap_or_else(|_invalid| HeaderValue::from_static("Bearer realm=\"genkan\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_for_whole_segments_only() {
        assert!(path_is_below("/api/x", "/api"));
        assert!(path_is_below("/api/x", "/api/"));
        assert!(path_is_below("/api", "/api"));
        assert!(!path_is_below("/api", "/api/"));
        assert!(!path_is_below("/apix", "/api"));
        assert!(path_is_below("/anything", "/"));
    }
}
