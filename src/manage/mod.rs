//! The management API: JSON under `/api/v1` on the admin listener, over the rules of `service`.
//!
//! One list of endpoints (`endpoints`), from which the router, the OpenAPI document and the tests of who
//! may what are made. Handlers are short: who calls (`caller`), what they want (`body`), one call of the
//! service, and its answer (`responses`) or its refusal (`problem`).

mod audit;
mod body;
mod caller;
mod documents;
mod etag;
mod gate;
mod idempotency;
mod invitations;
mod keys;
mod members;
mod page;
mod parameters;
mod problem;
mod receipt;
mod responses;
mod revocations;
mod rotations;
mod service_accounts;
mod speak;
mod status;

use std::sync::Arc;

use axum::{Router, middleware};
use tower_http::csrf::CsrfLayer;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::service::Service;
pub use body::Fields;
pub use caller::{SESSION_COOKIE, caller_address, cookie, cookies, session_token};
use documents::Security;
pub use gate::{Gate, SIGN_INS_MAX, limit_concurrency};
use parameters::{Parameters, known_once};
pub use problem::{LocalizedProblem, Problem};
pub use speak::problem_of;

/// What every handler is given.
#[derive(Clone)]
struct Manage {
    service: Service,
    /// Where people and clients reach this listener, without a slash at the end.
    base: Arc<str>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "genkan management API",
        description = "API keys, members, service accounts and the audit log of an organization. Send a key \
            with the scope `manage` as `Authorization: Bearer` or `x-api-key`, or the console's session \
            cookie. Everything happens in the caller's own organization; what is not in it answers 404. \
            Errors are problem details (RFC 9457), in the language of `Accept-Language` (en, ja, ko).",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    modifiers(&Security),
    security(("key" = []), ("header_key" = []), ("session" = [])),
    tags(
        (name = "keys", description = "One's own keys; and, for admins and owners, everybody's."),
        (name = "members", description = "People, their roles, and invitations."),
        (name = "service accounts", description = "Keys that belong to the organization."),
        (name = "organization", description = "The audit log, the gateways, and revoking all keys."),
    )
)]
struct Api;

/// Every endpoint, once.
fn endpoints() -> OpenApiRouter<Manage> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(members::me))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::get, keys::rename, revocations::revoke))
        .routes(routes!(keys::usage))
        .routes(routes!(rotations::rotate))
        .routes(routes!(keys::list_all))
        .routes(routes!(revocations::revoke_all))
        .routes(routes!(members::list))
        .routes(routes!(members::get, members::change_role, members::remove))
        .routes(routes!(invitations::list, invitations::invite))
        .routes(routes!(invitations::withdraw))
        .routes(routes!(service_accounts::list, service_accounts::create))
        .routes(routes!(audit::list))
        .routes(routes!(status::get))
}

/// The OpenAPI document.
pub fn document() -> Document {
    endpoints().into_openapi()
}

/// Everything under `/api/v1`, `/openapi.json` and `/docs`. `base`: where this listener is reached, such
/// as `https://genkan.example.com`. `gate`: how many requests are worked on at a time.
pub fn router(service: Service, base: &str, gate: Gate) -> Router {
    let manage = Manage {
        service,
        base: base.trim_end_matches('/').into(),
    };
    let (api, document) = endpoints().split_for_parts();
    let parameters = Parameters::of(&document);
    // In this order: a method that is not there takes no parameters, and says so itself.
    api.route_layer(middleware::from_fn_with_state(parameters, known_once))
        .method_not_allowed_fallback(speak::method_not_allowed)
        .layer(middleware::from_fn_with_state(gate, limit_concurrency))
        // A browser sends its cookie from any page: only from ours it counts.
        .layer(CsrfLayer::new())
        .layer(middleware::from_fn(speak::speak))
        .with_state(manage)
        .merge(documents::router(&document))
}
