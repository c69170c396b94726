//! `/openapi.json`, and `/docs`: a page that shows it and loads nothing from elsewhere.

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use utoipa::Modify;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::caller::SESSION_COOKIE;

/// The page needs its own script and style, and the document.
const POLICY: &str =
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// How a caller shows who they are.
pub(super) struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        for (name, scheme) in [
            ("key", SecurityScheme::Http(bearer)),
            (
                "header_key",
                SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key"))),
            ),
            (
                "session",
                SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(SESSION_COOKIE))),
            ),
        ] {
            components.add_security_scheme(name, scheme);
        }
    }
}

/// The document never changes while a process runs.
pub(super) fn router(document: &OpenApi) -> Router {
    let json = Bytes::from(serde_json::to_vec(document).unwrap_or_default());
    Router::new()
        .route(
            "/openapi.json",
            get(async move || ([(CONTENT_TYPE, "application/json")], json)),
        )
        .route(
            "/docs",
            get(async || page(include_str!("static/docs.html"), "text/html; charset=utf-8")),
        )
        .route(
            "/docs.css",
            get(async || page(include_str!("static/docs.css"), "text/css")),
        )
        .route(
            "/docs.js",
            get(async || page(include_str!("static/docs.js"), "text/javascript")),
        )
}

fn page(text: &'static str, content_type: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}
