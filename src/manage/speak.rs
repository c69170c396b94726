//! How refusals are sent: in the caller's language, and out of every cache.

use axum::extract::Request;
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::{Code, Problem};
use crate::model::language::Language;

/// Seconds after which a client should ask again when the store did not answer.
const RETRY_AFTER_S: &str = "1";
const REQUEST_ID: &str = "x-request-id";
/// Where everything was revoked by a `DELETE` once.
const EVERY_KEY: &str = "/api/v1/organization/keys";

/// What axum says to a method that a path does not have.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    if method == Method::DELETE && uri.path() == EVERY_KEY {
        return Code::UseRevokeAll.into();
    }
    Code::MethodNotAllowed.into()
}

/// Puts every refusal into the caller's language; and keeps every answer out of caches.
pub(super) async fn speak(request: Request, next: Next) -> Response {
    let asked = request.headers().get(ACCEPT_LANGUAGE);
    let language = asked
        .and_then(|value| value.to_str().ok())
        .map_or(Language::En, Language::of_accept_language);
    // The listener named the request.
    let id = request.headers().get(REQUEST_ID);
    let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let mut response = next.run(request).await;
    if let Some(problem) = problem_of(&mut response) {
        let (parts, _empty) = response.into_parts();
        let mut body = problem.body(language);
        body.request_id = id;
        let body = serde_json::to_vec(&body).unwrap_or_default();
        response = Response::from_parts(parts, body.into());
        let headers = response.headers_mut();
        headers.remove(axum::http::header::CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, literal("application/problem+json"));
        headers.insert(CONTENT_LANGUAGE, literal(language.as_str()));
        headers.insert(VARY, literal("accept-language"));
        if problem.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, literal("Bearer"));
        }
        if problem.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, literal(RETRY_AFTER_S));
        }
    }
    response
        .headers_mut()
        .insert(CACHE_CONTROL, literal("no-store"));
    response
}

fn literal(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}

/// The refusal in an answer: ours; or that of a layer which knows none of our words.
pub fn problem_of(response: &mut Response) -> Option<Problem> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Some(problem);
    }
    let csrf = response
        .extensions()
        .get::<tower_http::csrf::ProtectionError>();
    if csrf.is_some() {
        return Some(Code::CrossSite.into());
    }
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => Some(Code::MethodNotAllowed.into()),
        StatusCode::PAYLOAD_TOO_LARGE => Some(Code::TooLarge.into()),
        _other => None,
    }
}
