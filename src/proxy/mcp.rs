//! What the Model Context Protocol needs of a gateway, beside its sessions ([`super::mcp_sessions`]) and
//! origins ([`super::cors`]): a clear no to OAuth discovery.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};

use super::target::Target;
use crate::route::{Route, Routes};

/// Where MCP clients look for an authorization server (RFC 8414 §3, RFC 9728 §3, RFC 7591 §3) once
/// they have seen a 401. This gateway takes keys; anything but a JSON 404 here sends them astray.
const DISCOVERY_PREFIXES: [&str; 2] = ["/.well-known/oauth-", "/.well-known/openid-configuration"];
const DISCOVERY_PATHS: [&str; 3] = ["/register", "/token", "/authorize"];

/// Whether a request is OAuth discovery on a host that speaks MCP, and no other route wants it.
pub(super) fn is_discovery(target: &Target<'_>, found: Option<&Route>, routes: &Routes) -> bool {
    let path = &*target.path;
    let asked = DISCOVERY_PATHS.contains(&path)
        || DISCOVERY_PREFIXES
            .iter()
            .any(|prefix| path.contains(prefix));
    asked && found.is_none_or(|route| route.config.mcp) && routes.speaks_mcp(target.host)
}

/// Whether a request on an MCP route has a JSON-RPC message in its body (MCP 2025-11-25, Transports, Streamable HTTP).
pub(super) fn is_jsonrpc(method: &Method, headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let media_type = media_type.and_then(|it| it.split(|byte| *byte == b';').next());
    *method == Method::POST
        && media_type.is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"application/json"))
}
