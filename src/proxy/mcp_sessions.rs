//! Sessions of the Model Context Protocol (`Mcp-Session-Id`, revisions up to 2025-11-25), each bound to the
//! key that opened it.
//!
//! A client holds `MAC.ID`: the upstream's id, and in front of it a code that only the gateways of this
//! database can make, over the route, the key's rotation chain and the id. So whose a session is needs no
//! memory: every gateway can check it, after a restart too, and nobody can fill it. It outlives the rotation of its
//! key, and two keys of one member share none. The upstream sees its own id.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::digest::Key;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use crate::model::id::KeyId;
use crate::model::refusal::{BadRequest, Refusal};
use crate::route::Permit;
use crate::store::SharedSecret;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// Half of HMAC-SHA-256: 128 bits, as RFC 2104 §5 allows.
const MAC_BYTES: usize = 16;
/// The same in base64url, unpadded.
const MAC_CHARS: usize = 22;
/// The longest id that an upstream may give. The client sends it back with every request, and the head of
/// one has 16 KiB by default; ids that are tokens have up to 2 KiB.
const ID_BYTES_MAX: usize = 4_096;

/// See the module documentation. It has no `Debug`: it holds a secret.
pub struct Sessions {
    mac: Hmac<Sha256>,
}

impl Sessions {
    /// With the secret of all gateways of the database.
    pub fn new(secret: &SharedSecret) -> Self {
        // A key that is shorter than a block is filled up with zeros (RFC 2104 §2).
        let mut key = Key::<Hmac<Sha256>>::default();
        key.iter_mut()
            .zip(secret.iter())
            .for_each(|(to, from)| *to = *from);
        let mac = Hmac::new(&key);
        zeroize::Zeroize::zeroize(key.as_mut_slice());
        Self { mac }
    }

