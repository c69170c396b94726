//! What an answer looks like: the only place where a refusal becomes status, headers and body.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::body::{Passing, ResponseBody};
use super::cors;
use super::forward::Answer;
use super::headers::REQUEST_ID;
use super::tunnel::Tunnel;
use super::{Proxy, Trail};
use crate::listen::watch::InFlight;
use crate::model::key;
use crate::model::refusal::Refusal;
use crate::model::scope::Scope;
use crate::route::path;

/// After this long a client may try again when the store or the lease is in trouble. The follower is
/// back within a second of the store.
const RETRY_AFTER_TROUBLE_S: u32 = 1;

impl Proxy {
    /// Passes an upstream's answer on.
    pub(super) fn relay(
        &self,
        answer: Answer,
        trail: Trail<'_>,
        in_flight: InFlight,
    ) -> Response<ResponseBody> {
        let Answer {
            mut response,
            connection,
            upgrade,
        } = answer;
        cors::let_pages_read(response.headers_mut(), &trail, cors::READABLE_IN_ANSWERS);
        let mut record = trail.record;
        record.set_status(response.status().as_u16());
        *response.version_mut() = http::Version::HTTP_11;
        if let Some(upgrade) = upgrade {
            let upstream = hyper::upgrade::on(&mut response);
            let idle = Duration::from_millis(self.shared.limits.tunnel_idle_timeout_ms);
            let tunnel = Tunnel::new(&upgrade.protocol, trail.open, idle, (record, in_flight));
            drop(
                self.tunnels
                    .spawn_local(tunnel.run(upgrade.client, upstream)),
            );
            return response.map(|_no_body| ResponseBody::nothing());
        }
        let is_event_stream = is_event_stream(&response);
        let is_plain = !response.headers().contains_key(CONTENT_ENCODING);
        let speaks_mcp = trail.route.is_some_and(|route| route.config.mcp);
        let passing = Passing {
            idle: (!is_event_stream)
                .then(|| Duration::from_millis(self.shared.limits.body_idle_timeout_ms)),
            connection,
            open: trail.open,
            is_mcp_events: is_event_stream && is_plain && speaks_mcp,
        };
        response.map(|body| ResponseBody::relay(body, passing, record, in_flight))
    }
}

