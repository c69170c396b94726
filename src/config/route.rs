//! Routes: what goes where, and who may.

use std::fmt;

use http::{HeaderName, HeaderValue};

use crate::model::scope::Scope;

/// Where a route looks for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialSource {
    /// The `x-api-key` header.
    ApiKeyHeader,
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    Bearer,
}

/// What goes where, and who may.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name in logs and metrics.
    pub name: String,
    /// The host it is for, in lower case, without port. `None`: any.
    pub host: Option<String>,
    /// `/` or `/segment/…` : the paths it is for. `/api` and `/api/` both hold for `/api/x`, neither
    /// for `/apix`; the longest prefix of the more specific host wins.
    pub path_prefix: String,
    /// Index into [`Config::upstreams`](super::Config::upstreams).
    pub upstream: usize,
    /// Where keys are accepted; at least one.
    pub credentials: Vec<CredentialSource>,
    /// What a key must be allowed to.
    pub scope: Scope,
    /// Whether the Model Context Protocol is spoken here.
    pub mcp: bool,
    /// Paths (exact, or a prefix where they end in `/`) that need no key.
    pub public_paths: Vec<String>,
    /// Browser origins that are served: their preflight requests are answered, they can read answers and
    /// refusals, and MCP accepts them. `*`: all.
    pub cors_origins: Vec<String>,
    /// Headers that pages of those origins may send, beside those that always may be.
    pub cors_headers: Vec<HeaderName>,
    /// Headers that pass though they name another target than the request line.
    pub keep_headers: Vec<HeaderName>,
    /// A credential of the platform's own that upstream gets instead of the caller's.
    pub upstream_credential: Option<UpstreamCredential>,
}

/// A header that is set on a route's requests.
#[derive(Clone)]
pub struct UpstreamCredential {
    /// Its name.
    pub header: HeaderName,
    /// Its value, marked sensitive.
    pub value: HeaderValue,
    /// Public paths (as [`Route::public_paths`], and each of them public) on which it is sent for
    /// everybody. Elsewhere it is for callers with a key.
    pub public_paths: Vec<String>,
}

impl fmt::Debug for UpstreamCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UpstreamCredential({}: …)", self.header)
    }
}
