//! What the Model Context Protocol needs of a gateway, beside its sessions ([`super::mcp_sessions`]) and
//! origins ([`super::cors`]): a clear no to OAuth discovery.

use http::header::{CONTENT_TYPE, Entry, WWW_AUTHENTICATE};
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

/// Removes challenges of an upstream that name its own OAuth metadata (RFC 9728 §5.1): clients would ask there, past
/// the gateway, with the headers that hold their key, and an authorization server's token is no key here.
pub(super) fn remove_foreign_metadata(headers: &mut HeaderMap) {
    const PARAMETER: &[u8] = b"resource_metadata";
    let names_metadata = |value: &HeaderValue| {
        let bytes = value.as_bytes().to_ascii_lowercase();
        bytes.windows(PARAMETER.len()).any(|it| it == PARAMETER)
    };
    let Entry::Occupied(challenges) = headers.entry(WWW_AUTHENTICATE) else {
        return;
    };
    if !challenges.iter().any(names_metadata) {
        return;
    }
    let (name, challenges) = challenges.remove_entry_mult();
    let kept: Vec<HeaderValue> = challenges.filter(|it| !names_metadata(it)).collect();
    for value in kept {
        headers.append(&name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_challenges_that_lead_past_the_gateway_go() {
        let mut headers = HeaderMap::new();
        for challenge in [
            "Basic realm=\"x\"",
            "Bearer Resource_Metadata=\"https://up.example/.well-known/oauth-protected-resource\"",
        ] {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        remove_foreign_metadata(&mut headers);
        let left: Vec<_> = headers.get_all(WWW_AUTHENTICATE).iter().collect();
        assert_eq!(left, ["Basic realm=\"x\""]);
        let before = headers.clone();
        remove_foreign_metadata(&mut headers);
        assert_eq!(headers, before);
        remove_foreign_metadata(&mut HeaderMap::new());
    }
}
