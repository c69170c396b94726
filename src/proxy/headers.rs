//! What of a request's and an answer's headers is passed on.
//!
//! **Invariant.** Towards an upstream no key of ours, no identity that we did not set, no cookie of the
//! console, nothing that belongs to one hop only (RFC 9110 §7.6.1), no `Forwarded` of a stranger, and no
//! other target than the one that was authorised: deleted without asking, then ours are set. Last, so
//! that `Connection: x-genkan-user-id` strips nothing.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{
    ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use super::client::Client;
use super::cookies;
use super::mcp_sessions::is_session_name;
use super::target::{host_of, is_authority};
use crate::auth::credential::API_KEY;
use crate::config::UpstreamCredential;
use crate::model::header::{fold, names_another_target, says_where_from};
use crate::model::key;
use crate::record::request_id::RequestId;
use crate::route::{Permit, without_dot};

/// Every header of ours begins so; nobody else may send one.
const OWN_PREFIX: &str = "x-genkan-";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Names the request in refusals, in logs, and towards upstream.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Who passed the request on (RFC 9110 §7.6.3).
const PSEUDONYM: HeaderValue = HeaderValue::from_static("1.1 genkan");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const TE_OPTION: HeaderValue = HeaderValue::from_static("te");

/// How many headers of ours a request can get: grown once, not at every few.
const OWN_HEADERS_MAX: usize = 16;

/// What passes of a request, beyond what always does.
struct Passing<'a> {
    /// What earlier hops said, for the peer is trusted.
    forwarded: bool,
    /// The caller's credentials: nobody looked at them here, so they are meant for the upstream.
    credentials: bool,
    /// Headers that name another target.
    targets: &'a [HeaderName],
    /// The header of the platform's own credential, folded: none passes beside it.
    own: Option<Cow<'a, str>>,
}

/// Makes a request's headers what an upstream may see. `credential`: the platform's own.
pub(super) fn prepare<B>(
    request: &mut Request<B>,
    client: &Client,
    permit: &Permit<'_>,
    credential: Option<&UpstreamCredential>,
    id: &RequestId,
) {
    let host = host_value(request.headers(), request.uri());
    let headers = request.headers_mut();
    let wants_trailers = headers.get(TE).is_some_and(|te| te == TRAILERS);
    let passing = Passing {
        forwarded: client.trusted,
        credentials: permit.caller().is_none(),
        targets: &permit.route().config.keep_headers,
        own: credential.map(|own| fold(own.header.as_str())),
    };
    // A key of ours is removed wherever a caller put it. Of cookies, below, the others stay.
    remove(headers, |name, value| {
        !passing.passes(name.as_str())
            || key::is_in(value.as_bytes()) && *name != COOKIE
            || key::is_in(name.as_str().as_bytes())
    });
    if passing.credentials {
        remove_encoded_keys(headers);
    }
    cookies::remove_own(headers);
    headers.reserve(OWN_HEADERS_MAX);
    let keeps_host = passing.targets.contains(&FORWARDED_HOST);
    set_origin(headers, client, host, keeps_host);
    if wants_trailers {
        headers.insert(TE, TRAILERS);
        headers.insert(CONNECTION, TE_OPTION);
    }
    headers.insert(REQUEST_ID, id.to_header());
    headers.append(VIA, PSEUDONYM);
    if let Some(caller) = permit.caller() {
        for (name, value) in caller.identity() {
            headers.insert(name, value.clone());
        }
    }
    if let Some(own) = credential {
        headers.insert(&own.header, own.value.clone());
    }
}

/// Takes from an answer what belongs to the hop behind us; `Alt-Svc` (RFC 7838) too, which says where else the
/// upstream is: a client would go there, with its key, in the name of ours.
pub(super) fn prepare_answer(headers: &mut HeaderMap) {
    remove(headers, |name, _value| {
        is_hop_by_hop(name.as_str()) || *name == ALT_SVC
    });
}

/// Whether a trailer field may pass: none that frames, routes, or says who somebody is
/// (RFC 9110 §6.5.1).
pub(super) fn is_safe_trailer(name: &str) -> bool {
    let name = fold(name);
    !is_hop_by_hop(&name)
        && !is_own(&name)
        && !is_credential(&name)
        && !says_where_from(&name)
        && !names_another_target(&name)
        && !matches!(
            &*name,
            "content-length" | "host" | "content-encoding" | "cookie" | "set-cookie"
        )
        && !is_session_name(&name)
}

/// Deletes what `unwanted` names, and what `Connection` nominates.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName, &HeaderValue) -> bool) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        // `Connection: host` would take away what the route was chosen by.
        .filter(|name| !matches!(*name, HOST | CONTENT_LENGTH))
        .collect();
    let unwanted: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, value)| unwanted(name, value))
        .map(|(name, _value)| name.clone())
        .collect();
    for name in nominated.iter().chain(&unwanted) {
        headers.remove(name);
    }
}

impl Passing<'_> {
    /// Whether a header reaches the upstream. A name that another reader could take for one of those that
    /// matter here does not, whatever may pass under its right name.
    fn passes(&self, name: &str) -> bool {
        match fold(name) {
            Cow::Borrowed(name) => {
                !is_hop_by_hop(name)
                    && !is_own(name)
                    && (self.credentials || !is_credential(name))
                    && (self.forwarded || !says_where_from(name))
                    && (!names_another_target(name) || self.targets.iter().any(|it| it == name))
                    && !self.is_own_credential(name)
            }
            Cow::Owned(name) => is_safe_trailer(&name) && !self.is_own_credential(&name),
        }
    }

    fn is_own_credential(&self, name: &str) -> bool {
        self.own.as_deref().is_some_and(|own| own == name)
    }
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// What genkan says of the caller and of the request, and `Expect`, which it answers.
fn is_own(name: &str) -> bool {
    matches!(name, "expect" | "x-request-id") || name.starts_with(OWN_PREFIX)
}

