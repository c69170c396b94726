//! The console: pages on the admin listener where people manage keys, members and service accounts.
//!
//! Every page is made here from a typed view and a template, and every form works without JavaScript. With
//! it, `static/console.js` opens forms as dialogs, copies, and keeps the status fresh. Nothing is loaded
//! from elsewhere, and no script or style stands in a page.

mod accounts;
mod failure;
mod failures;
mod files;
mod keys;
mod members;
mod new_keys;
mod overview;
mod page;
mod receipts;
mod sign_in;
mod view;
mod visitor;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use tower_http::csrf::CsrfLayer;

use crate::manage::{Gate, limit_concurrency, problem_of};
use crate::oidc::Provider;
use crate::service::Service;
use failure::Failure;
use failures::SignInFailures;
use visitor::Reader;

/// No script, style, image or form from or to elsewhere; in no other site's frame.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; \
    object-src 'none'";

/// Where people and clients reach this process.
#[derive(Debug, Clone)]
pub struct Public {
    /// This listener, without a slash at the end.
    pub url: String,
    /// The gateway.
    pub gateway_url: String,
    /// The path of the MCP server behind it. `None`: there is none.
    pub mcp_path: Option<String>,
}

/// What every handler is given.
#[derive(Clone)]
struct Console {
    service: Service,
    public: Arc<Public>,
    provider: Option<Arc<Provider>>,
    sign_in_failures: SignInFailures,
}

/// Every page. `provider`: by which people may sign in, beside links. `gate`: how many requests
/// are worked on at a time.
pub fn router(service: Service, public: Public, provider: Option<Provider>, gate: Gate) -> Router {
    let console = Console {
        service,
        public: Arc::new(public),
        provider: provider.map(Arc::new),
        sign_in_failures: SignInFailures::default(),
    };
    Router::new()
        .route("/", get(async || Redirect::to("/keys")))
        .route("/keys", get(keys::list).post(new_keys::create))
        .route("/keys/new", get(new_keys::new))
        .route(
            "/keys/{id}/delete",
            get(keys::ask_delete).post(keys::delete),
        )
        .route("/organization/keys", get(keys::list_all))
        .route(
            "/organization/keys/{id}/revoke",
            get(keys::ask_revoke).post(keys::revoke),
        )
        .route("/members", get(members::list))
        .route(
            "/members/invite",
            get(members::ask_invite).post(members::invite),
        )
        .route("/members/{id}/role", post(members::change_role))
        .route(
            "/members/{id}/remove",
            get(members::ask_remove).post(members::remove),
        )
        .route("/members/{id}/keys/{key}/reissue", post(new_keys::reissue))
        .route("/invitations/{id}/withdraw", post(members::withdraw))
        .route(
            "/service-accounts",
            get(accounts::list).post(accounts::create),
        )
        .route("/service-accounts/new", get(accounts::new))
        .route("/mcp-server", get(overview::mcp))
        .route("/audit", get(overview::audit))
        .route("/status", get(overview::status))
        .route("/sign-in", get(sign_in::explain))
        .route("/sign-in/provider", get(sign_in::begin))
        .route("/sign-in/callback", get(sign_in::finish))
        .route("/sign-in/{token}", get(sign_in::ask).post(sign_in::sign_in))
        .route(
            "/invitation/{token}",
            get(sign_in::ask_join).post(sign_in::join),
        )
        .route("/organization", post(sign_in::switch))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/language", post(visitor::choose_language))
        .layer(middleware::from_fn_with_state(gate, limit_concurrency))
        .layer(CsrfLayer::new())
        .layer(middleware::from_fn(protect))
        .with_state(console)
        .merge(files::router())
}

/// Headers of every page; and a page for what a layer refused.
async fn protect(Reader(language): Reader, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(problem) = problem_of(&mut response) {
        response = Failure::new(problem, language, None).into_response();
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The language switch comes back to its page, and forms say where they stood; other sites learn nothing.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
