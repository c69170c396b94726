//! What a refusal says: status, problem details, or a JSON-RPC error.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use super::RequestContext;
use super::sse_error::ERROR_CODE;
use crate::model::key;
use crate::model::refusal::{BadRequest, PathFault, Refusal};
use crate::model::scope::Scope;
use crate::route::path;

/// After this long a client may try again when the store or the lease is in trouble. The follower is
/// back within a second of the store.
const RETRY_AFTER_TROUBLE_S: u32 = 1;
/// The longest sequence of a path that is repeated to the caller, in bytes.
const SEQUENCE_BYTES_MAX: usize = 40;
/// For clients that try OAuth after a 401, and for people who read their logs.
const MCP_CREDENTIAL_DETAIL: &str = "This server takes API keys, not OAuth. Send one as `Authorization: Bearer KEY` or \
    `x-api-key: KEY`. If you sent one, it is unknown, expired or revoked: create a new one, or ask the administrator of \
    your organization.";

/// The body of an answer that refuses: RFC 9457 problem details; or, where the client asked in JSON-RPC, a JSON-RPC
/// error.
pub(super) fn body(refusal: Refusal, context: &RequestContext<'_>) -> Bytes {
    let detail = detail(refusal, context);
    let is_discovery = refusal == Refusal::OAuthAbsent;
    let problem = Problem {
        r#type: "about:blank",
        title: title(refusal),
        status: status(refusal).as_u16(),
        detail: &detail,
        request_id: context.record.id().as_str(),
        error: is_discovery.then_some("not_supported"),
        error_description: is_discovery.then_some(MCP_CREDENTIAL_DETAIL),
    };
    let text = if is_jsonrpc(refusal, context) {
        serde_json::to_string(&ErrorResponse {
            jsonrpc: "2.0",
            id: None,
            error: Error {
                code: ERROR_CODE,
                message: format!("{}. {detail}", problem.title),
                data: problem,
            },
        })
    } else {
        serde_json::to_string(&problem)
    };
    // Texts and numbers always become JSON.
    let mut text = text.unwrap_or_default();
    text.push('\n');
    text.into()
}

/// The media type of [`body`].
pub(super) fn media_type(refusal: Refusal, context: &RequestContext<'_>) -> &'static str {
    if is_jsonrpc(refusal, context) {
        "application/json"
    } else {
        "application/problem+json"
    }
}

/// A client that looks for OAuth sends JSON too, but none of JSON-RPC.
fn is_jsonrpc(refusal: Refusal, context: &RequestContext<'_>) -> bool {
    context.is_jsonrpc && refusal != Refusal::OAuthAbsent
}

/// The status of a refusal.
pub(super) const fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::BadRequest(_) | Refusal::CredentialConflict => StatusCode::BAD_REQUEST,
        Refusal::CredentialAbsent
        | Refusal::CredentialMalformed
        | Refusal::KeyUnknown
        | Refusal::KeyRevoked
        | Refusal::KeyExpired
        | Refusal::KeyReplaced => StatusCode::UNAUTHORIZED,
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
        | Refusal::LookupsExhausted
        | Refusal::DescriptorsExhausted
        | Refusal::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// What happened, for the caller. The same for every key that does not open: whether it is unknown,
/// revoked or expired is nobody's business who does not hold it.
pub(super) const fn title(refusal: Refusal) -> &'static str {
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
        | Refusal::KeyExpired
        | Refusal::KeyReplaced => "The API key is not valid",
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
        Refusal::DescriptorsExhausted => "The gateway has no connection left for this request",
        Refusal::ShuttingDown => "The gateway is shutting down",
        Refusal::UpstreamUnreachable => "The service behind the gateway cannot be reached",
        Refusal::UpstreamFailed => "The service behind the gateway broke off",
        Refusal::UpstreamTimeout => "The service behind the gateway did not answer in time",
    }
}