fn is_event_stream<B>(response: &Response<B>) -> bool {
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    content_type.is_some_and(|it| {
        it.get(..17)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// The status of a refusal.
const fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::BadRequest(_) | Refusal::CredentialConflict => StatusCode::BAD_REQUEST,
        Refusal::CredentialAbsent
        | Refusal::CredentialMalformed
        | Refusal::KeyUnknown
        | Refusal::KeyRevoked
        | Refusal::KeyExpired => StatusCode::UNAUTHORIZED,
        Refusal::ScopeMissing(_) | Refusal::RouteAmbiguous | Refusal::OriginRefused => {
            StatusCode::FORBIDDEN
        }
        Refusal::NoRoute | Refusal::SessionOfAnother | Refusal::OAuthAbsent => {
            StatusCode::NOT_FOUND
        }
        Refusal::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::BodyTimeout | Refusal::TunnelIdle => StatusCode::REQUEST_TIMEOUT,
        Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::TargetTooLong => StatusCode::URI_TOO_LONG,
        Refusal::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
        Refusal::RateExceeded { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::UpstreamUnreachable | Refusal::UpstreamFailed => StatusCode::BAD_GATEWAY,
        Refusal::StoreUnavailable
        | Refusal::LeaseExpired
        | Refusal::AnswerWithheld
        | Refusal::LookupsExhausted => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// What happened, for the caller. The same for every key that does not open: whether it is unknown,
/// revoked or expired is nobody's business who does not hold it.
const fn title(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::BadRequest(_) => "The request is malformed",
        Refusal::MethodNotAllowed => "The method is not forwarded",
        Refusal::ExpectationFailed => "The expectation cannot be met",
        Refusal::TargetTooLong => "The request target is too long",
        Refusal::HeadTooLarge => "The request headers are too large",
        Refusal::BodyTooLarge => "The request body is too large",
        Refusal::BodyTimeout => "The request body stopped coming",
        Refusal::TunnelIdle => "The tunnel was idle for too long",
        Refusal::NoRoute => "Nothing is served here",
        Refusal::CredentialAbsent => "An API key is required",
        Refusal::CredentialConflict => "The request has more than one credential",
        Refusal::CredentialMalformed
        | Refusal::KeyUnknown
        | Refusal::KeyRevoked
        | Refusal::KeyExpired => "The API key is not valid",
        Refusal::ScopeMissing(_) => "The API key may not do this",
        Refusal::RouteAmbiguous => "The path could be taken for that of another route",
        Refusal::OriginRefused => "The origin is not accepted",
        Refusal::SessionOfAnother => "The MCP session does not exist",
        Refusal::OAuthAbsent => "OAuth is not offered here",
        Refusal::RateExceeded { .. } => "Too many requests with this API key",
        Refusal::StoreUnavailable
        | Refusal::LeaseExpired
        | Refusal::AnswerWithheld
        | Refusal::LookupsExhausted => "The API key cannot be checked at the moment",
        Refusal::UpstreamUnreachable => "The service behind the gateway cannot be reached",
        Refusal::UpstreamFailed => "The service behind the gateway broke off",
        Refusal::UpstreamTimeout => "The service behind the gateway did not answer in time",
    }
}

/// What the caller can do about it; as silent about keys that do not open as [`title`].
const fn detail(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::BadRequest(what) => what.as_str(),
        Refusal::MethodNotAllowed => "CONNECT and TRACE are not forwarded.",
        Refusal::ExpectationFailed => "Only `Expect: 100-continue` is understood.",
        Refusal::TargetTooLong => "Shorten the path or the query.",
        Refusal::HeadTooLarge => "Send fewer or shorter headers.",
        Refusal::BodyTooLarge => "Send a smaller body.",
        Refusal::BodyTimeout => "Nothing of the body came for too long.",
        Refusal::TunnelIdle => "Nothing was sent for too long.",
        Refusal::NoRoute => "No route of this gateway has this host and path. Check the address.",
        Refusal::CredentialAbsent => "Send it as `x-api-key: KEY` or `Authorization: Bearer KEY`.",
        Refusal::CredentialConflict => {
            "Send the key once, in `x-api-key` or in `Authorization: Bearer`."
        }
        Refusal::CredentialMalformed
        | Refusal::KeyUnknown
        | Refusal::KeyRevoked
        | Refusal::KeyExpired => {
            "The key is unknown, expired or revoked. Create a new one, or ask the administrator of \
             your organization."
        }
        Refusal::ScopeMissing(scope) => scope_detail(scope),
        Refusal::RouteAmbiguous => {
            "Without parameters, in lower case, and without blanks or dots at the end of a segment, the \
             path belongs to a route that this caller may not use. Send the path in its plain form."
        }
        Refusal::OriginRefused => "Pages of this origin may not use this route.",
        Refusal::SessionOfAnother => "Initialize a new session.",
        Refusal::OAuthAbsent => "Send an API key as `Authorization: Bearer KEY`.",
        Refusal::RateExceeded { .. } => "Try again after the time in `Retry-After`.",
        Refusal::StoreUnavailable | Refusal::LeaseExpired | Refusal::LookupsExhausted => {
            "This says nothing about the key. Try again after the time in `Retry-After`."
        }
        Refusal::AnswerWithheld => {
            "The request was forwarded and may have been carried out. It was not sent again."
        }
        Refusal::UpstreamUnreachable => "The request was not delivered.",
        Refusal::UpstreamFailed | Refusal::UpstreamTimeout => {
            "The request may have been carried out. It was not sent again."
        }
    }
}

const fn scope_detail(scope: Scope) -> &'static str {
    match scope {
        Scope::Api => "The key lacks the scope `api`.",
        Scope::Mcp => "The key lacks the scope `mcp`.",
        Scope::Manage => "The key lacks the scope `manage`.",
    }
}

/// The challenge that belongs to a refusal (RFC 6750 §3): bare for a request without a credential,
/// `invalid_token` for a key that does not open, `insufficient_scope` for one that may not.
fn challenge(refusal: Refusal, trail: &Trail<'_>) -> Option<HeaderValue> {
    let bare = trail.route?.challenge.clone();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these have to do with credentials"
    )]
    let error = match refusal {
        Refusal::CredentialAbsent => return Some(bare),
        Refusal::CredentialMalformed
        | Refusal::KeyUnknown
        | Refusal::KeyRevoked
        | Refusal::KeyExpired => "error=\"invalid_token\"".to_owned(),
        Refusal::CredentialConflict => "error=\"invalid_request\"".to_owned(),
        Refusal::ScopeMissing(scope) => format!("error=\"insufficient_scope\", scope=\"{scope}\""),
        _ => return None,
    };
    let bare = bare.to_str().ok()?;
    HeaderValue::try_from(format!("{bare}, {error}")).ok()
}

