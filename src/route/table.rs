//! The routes, compiled once at start: which of them a host and a path belong to.

use http::HeaderValue;

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
}

impl Route {
    /// Whether a key may come from there.
    pub fn accepts(&self, source: CredentialSource) -> bool {
        self.config.credentials.contains(&source)
    }

    /// Whether this path needs no key.
    pub fn is_public(&self, path: &str) -> bool {
        self.config.public_paths.iter().any(|public| {
            if public.ends_with('/') {
                path.starts_with(public.as_str())
            } else {
                path == public
            }
        })
    }

    /// Whether a page of this origin may speak to the route.
    pub fn accepts_origin(&self, origin: &[u8]) -> bool {
        self.config
            .cors_origins
            .iter()
            .any(|allowed| allowed == "*" || allowed.as_bytes().eq_ignore_ascii_case(origin))
    }

    fn matches(&self, host: &str, path: &str) -> bool {
        self.config
            .host
            .as_deref()
            .is_none_or(|own| own.eq_ignore_ascii_case(host))
            && path_is_below(path, &self.config.path_prefix)
    }
}

/// `/api` and `/api/` hold for `/api/x`; `/api` holds for `/api` too; neither for `/apix`.
fn path_is_below(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// All routes, the more specific first.
#[derive(Debug)]
pub struct Routes {
    routes: Vec<Route>,
}

impl Routes {
    /// Compiles the routes of a configuration.
    pub fn new(config: &Config) -> Self {
        let mut configured = config.routes.clone();
        configured.sort_by_key(|route| {
            (
                route.host.is_none(),
                std::cmp::Reverse(route.path_prefix.len()),
            )
        });
        let routes = configured
            .into_iter()
            .enumerate()
            .map(|(index, config)| Route {
                index,
                challenge: challenge(&config),
                config,
            })
            .collect();
        Self { routes }
    }

    /// The route of a host (without port) and a canonical path: of the routes that name the host the
    /// one with the longest prefix, else of those for any host.
    pub fn find(&self, host: &str, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.matches(host, path))
    }

    /// Whether any route of this host speaks MCP: then OAuth discovery is answered there.
    pub fn speaks_mcp(&self, host: &str) -> bool {
        self.routes.iter().any(|route| {
            route.config.mcp
                && route
                    .config
                    .host
                    .as_deref()
                    .is_none_or(|own| own.eq_ignore_ascii_case(host))
        })
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
