//! The operators' listener: health, readiness, metrics; and the management API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::auth::Authenticator;
use crate::store::Store;

/// How long readiness waits for the store before it says that it does not answer.
const STORE_TIMEOUT: Duration = Duration::from_millis(250);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What readiness is judged by.
#[derive(Clone)]
pub(super) struct Readiness {
    /// False from the beginning of the end.
    pub serving: Arc<AtomicBool>,
    pub authenticator: Arc<Authenticator>,
    pub store: Arc<dyn Store>,
}

#[derive(Clone)]
struct Operators {
    registry: Arc<Registry>,
    readiness: Readiness,
}

/// Serves operators until `end`.
pub(super) async fn serve(
    listener: TcpListener,
    registry: Registry,
    readiness: Readiness,
    management: Router,
    mut end: watch::Receiver<bool>,
) {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Operators {
            registry: Arc::new(registry),
            readiness,
        })
        .merge(management)
        .into_make_service_with_connect_info::<SocketAddr>();
    // Dropped rather than drained at the end: a scrape may be lost, the end may not hang on it.
    tokio::select! {
        served = async { axum::serve(listener, router).await } => {
            if let Err(error) = served {
                tracing::error!(%error, "the admin listener ended");
            }
        }
        _ = end.wait_for(|end| *end) => {}
    }
}

/// The process lives. It asks nothing of anybody.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether requests should be sent here: not while the lease is out or the end has begun. A store
/// that does not answer is said, but as long as the lease holds, cached keys are served.
async fn readyz(State(operators): State<Operators>) -> Response {
    let Readiness {
        serving,
        authenticator,
        store,
    } = &operators.readiness;
    let lease_left_ms = u64::try_from(authenticator.lease_left().as_millis()).unwrap_or(u64::MAX);
    let store_answers = matches!(timeout(STORE_TIMEOUT, store.head()).await, Ok(Ok(_head)));
    let serving = serving.load(Ordering::Acquire);
    let ready = serving && lease_left_ms > 0;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({
        "ready": ready,
        "serving": serving,
        "store_answers": store_answers,
        "lease_left_ms": lease_left_ms,
    });
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
        .into_response()
}

async fn metrics(State(operators): State<Operators>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &operators.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
