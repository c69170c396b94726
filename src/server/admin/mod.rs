//! Serves the admin listener: health, readiness, metrics, the management API and the console.
//!
//! **Invariant.** Neither many connections nor waiting requests on this listener stop the data plane or the
//! follower of the revocation log: the listener has its own slots and deadlines (`connections`, `manage::gate`),
//! the text of `/metrics` is encoded at a limited rate (`exposition`), and the task of a connection yields to the
//! other tasks of this thread between two requests. The rate of requests is not limited: they use processor time,
//! which the follower needs too.

mod connections;
mod exposition;
mod hosts;
mod request_ids;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::auth::Authenticator;
use crate::config::Config;
use crate::store::Store;
use connections::AdminListener;
pub(super) use connections::ConnectionCounts;
use exposition::Exposition;
use hosts::Hosts;

/// How long `/readyz` waits for the store before it reports that the store does not answer.
const STORE_TIMEOUT: Duration = Duration::from_millis(250);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The inputs of the readiness check.
#[derive(Clone)]
pub(super) struct Readiness {
    /// False as soon as the shutdown begins.
    pub serving: Arc<AtomicBool>,
    pub authenticator: Arc<Authenticator>,
    pub store: Arc<dyn Store>,
}

#[derive(Clone)]
struct AdminState {
    exposition: Arc<Exposition>,
    readiness: Readiness,
}

/// What the admin listener serves.
pub(super) struct Admin {
    pub registry: Registry,
    pub readiness: Readiness,
    /// The management API and the console.
    pub management: Router,
    /// Counts of this listener's connections, for `/metrics`.
    pub counts: Arc<ConnectionCounts>,
}

impl Admin {
    /// Serves requests until `end` is true.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        config: Config,
        mut end: watch::Receiver<bool>,
    ) {
        let hosts = Hosts::new(&config.admin);
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(AdminState {
                exposition: Arc::new(Exposition::new(self.registry)),
                readiness: self.readiness,
            })
            .merge(self.management)
            .layer(middleware::from_fn_with_state(hosts, hosts::require_known));
        let admin_listener = AdminListener {
            router,
            limits: config.limits,
            trusted_proxies: config.trusted_proxies.into(),
            counts: self.counts,
        };
        // Dropped, not drained: losing a scrape is acceptable, delaying the shutdown is not.
        tokio::select! {
            never = admin_listener.serve(listener) => match never {},
            _ = end.wait_for(|end| *end) => {}
        }
    }
}

/// Answers probes while the gateway waits for its database: healthy, but not ready.
pub(super) async fn answer_not_ready(listener: TcpListener, config: &Config) -> Infallible {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .fallback(not_ready)
        .layer(middleware::from_fn_with_state(
            Hosts::new(&config.admin),
            hosts::require_known,
        ));
    let admin_listener = AdminListener {
        router,
        limits: config.limits.clone(),
        trusted_proxies: config.trusted_proxies.as_slice().into(),
        counts: Arc::default(),
    };
    admin_listener.serve(listener).await
}

async fn not_ready() -> Response {
    let body = serde_json::json!({
        "ready": false,
        "serving": false,
        "store_answers": false,
        "lease_left_ms": 0,
        "detail": "The gateway waits for its database, which cannot be reached.",
    });
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let content_type = [(CONTENT_TYPE, "application/json")];
    (status, content_type, format!("{body}\n")).into_response()
}

/// Answers that the process runs. It depends on nothing else.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Reports whether requests should be sent here: not after the lease has ended, nor during the shutdown. A store
/// that does not answer is reported, but until the lease ends, requests with cached keys are served.
async fn readyz(State(state): State<AdminState>) -> Response {
    let Readiness {
        serving,
        authenticator,
        store,
    } = &state.readiness;
    let lease_left_ms = u64::try_from(authenticator.lease_left().as_millis()).unwrap_or(u64::MAX);
    // A store may answer reads and fail writes: then the follower's last call failed.
    let answers = matches!(timeout(STORE_TIMEOUT, store.head()).await, Ok(Ok(_head)));
    let store_answers = answers && !authenticator.progress().is_store_unresponsive();
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

async fn metrics(State(state): State<AdminState>) -> Response {
    match state.exposition.text(Instant::now()) {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
