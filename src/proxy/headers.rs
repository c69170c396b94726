//! What of a request's and an answer's headers is passed on.
//!
//! **Invariant.** Towards an upstream no credential of the caller, no identity that we did not set,
//! nothing that belongs to one hop only (RFC 9110 §7.6.1), and no `Forwarded` of a stranger: deleted
//! without asking, then ours are set. Last, so that `Connection: x-genkan-user-id` strips nothing.

use http::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use super::client::Client;
use super::mcp_sessions::is_session_name;
use crate::record::request_id::RequestId;
use crate::route::Permit;

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

/// Makes a request's headers what an upstream may see.
pub(super) fn prepare<B>(
    request: &mut Request<B>,
    client: &Client,
    permit: &Permit<'_>,
    id: &RequestId,
) {
    let host = host_value(request.headers(), request.uri());
    let headers = request.headers_mut();
    let wants_trailers = headers.get(TE).is_some_and(|te| te == TRAILERS);
    remove(headers, |name| is_stripped(name, client.trusted));
    headers.reserve(OWN_HEADERS_MAX);
    set_origin(headers, client, host);
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
    if let Some(own) = &permit.route().config.upstream_credential {
        headers.insert(&own.header, own.value.clone());
    }
}

/// Takes from an answer what belongs to the hop behind us.
pub(super) fn prepare_answer(headers: &mut HeaderMap) {
    remove(headers, is_hop_by_hop);
}

/// Whether a trailer field may pass: none that frames, routes, or says who somebody is
/// (RFC 9110 §6.5.1).
pub(super) fn is_safe_trailer(name: &str) -> bool {
    !is_hop_by_hop(name)
        && !is_reserved(name)
        && !matches!(
            name,
            "content-length" | "host" | "expect" | "content-encoding" | "set-cookie"
        )
        && !is_session_name(name)
        && !name.starts_with("x-forwarded-")
}

/// Deletes what `unwanted` names, and what `Connection` nominates.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        // `Connection: host` would take away what the route was chosen by.
        .filter(|name| !matches!(*name, HOST | CONTENT_LENGTH))
        .collect();
    let unwanted: Vec<HeaderName> = headers
        .keys()
        .filter(|name| unwanted(name.as_str()))
        .cloned()
        .collect();
    for name in nominated.iter().chain(&unwanted) {
        headers.remove(name);
    }
}

fn is_stripped(name: &str, trusted: bool) -> bool {
    is_hop_by_hop(name) || is_reserved(name) || (!trusted && is_forwarded(name))
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

fn is_forwarded(name: &str) -> bool {
    matches!(name, "forwarded" | "x-real-ip") || name.starts_with("x-forwarded-")
}

/// Credentials, `Expect` (answered here), and every name that another reader could take for one of
/// ours: CGI and many frameworks fold `-`, `_` and `.` into one.
fn is_reserved(name: &str) -> bool {
    if matches!(
        name,
        "x-api-key" | "authorization" | "expect" | "x-request-id"
    ) {
        return true;
    }
    if name.bytes().any(|byte| matches!(byte, b'_' | b'.')) {
        let folded = name.replace(['_', '.'], "-");
        return folded.starts_with(OWN_PREFIX)
            || is_forwarded(&folded)
            || matches!(
                &*folded,
                "x-api-key" | "content-length" | "transfer-encoding"
            );
    }
    name.starts_with(OWN_PREFIX)
}

/// Where the request came from: rebuilt for a stranger, continued for a trusted proxy.
fn set_origin(headers: &mut HeaderMap, client: &Client, host: Option<HeaderValue>) {
    if client.trusted {
        extend(headers, FORWARDED_FOR, &client.forwarded_for);
        extend(headers, FORWARDED, &client.forwarded);
        headers
            .entry(FORWARDED_PROTO)
            .or_insert_with(|| client.forwarded_proto.clone());
        if let Some(host) = &host {
            headers
                .entry(FORWARDED_HOST)
                .or_insert_with(|| host.clone());
        }
    } else {
        headers.insert(FORWARDED_FOR, client.forwarded_for.clone());
        headers.insert(FORWARDED, client.forwarded.clone());
        headers.insert(FORWARDED_PROTO, client.forwarded_proto.clone());
        if let Some(host) = &host {
            headers.insert(FORWARDED_HOST, host.clone());
        }
    }
    if let Some(host) = host {
        headers.insert(HOST, host);
    }
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

/// The host as the client named it. HTTP/2 has it in the target only.
fn host_value(headers: &HeaderMap, uri: &Uri) -> Option<HeaderValue> {
    let named = || {
        uri.authority()
            .and_then(|it| HeaderValue::from_str(it.as_str()).ok())
    };
    headers.get(HOST).cloned().or_else(named)
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
