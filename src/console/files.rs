//! Style and script, from this binary.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use axum::routing::get;

/// They change with the binary only; a browser asks again after a minute.
const CACHED: &str = "public, max-age=60";

pub(super) fn router() -> Router {
    Router::new()
        .route(
            "/static/console.css",
            get(async || file(include_str!("static/console.css"), "text/css")),
        )
        .route(
            "/static/console.js",
            get(async || file(include_str!("static/console.js"), "text/javascript")),
        )
        .route(
            "/static/genkan.svg",
            get(async || file(include_str!("static/genkan.svg"), "image/svg+xml")),
        )
}

fn file(text: &'static str, content_type: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, CACHED),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}