const fn retry_after_s(refusal: Refusal) -> Option<u32> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are not mended by waiting"
    )]
    match refusal {
        Refusal::RateExceeded { retry_after_s } => Some(retry_after_s),
        Refusal::StoreUnavailable
        | Refusal::LeaseExpired
        | Refusal::AnswerWithheld
        | Refusal::LookupsExhausted => Some(RETRY_AFTER_TROUBLE_S),
        _ => None,
    }
}

/// Answers a preflight request (Fetch §3.3.2). A body of it is not read.
pub(super) fn allow(
    headers: HeaderMap,
    trail: Trail<'_>,
    in_flight: InFlight,
) -> Response<ResponseBody> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, trail.record.id().to_header());
    if trail.body_expected {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let mut record = trail.record;
    record.set_status(StatusCode::NO_CONTENT.as_u16());
    response.map(|()| ResponseBody::own(Bytes::new(), record, in_flight))
}

/// Answers a refused request: RFC 9457 problem details, with the request's name.
pub(super) fn refuse(
    refusal: Refusal,
    trail: Trail<'_>,
    in_flight: InFlight,
) -> Response<ResponseBody> {
    let status = status(refusal);
    let mut response = Response::new(());
    *response.status_mut() = status;
    set_headers(response.headers_mut(), refusal, &trail);
    let text = if trail.method == Method::HEAD {
        Bytes::new()
    } else {
        problem(refusal, &trail)
    };
    let mut record = trail.record;
    record.set_status(status.as_u16());
    record.refuse(refusal, &shown(trail.uri.path()));
    response.map(|()| ResponseBody::own(text, record, in_flight))
}

/// A refused path for the log: as it came, unless a key stands in it under escapes, which nothing would
/// hide there.
fn shown(path: &str) -> Cow<'_, str> {
    let plain = path::undisguised(path);
    if plain.contains(key::PREFIX) {
        plain
    } else {
        Cow::Borrowed(path)
    }
}

fn set_headers(headers: &mut http::HeaderMap, refusal: Refusal, trail: &Trail<'_>) {
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, trail.record.id().to_header());
    if let Some(challenge) = challenge(refusal, trail) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = retry_after_s(refusal) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal == Refusal::MethodNotAllowed {
        let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    cors::let_pages_read(headers, trail, cors::READABLE_IN_REFUSALS);
    if closes(refusal, trail) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// A request that two readers could understand differently, or whose body nobody reads, is the last on
/// its connection: what follows it there could be part of it.
const fn closes(refusal: Refusal, trail: &Trail<'_>) -> bool {
    trail.body_expected
        || matches!(refusal, Refusal::BadRequest(_) | Refusal::MethodNotAllowed)
        || matches!(refusal, Refusal::ExpectationFailed | Refusal::HeadTooLarge)
}

/// RFC 9457 §3. OAuth clients want `error` at the top (RFC 7591 §3.2.2), so discovery gets it too.
fn problem(refusal: Refusal, trail: &Trail<'_>) -> Bytes {
    let mut body = serde_json::json!({
        "type": "about:blank",
        "title": title(refusal),
        "status": status(refusal).as_u16(),
        "detail": detail(refusal),
        "request_id": trail.record.id().as_str(),
    });
    if refusal == Refusal::OAuthAbsent
        && let Some(members) = body.as_object_mut()
    {
        members.insert("error".to_owned(), "not_supported".into());
    }
    format!("{body}\n").into()
}
