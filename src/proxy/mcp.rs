//! What the Model Context Protocol needs of a gateway: sessions that stay with the key that opened
//! them, origins, and a clear no to OAuth discovery.

use foldhash::quality::RandomState;
use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::target::Target;
use crate::model::id::KeyId;
use crate::model::refusal::Refusal;
use crate::route::{Permit, Route, Routes};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Where MCP clients look for an authorisation server (RFC 8414 §3, RFC 9728 §3, RFC 7591 §3) once
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

/// Whether a request comes from a page that may speak to an MCP server, or from no page at all. A page
/// elsewhere could otherwise reach a local server by rebinding its own name (MCP, Transports, Security
/// Warning).
pub(super) fn origin_is_welcome(route: &Route, headers: &HeaderMap, authority: &str) -> bool {
    headers.get_all(ORIGIN).iter().all(|origin| {
        let same = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .is_some_and(|(_scheme, host)| host.eq_ignore_ascii_case(authority));
        same || route.accepts_origin(origin.as_bytes())
    })
}

/// Which key opened which session (`Mcp-Session-Id`, protocol revisions up to 2025-11-25).
pub struct Sessions {
    owners: moka::sync::Cache<(usize, HeaderValue), KeyId, RandomState>,
}

impl Sessions {
    /// Remembers at most this many; the least used are forgotten first.
    pub fn new(sessions_max: u64) -> Self {
        let owners = moka::sync::Cache::builder()
            .max_capacity(sessions_max)
            .build_with_hasher(RandomState::default());
        Self { owners }
    }

    /// Refuses a session that another key opened: answered 404, so that the client begins its own. A
    /// session that is not remembered belongs to the key that uses it first; whether it exists is the
    /// upstream's to say.
    pub(super) fn check(&self, permit: &Permit<'_>, headers: &HeaderMap) -> Result<(), Refusal> {
        let (Some(session), Some(caller)) = (headers.get(SESSION_ID), permit.caller()) else {
            return Ok(());
        };
        let key = caller.principal().key_id;
        let session = (permit.route().index, session.clone());
        if self.owners.get_with(session, || key) == key {
            Ok(())
        } else {
            Err(Refusal::SessionOfAnother)
        }
    }

    /// Remembers the session that an answer opens.
    pub(super) fn bind(&self, permit: &Permit<'_>, answer: &HeaderMap) {
        if let (Some(session), Some(caller)) = (answer.get(SESSION_ID), permit.caller()) {
            let session = (permit.route().index, session.clone());
            self.owners.insert(session, caller.principal().key_id);
        }
    }
}