    /// Puts the upstream's own id in the place of the client's. A public path, where nobody calls, keeps the one
    /// that came: it has the upstream's ids, and anybody who knows one may use it there.
    ///
    /// # Errors
    /// [`Refusal::SessionOfAnother`] for one that this caller did not open here: answered 404, so that the
    /// client begins its own. [`BadRequest::McpSession`] for two, or for a name that another reader could
    /// take for this header's.
    pub(super) fn unseal(
        &self,
        permit: &Permit<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(), Refusal> {
        let is_folded = |name: &HeaderName| is_session_name(name.as_str()) && *name != SESSION_ID;
        if headers.keys().any(is_folded) {
            return Err(Refusal::BadRequest(BadRequest::McpSession));
        }
        let Entry::Occupied(mut session) = headers.entry(SESSION_ID) else {
            return Ok(());
        };
        if session.iter().nth(1).is_some() {
            return Err(Refusal::BadRequest(BadRequest::McpSession));
        }
        let Some(caller) = permit.caller() else {
            return Ok(());
        };
        let chain = caller.principal().chain_id;
        let id = self.open(&permit.route().config.name, chain, session.get().as_bytes());
        session.insert(id.ok_or(Refusal::SessionOfAnother)?);
        Ok(())
    }

    /// Replaces every session id in an answer by the authenticated id for the caller.
    ///
    /// # Errors
    /// [`Refusal::UpstreamFailed`]: an id that is none.
    pub(super) fn seal(&self, permit: &Permit<'_>, headers: &mut HeaderMap) -> Result<(), Refusal> {
        let Some(caller) = permit.caller() else {
            return Ok(());
        };
        let Entry::Occupied(mut sessions) = headers.entry(SESSION_ID) else {
            return Ok(());
        };
        for session in sessions.iter_mut() {
            let (route, chain) = (&permit.route().config.name, caller.principal().chain_id);
            let Some(sealed) = self.close(route, chain, session.as_bytes()) else {
                tracing::warn!(
                    %route,
                    bytes = session.len(),
                    "an upstream's Mcp-Session-Id is empty, too long, or has other than visible characters"
                );
                return Err(Refusal::UpstreamFailed);
            };
            *session = sealed;
        }
        Ok(())
    }

    /// The upstream's id in what a client holds, if it was made for this route and this chain.
    fn open(&self, route: &str, chain: KeyId, held: &[u8]) -> Option<HeaderValue> {
        let (code, rest) = held.split_at_checked(MAC_CHARS)?;
        let id = rest.strip_prefix(b".").filter(|id| is_id(id))?;
        let mut mac = [0; MAC_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(code, &mut mac).ok()?;
        // In constant time.
        let verified = self.over(route, chain, id).verify_truncated_left(&mac);
        (length == MAC_BYTES && verified.is_ok())
            .then(|| HeaderValue::from_bytes(id).ok())
            .flatten()
    }

    /// What a client holds for the upstream's id.
    fn close(&self, route: &str, chain: KeyId, id: &[u8]) -> Option<HeaderValue> {
        if !is_id(id) {
            return None;
        }
        let mac = self.over(route, chain, id).finalize().into_bytes();
        let mut held = URL_SAFE_NO_PAD.encode(mac.get(..MAC_BYTES)?).into_bytes();
        held.push(b'.');
        held.extend_from_slice(id);
        HeaderValue::from_bytes(&held).ok()
    }

    /// The id comes last and what is before it says its own length, so that no two sessions read alike.
    fn over(&self, route: &str, chain: KeyId, id: &[u8]) -> Hmac<Sha256> {
        let name = route.as_bytes();
        let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
        self.mac
            .clone()
            .chain_update(length.to_be_bytes())
            .chain_update(name)
            // Always of the same length.
            .chain_update(chain.to_string())
            .chain_update(id)
    }
}

/// Visible ASCII (MCP 2025-11-25, Transports, Session Management), of a length that can be sent back.
fn is_id(id: &[u8]) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// Removes every session that a request names, also under a name that only some readers take for that of a session: on
/// a route that is not for MCP, nothing says whose it is.
pub(super) fn remove(headers: &mut HeaderMap) {
    let names = headers.keys().filter(|name| is_session_name(name.as_str()));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a name, in lower case, is this header's for a reader who folds whatever is no letter or digit.
pub(super) fn is_session_name(name: &str) -> bool {
    let own = SESSION_ID;
    let own = own.as_str().bytes();
    name.len() == own.len()
        && own
            .zip(name.bytes())
            .all(|(own, byte)| own == byte || (own == b'-' && !byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Timestamp;
    use crate::model::random::SystemEntropy;

    fn sessions(byte: u8) -> Sessions {
        Sessions::new(&SharedSecret::new([byte; 32]))
    }

    fn chain() -> KeyId {
        KeyId::generate(Timestamp::from_millis(0), &SystemEntropy)
    }

    #[test]
    fn a_session_opens_for_its_route_and_chain_in_every_gateway() {
        let (mine, other) = (chain(), chain());
        let (mcp, tools) = ("mcp", "tools");
        let held = sessions(1).close(mcp, mine, b"abc.def").unwrap();
        assert_eq!(held.len(), MAC_CHARS + 1 + b"abc.def".len());
        let open = |sessions: Sessions, route: &str, chain: KeyId, held: &HeaderValue| {
            sessions.open(route, chain, held.as_bytes())
        };
        let id = Some(HeaderValue::from_static("abc.def"));
        assert_eq!(open(sessions(1), mcp, mine, &held), id);
        assert_eq!(open(sessions(1), mcp, other, &held), None);
        assert_eq!(open(sessions(1), tools, mine, &held), None);
        assert_eq!(open(sessions(2), mcp, mine, &held), None);
        for index in 0..held.len() {
            let mut bytes = held.as_bytes().to_vec();
            bytes[index] ^= 1;
            assert_eq!(sessions(1).open(mcp, mine, &bytes), None, "{index}");
        }
    }

    #[test]
    fn what_is_no_session_opens_nothing() {
        let (mine, mcp) = (chain(), "mcp");
        let long = vec![b'a'; ID_BYTES_MAX + 1];
        for id in [&b""[..], b"a b", b"\xff", b"a\tb", &long] {
            assert_eq!(sessions(1).close(mcp, mine, id), None);
        }
        assert!(sessions(1).close(mcp, mine, &long[1..]).is_some());
        for held in [
            &b""[..],
            b".",
            b"abc",
            b"AAAAAAAAAAAAAAAAAAAAAA",
            b"AAAAAAAAAAAAAAAAAAAAAA.",
            b"AAAAAAAAAAAAAAAAAAAAAA.x",
            b"AAAAAAAAAAAAAAAAAAAAA=.x",
            "é".repeat(20).as_bytes(),
        ] {
            assert_eq!(sessions(1).open(mcp, mine, held), None, "{held:?}");
        }
    }

    #[test]
    fn every_folding_of_the_name_is_seen() {
        for name in [
            "mcp-session-id",
            "mcp_session_id",
            "mcp.session!id",
            "mcp~session-id",
        ] {
            assert!(is_session_name(name), "{name}");
        }
        for name in [
            "mcp-session-ids",
            "mcpxsession-id",
            "mcp-session",
            "mcp-sessiom-id",
        ] {
            assert!(!is_session_name(name), "{name}");
        }
    }
}