/// What the caller can do about it; as silent about keys that do not open as [`title`]. It says by itself what headers
/// say too: agents and log files have no headers.
fn detail(refusal: Refusal, context: &RequestContext<'_>) -> Cow<'static, str> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others say the same of every request"
    )]
    match refusal {
        Refusal::BadRequest(BadRequest::Path(fault)) => path_detail(fault, context.uri.path()),
        refusal if refusal.is_about_the_credential() && context.speaks_mcp() => {
            MCP_CREDENTIAL_DETAIL.into()
        }
        Refusal::OAuthAbsent => MCP_CREDENTIAL_DETAIL.into(),
        _ => match retry_after_s(refusal) {
            Some(1) => format!("{} Try again after 1 second.", plain_detail(refusal)).into(),
            Some(seconds) => format!(
                "{} Try again after {seconds} seconds.",
                plain_detail(refusal)
            )
            .into(),
            None => plain_detail(refusal).into(),
        },
    }
}

/// Names the sequence of bytes for which a path is refused, and where it stands.
fn path_detail(fault: PathFault, path: &str) -> Cow<'static, str> {
    let (at, length) = (usize::from(fault.at), usize::from(fault.length));
    let (what, advice) = fault.kind.as_str();
    let sequence = path.get(at..at.saturating_add(length)).unwrap_or_default();
    let is_shown = length > 0
        && length <= SEQUENCE_BYTES_MAX
        && !key::is_in(path::undisguised(sequence).as_bytes());
    let sequence = if is_shown {
        format!(" `{}`", sequence.escape_debug())
    } else {
        String::new()
    };
    format!("The path can be read in two ways: {what}{sequence} at byte {at}. {advice}").into()
}

/// What is said of every request that is refused for this reason, whatever it was.
const fn plain_detail(refusal: Refusal) -> &'static str {
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
        | Refusal::KeyExpired
        | Refusal::KeyReplaced => {
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
        Refusal::OAuthAbsent => MCP_CREDENTIAL_DETAIL,
        Refusal::RateExceeded { .. } => "The key has sent more requests than it may in one second.",
        Refusal::StoreUnavailable | Refusal::LeaseExpired | Refusal::LookupsExhausted => {
            "This says nothing about the key."
        }
        Refusal::ShuttingDown => {
            "If the request was forwarded, it may have been carried out. It was not sent again."
        }
        Refusal::AnswerWithheld => {
            "The request was forwarded and may have been carried out. It was not sent again."
        }
        Refusal::DescriptorsExhausted | Refusal::UpstreamUnreachable => {
            "The request was not delivered."
        }
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

/// How long a client should wait before it tries again, in seconds. `None`: waiting mends nothing.
pub(super) const fn retry_after_s(refusal: Refusal) -> Option<u32> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are not mended by waiting"
    )]
    match refusal {
        Refusal::RateExceeded { retry_after_s } => Some(retry_after_s),
        Refusal::StoreUnavailable
        | Refusal::LeaseExpired
        | Refusal::AnswerWithheld
        | Refusal::LookupsExhausted
        | Refusal::DescriptorsExhausted
        | Refusal::ShuttingDown => Some(RETRY_AFTER_TROUBLE_S),
        _ => None,
    }
}

/// RFC 9457 §3.1, in the order in which people read it.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
    /// OAuth clients want these two at the top (RFC 7591 §3.2.2), so discovery gets them.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<&'a str>,
}

/// JSON-RPC 2.0 §5.
#[derive(Serialize)]
struct ErrorResponse<'a> {
    jsonrpc: &'a str,
    /// Null: the body in which it stands was not read.
    id: Option<u64>,
    error: Error<'a>,
}

/// JSON-RPC 2.0 §5.1. Clients show the message alone, so the detail is in it.
#[derive(Serialize)]
struct Error<'a> {
    code: i32,
    message: String,
    data: Problem<'a>,
}
