//! What operators see: health, readiness, metrics, and one name for each request everywhere.

use http::Response;

use crate::support::client::{self, Mode};
use crate::support::deployment::{Deployment, Engine, Process, field, operators, text};
use crate::support::upstream::Upstream;
use crate::support::within;

/// As OpenTelemetry advises for `http.server.request.duration`, in seconds.
const BUCKETS: [&str; 15] = [
    "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0",
    "7.5", "10.0", "+Inf",
];

async fn get(
    deployment: &Deployment,
    gateway: &Process,
    mode: Mode,
    path: &str,
    key: Option<&str>,
) -> Response<String> {
    let target = deployment.target(gateway, key);
    let mut connection = target.connect(mode).await;
    let request = target.request(mode, "GET", path).body(client::empty());
    text(within("an answer", connection.send(request.unwrap())).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_are_told_to_operators_alone() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let gateway = deployment.start().await;
    let health = operators(gateway.address("admin"), "/healthz").await;
    assert_eq!(
        (health.status().as_u16(), health.body().as_str()),
        (200, "ok\n")
    );
    let ready = gateway.operators("/readyz").await;
    assert_eq!(ready.status(), 200);
    let ready: serde_json::Value = serde_json::from_str(ready.body()).unwrap();
    for what in ["ready", "serving", "store_answers"] {
        assert_eq!(ready[what], true, "{ready}");
    }
    let left = ready["lease_left_ms"].as_u64().unwrap();
    assert!((1..=3_000).contains(&left), "{ready}");
    // Callers are shown none of it: the same path is a route like another for them.
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = get(&deployment, &gateway, Mode::Http1, path, None).await;
        assert_eq!(answer.status(), 401, "{path}");
    }
    let config = deployment.config();
    let admin = gateway.address("admin").to_string();
    assert!(config.exists());
    let healthy = crate::support::deployment::genkan(&["healthcheck", "--admin", &admin]);
    assert_eq!(healthy.code, Some(0), "{healthy:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_the_names_and_buckets_of_opentelemetry_and_no_keys() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let key = deployment.key("ci", &[]);
    let gateway = deployment.start().await;
    for (path, key) in [
        ("/api/identity", Some(key.plain.as_str())),
        ("/api/identity", None),
        ("/mcp", Some("gk_not-a-key")),
    ] {
        get(&deployment, &gateway, Mode::Http1, path, key).await;
    }
    let page = gateway.operators("/metrics").await;
    assert_eq!(
        page.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let page = page.into_body();
    assert!(page.ends_with("# EOF\n"), "{page}");
    for wanted in [
        "# TYPE http_server_request_duration_seconds histogram",
        "# UNIT http_server_request_duration_seconds seconds",
        "http_server_active_requests 0",
        "genkan_refusals_total{reason=\"credential_absent\"} 1",
        "genkan_refusals_total{reason=\"credential_malformed\"} 1",
        "genkan_store_lookups_total 1",
        "genkan_cache_keys ",
        "genkan_lease_left_seconds ",
    ] {
        assert!(page.contains(wanted), "no {wanted:?} in {page}");
    }
    let series: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("http_server_request_duration_seconds_bucket"))
        .filter(|line| line.contains("http_response_status_code=\"200\""))
        .collect();
    let bounds: Vec<&str> = series.iter().filter_map(|line| label(line, "le")).collect();
    assert_eq!(bounds, BUCKETS, "{page}");
    assert_eq!(label(series[0], "http_request_method"), Some("GET"));
    assert_eq!(label(series[0], "http_route"), Some("api"));
    assert!(!page.contains("key_"), "a key's id is in {page}");
    assert!(!page.contains(&key.plain[3..]), "a key is in {page}");
}

fn label<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let after = line.split_once(&format!("{name}=\""))?.1;
    Some(after.split_once('"')?.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_one_name_in_its_head_its_body_and_the_log() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let mut gateway = deployment.start().await;
    for mode in [Mode::Http1, Mode::TlsHttp2] {
        let refused = get(&deployment, &gateway, mode, "/api/identity", None).await;
        assert_eq!(refused.status(), 401);
        let head = refused.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let body: serde_json::Value = serde_json::from_str(refused.body()).unwrap();
        assert_eq!(body["request_id"], head.as_str());
        let named = |line: &str| field(line, "request_id") == head;
        let line = gateway.stderr_line("the request's line", named).await;
        assert_eq!(field(&line, "refusal"), "credential_absent");
        assert_eq!(field(&line, "status"), "401");
        assert_eq!(field(&line, "route"), "api");
        assert_eq!(field(&line, "path"), "/api/identity");
    }
}
