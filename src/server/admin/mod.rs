//! The operators' listener: health, readiness, metrics; the management API and the console.
//!
//! **Invariant.** Connections that come here, however many, and requests that wait, keep neither the data plane nor
//! the follower of revocations from their work: they have places and deadlines of their own (`connections`,
//! `manage::gate`), the text of `/metrics` is put together a few times a second (`exposition`), and between two
//! requests of a connection everything else on this thread has its turn. How many requests a second are answered is
//! not bounded: they take processor time, which is the follower's too.

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
pub(super) use connections::Crowd;
use connections::Reception;
use exposition::Exposition;
use hosts::Hosts;

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
    exposition: Arc<Exposition>,
    readiness: Readiness,
}

/// What is served.
pub(super) struct Admin {
    pub registry: Registry,
    pub readiness: Readiness,
    /// The management API and the console.
    pub management: Router,
    /// How many are served.
    pub crowd: Arc<Crowd>,
}

impl Admin {
    /// Serves operators and people until `end`.
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
            .with_state(Operators {
                exposition: Arc::new(Exposition::new(self.registry)),
                readiness: self.readiness,
            })
            .merge(self.management)
            .layer(middleware::from_fn_with_state(hosts, hosts::only_known));
        let reception = Reception {
            router,
            limits: config.limits,
            trusted_proxies: config.trusted_proxies.into(),
            crowd: self.crowd,
        };
        // Dropped rather than drained at the end: a scrape may be lost, the end may not hang on it.
        tokio::select! {
            never = reception.serve(listener) => match never {},
            _ = end.wait_for(|end| *end) => {}
        }
    }
}

/// Answers probes while the gateway waits for its database: it lives, and is not ready.
pub(super) async fn answer_not_ready(listener: TcpListener, config: &Config) -> Infallible {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .fallback(not_ready)
        .layer(middleware::from_fn_with_state(
            Hosts::new(&config.admin),
            hosts::only_known,
        ));
    let reception = Reception {
        router,
        limits: config.limits.clone(),
        trusted_proxies: config.trusted_proxies.as_slice().into(),
        crowd: Arc::default(),
    };
    reception.serve(listener).await
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
    // It may read and not write: then the follower's last call failed.
    let answers = matches!(timeout(STORE_TIMEOUT, store.head()).await, Ok(Ok(_head)));
    let store_answers = answers && !authenticator.progress().store_is_silent();
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
    match operators.exposition.text(Instant::now()) {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
