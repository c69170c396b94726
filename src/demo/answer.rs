//! The few shapes that the demo's answers have.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use serde_json::{Value, json};

use super::Body;

/// A JSON document.
pub(super) fn json(status: StatusCode, document: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(document.to_string())).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// A status and nothing else.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = status;
    response
}

/// What went wrong, as the Genesis API says it.
pub(super) fn failure(status: StatusCode, message: &str) -> Response<Body> {
    json(status, &json!({ "success": false, "error": message }))
}

/// 405 with the methods that would do.
pub(super) fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = failure(
        StatusCode::METHOD_NOT_ALLOWED,
        "This method is not allowed here: see the Allow header",
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