fn is_credential(name: &str) -> bool {
    matches!(name, API_KEY | "authorization")
}

/// Removes a credential in which a key of ours stands in base64, as in `Basic` (RFC 7617): on a path that
/// needs no key, a caller may bring one all the same, and it is not the upstream's to see.
fn remove_encoded_keys(headers: &mut HeaderMap) {
    for name in [HeaderName::from_static(API_KEY), AUTHORIZATION] {
        if headers.get_all(&name).iter().any(holds_encoded_key) {
            headers.remove(name);
        }
    }
}

fn holds_encoded_key(value: &HeaderValue) -> bool {
    // Both alphabets (RFC 4648 §§4 and 5) as one. What is in neither, padding among it, ends a word.
    let text: Vec<u8> = value
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    text.split(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'+' | b'/'))
        .filter(|word| word.len() > key::LENGTH)
        .flat_map(decodings)
        .any(|text| key::is_in(&text))
}

/// What a word says wherever in it the encoded text begins: something else may stand before.
fn decodings(word: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&STANDARD, config);
    (0..4).filter_map(move |start| {
        let part = word.get(start..)?;
        // One letter alone has six bits, and stands for nothing.
        let whole = part.len() - usize::from(part.len() % 4 == 1);
        engine.decode(part.get(..whole)?).ok()
    })
}

/// Where the request came from: rebuilt for a stranger, continued for a trusted proxy.
///
/// What a proxy does not write itself it passes on as the client wrote it. So of a list the last entry counts;
/// a received `Forwarded` is continued only where it is what says where the client is; and the client's host is
/// that of `Host`, by which the route was chosen, unless the route keeps `X-Forwarded-Host`.
fn set_origin(
    headers: &mut HeaderMap,
    client: &Client,
    host: Option<HeaderValue>,
    keeps_host: bool,
) {
    let told = |name| client.trusted.then(|| last(headers, name)).flatten();
    let scheme = told(FORWARDED_PROTO).filter(is_scheme);
    let named = told(FORWARDED_HOST)
        .filter(|it| keeps_host && it.to_str().is_ok_and(is_authority))
        .or_else(|| host.clone());
    if client.trusted {
        if headers.contains_key(FORWARDED_FOR) {
            headers.insert(FORWARDED, client.forwarded.clone());
        } else {
            extend(headers, FORWARDED, &client.forwarded);
        }
        extend(headers, FORWARDED_FOR, &client.forwarded_for);
    } else {
        headers.insert(FORWARDED_FOR, client.forwarded_for.clone());
        headers.insert(FORWARDED, client.forwarded.clone());
    }
    let scheme = scheme.unwrap_or_else(|| client.forwarded_proto.clone());
    headers.insert(FORWARDED_PROTO, scheme);
    match named {
        Some(named) => headers.insert(FORWARDED_HOST, named),
        None => headers.remove(FORWARDED_HOST),
    };
    if let Some(host) = host {
        headers.insert(HOST, host);
    }
}

/// The last entry of a list over all lines of a header: the proxy before us wrote it.
fn last(headers: &HeaderMap, name: HeaderName) -> Option<HeaderValue> {
    let line = headers.get_all(name).iter().next_back()?;
    let entry = line.as_bytes().rsplit(|byte| *byte == b',').next()?;
    let entry = entry.trim_ascii();
    if entry.len() == line.len() {
        return Some(line.clone());
    }
    HeaderValue::from_bytes(entry).ok()
}

/// What stands in `X-Forwarded-Proto`, for tunnels too.
fn is_scheme(value: &HeaderValue) -> bool {
    let known: [&[u8]; 4] = [b"http", b"https", b"ws", b"wss"];
    known
        .iter()
        .any(|it| it.eq_ignore_ascii_case(value.as_bytes()))
}

/// Appends a hop to a list that earlier hops began; several lines become one.
fn extend(headers: &mut HeaderMap, name: HeaderName, hop: &HeaderValue) {
    let mut list: Vec<u8> = Vec::new();
    for value in headers.get_all(&name).iter().chain([hop]) {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(value.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

/// The host as the client named it, without the dot at its end: what chose the route is what arrives.
/// HTTP/2 has it in the target only.
fn host_value(headers: &HeaderMap, uri: &Uri) -> Option<HeaderValue> {
    let named = || {
        uri.authority()
            .and_then(|it| HeaderValue::from_str(it.as_str()).ok())
    };
    let value = headers.get(HOST).cloned().or_else(named)?;
    let text = value.to_str().unwrap_or_default();
    let host = host_of(text);
    if !host.ends_with('.') {
        return Some(value);
    }
    let port = text.get(host.len()..).unwrap_or_default();
    HeaderValue::try_from(format!("{}{port}", without_dot(host))).ok()
}

/// Whether an answer says in two ways how long it is: a reader behind us could choose the other one.
pub(super) fn is_framed_twice(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING)
}

/// Asks for, or confirms, an upgrade (RFC 9110 §7.8).
pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}
