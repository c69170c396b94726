//! What pages of other origins may ask and read (Cross-Origin Resource Sharing, Fetch §3.3), on routes
//! that name origins.
//!
//! **Invariant.** A preflight request is answered here, whatever else it brings, and never forwarded: it
//! comes without a key by its nature.

use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CONTENT_LANGUAGE,
    CONTENT_TYPE, ORIGIN, RANGE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use super::RequestContext;
use crate::auth::credential::API_KEY;
use crate::model::refusal::Refusal;
use crate::route::Route;

/// How long a browser may remember the answer to a preflight: a page asks at most once in ten minutes for
/// each kind of request, and an origin that is taken out of the configuration asks again within them.
const MAX_AGE_S: u32 = 600;

/// How many names of headers in a preflight request are looked at: pages send a few, and each is compared with
/// those before it. A browser does not send what is not named in the answer.
const NAMES_MAX: usize = 64;

/// Every method that is forwarded and that a page can send.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// By what an answer to a preflight differs.
const VARY_OF_PREFLIGHT: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
);
const EVERY_ORIGIN: HeaderValue = HeaderValue::from_static("*");
const VARY_OF_ANSWER: HeaderValue = HeaderValue::from_static("Origin");

/// Where a stream was cut off, the page continues it from there.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What of an upstream's answer a page may read beyond the safelisted (Fetch §3.3.3).
pub(super) const READABLE_IN_ANSWERS: HeaderValue =
    HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id");
/// What of a refusal.
pub(super) const READABLE_IN_REFUSALS: HeaderValue =
    HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id, Retry-After, X-Request-Id");

/// Whether a browser asks beforehand whether it may ask (Fetch §3.3.2).
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight request on a route that names origins.
///
/// # Errors
/// [`Refusal::OriginRefused`] for an origin that is not among them.
pub(super) fn answer_preflight(route: &Route, asked: &HeaderMap) -> Result<HeaderMap, Refusal> {
    let origin = accepted_origin(route, asked).ok_or(Refusal::OriginRefused)?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(allowed) = allowed_headers(route, asked) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(MAX_AGE_S));
    headers.insert(VARY, VARY_OF_PREFLIGHT);
    Ok(headers)
}

/// The one origin of a request, if the route names it.
pub(super) fn accepted_origin(route: &Route, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) if route.accepts_origin(origin.as_bytes()) => Some(origin.clone()),
        _ => None,
    }
}

/// Whether a request to an MCP route comes from a page that may speak to it, or from no page at all. A
/// page elsewhere could otherwise reach a local server by rebinding its own name (MCP, Transports,
/// Security Warning); then its `Origin` and the request's `Host` are equal, which says nothing.
pub(super) fn is_origin_allowed(route: &Route, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => {
            let origin = origin.as_bytes();
            route.is_own_origin(origin) || route.accepts_origin(origin)
        }
        _ => false,
    }
}

/// Lets a page of an accepted origin read an answer, and which of its headers; what an upstream says of
/// this itself stays. Answers that can differ have `Vary`.
pub(super) fn let_pages_read(
    headers: &mut HeaderMap,
    context: &RequestContext<'_>,
    readable: HeaderValue,
) {
    let names_origins = |route: &Route| !route.config.cors_origins.is_empty();
    if !context.route.is_some_and(names_origins) {
        return;
    }
    if !varies_by_origin(headers) {
        headers.append(VARY, VARY_OF_ANSWER);
    }
    if let Some(origin) = &context.cors_origin {
        // Of every origin, never one by name: beside an upstream's Allow-Credentials that would let each of them read
        // what is a user's (Fetch §3.3.5).
        let every = context.route.is_some_and(Route::accepts_every_origin);
        headers
            .entry(ACCESS_CONTROL_ALLOW_ORIGIN)
            .or_insert_with(|| if every { EVERY_ORIGIN } else { origin.clone() });
        headers
            .entry(ACCESS_CONTROL_EXPOSE_HEADERS)
            .or_insert(readable);
    }
}

fn varies_by_origin(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(VARY).iter().map(HeaderValue::as_bytes);
    lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
}

/// Of the headers that a page wants to send, the first [`NAMES_MAX`], those that it may; none if it wants none of them.
fn allowed_headers(route: &Route, asked: &HeaderMap) -> Option<HeaderValue> {
    let mut allowed: Vec<HeaderName> = Vec::new();
    let lines = asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    for name in names.take(NAMES_MAX) {
        if let Ok(name) = HeaderName::from_bytes(name.trim_ascii())
            && is_allowed(route, &name)
            && !allowed.contains(&name)
        {
            allowed.push(name);
        }
    }
    if allowed.is_empty() {
        return None;
    }
    let names: Vec<&str> = allowed.iter().map(HeaderName::as_str).collect();
    HeaderValue::try_from(names.join(", ")).ok()
}

/// Credentials, what MCP and event streams need, what Fetch lets pass anyhow in most of its forms
/// (§2.2.2, safelisted), and what the route names.
fn is_allowed(route: &Route, name: &HeaderName) -> bool {
    const ALWAYS: [HeaderName; 7] = [
        AUTHORIZATION,
        CONTENT_TYPE,
        LAST_EVENT_ID,
        ACCEPT,
        ACCEPT_LANGUAGE,
        CONTENT_LANGUAGE,
        RANGE,
    ];
    name == API_KEY
        || ALWAYS.contains(name)
        || name.as_str().starts_with("mcp-")
        || route.config.cors_headers.contains(name)
}
