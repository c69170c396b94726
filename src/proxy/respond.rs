//! What an answer looks like: the only place where a refusal becomes status, headers and body.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use hyper::ext::ReasonPhrase;

use super::body::{Passing, ResponseBody};
use super::cors;
use super::forward::Answer;
use super::headers::REQUEST_ID;
use super::problem;
use super::tunnel::Tunnel;
use super::{Proxy, RequestContext};
use crate::listen::watch::InFlight;
use crate::model::key;
use crate::model::refusal::Refusal;
use crate::route::path;

impl Proxy {
    /// Passes an upstream's answer on.
    pub(super) fn relay(
        &self,
        answer: Answer,
        context: RequestContext<'_>,
        in_flight: InFlight,
    ) -> Response<ResponseBody> {
        let Answer {
            mut response,
            connection,
            upgrade,
            calls,
        } = answer;
        cors::let_pages_read(response.headers_mut(), &context, cors::READABLE_IN_ANSWERS);
        let mut record = context.record;
        record.set_status(response.status().as_u16());
        *response.version_mut() = http::Version::HTTP_11;
        if let Some(upgrade) = upgrade {
            let upstream = hyper::upgrade::on(&mut response);
            let idle = Duration::from_millis(self.shared.limits.tunnel_idle_timeout_ms);
            let cut = self.cut.clone();
            let tunnel = Tunnel::new(
                &upgrade.protocol,
                context.open,
                (idle, cut),
                (record, in_flight),
            );
            drop(
                self.tunnels
                    .spawn_local(tunnel.run(upgrade.client, upstream)),
            );
            return response.map(|_no_body| ResponseBody::nothing());
        }
        let is_event_stream = is_event_stream(&response);
        let is_plain = !response.headers().contains_key(CONTENT_ENCODING);
        let passing = Passing {
            idle: (!is_event_stream)
                .then(|| Duration::from_millis(self.shared.limits.body_idle_timeout_ms)),
            connection,
            open: context.open,
            calls: calls.filter(|_calls| is_event_stream && is_plain),
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

/// The challenge that belongs to a refusal (RFC 6750 §3): bare for a request without a credential,
/// `invalid_token` for a key that does not open, `insufficient_scope` for one that may not.
fn challenge(refusal: Refusal, context: &RequestContext<'_>) -> Option<HeaderValue> {
    let bare = context.route?.challenge.clone();
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these have to do with credentials"
    )]
    let error = match refusal {
        Refusal::CredentialAbsent => return Some(bare),
        Refusal::CredentialMalformed
        | Refusal::KeyUnknown
        | Refusal::KeyRevoked
        | Refusal::KeyExpired
        | Refusal::KeyReplaced => "error=\"invalid_token\"".to_owned(),
        Refusal::CredentialConflict => "error=\"invalid_request\"".to_owned(),
        // An MCP client would ask for the scope by OAuth, which is not offered, and hide what is the matter.
        Refusal::ScopeMissing(_) if context.speaks_mcp() => return None,
        Refusal::ScopeMissing(scope) => format!("error=\"insufficient_scope\", scope=\"{scope}\""),
        _ => return None,
    };
    let bare = bare.to_str().ok()?;
    HeaderValue::try_from(format!("{bare}, {error}")).ok()
}

/// Answers a preflight request (Fetch §3.3.2). A body of it is not read.
pub(super) fn allow(
    headers: HeaderMap,
    context: RequestContext<'_>,
    in_flight: InFlight,
) -> Response<ResponseBody> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, context.record.id().to_header());
    if context.body_expected {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let mut record = context.record;
    record.set_status(StatusCode::NO_CONTENT.as_u16());
    response.map(|()| ResponseBody::own(Bytes::new(), record, in_flight))
}

/// Answers a refused request: RFC 9457 problem details; or a JSON-RPC error, where the client asked in JSON-RPC.
pub(super) fn refuse(
    refusal: Refusal,
    context: RequestContext<'_>,
    in_flight: InFlight,
) -> Response<ResponseBody> {
    let status = problem::status(refusal);
    let mut response = Response::new(());
    *response.status_mut() = status;
    set_headers(response.headers_mut(), refusal, &context);
    if context.speaks_mcp() {
        // Some MCP clients show the status line alone (RFC 9112 §4).
        let reason = ReasonPhrase::from_static(problem::title(refusal).as_bytes());
        response.extensions_mut().insert(reason);
    }
    let text = if context.method == Method::HEAD {
        Bytes::new()
    } else {
        problem::body(refusal, &context)
    };
    let mut record = context.record;
    record.set_status(status.as_u16());
    record.refuse(refusal, &shown(context.uri.path()));
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

fn set_headers(headers: &mut http::HeaderMap, refusal: Refusal, context: &RequestContext<'_>) {
    let media_type = problem::media_type(refusal, context);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, context.record.id().to_header());
    if let Some(challenge) = challenge(refusal, context) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(seconds) = problem::retry_after_s(refusal) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal == Refusal::MethodNotAllowed {
        let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    cors::let_pages_read(headers, context, cors::READABLE_IN_REFUSALS);
    if closes(refusal, context) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// A request that two readers could understand differently, or whose body nobody reads, is the last on
/// its connection: what follows it there could be part of it.
const fn closes(refusal: Refusal, context: &RequestContext<'_>) -> bool {
    context.body_expected
        || matches!(refusal, Refusal::BadRequest(_) | Refusal::MethodNotAllowed)
        || matches!(refusal, Refusal::ExpectationFailed | Refusal::HeadTooLarge)
}
