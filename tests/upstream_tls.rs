//! An upstream behind TLS: HTTP/2 where it agrees to it, HTTP/1.1 for what becomes a tunnel, and nobody
//! whose certificate is not trusted.

use http::Version;
use http_body_util::BodyExt;

use super::support::client::{self, Mode, Target};
use super::support::deployment::{Deployment, Engine, Process, route};
use super::support::tls::Certificate;
use super::support::upstream::Upstream;

const IDENTITY: [&str; 5] = [
    "x-genkan-key-id",
    "x-genkan-organization-id",
    "x-genkan-user-id",
    "x-genkan-user-email",
    "x-genkan-scopes",
];

/// A gateway before `upstream`, reached over TLS, that trusts the given roots alone.
async fn gateway(upstream: &Upstream, roots: &std::path::Path) -> (Deployment, Process, Target) {
    let routes = format!(
        "[upstreams.genesis]\nurls = [\"https://127.0.0.1:{}\"]\ntls_roots_file = {roots:?}\nhttp2 = true\n{}",
        upstream.tls.port(),
        route("rest", "/", "genesis", "api"),
    );
    let deployment = Deployment::with_routes(Engine::Sqlite, &routes).await;
    let key = deployment.key("ci", &[]);
    let process = deployment.start().await;
    let target = deployment.target(&process, Some(&key.plain));
    (deployment, process, target)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_reach_it_over_http2_with_host_and_identity_and_without_the_key() {
    let upstream = Upstream::start().await;
    let (_house, gateway, target) = gateway(&upstream, &upstream.target().authority).await;
    for mode in [Mode::Http1, Mode::TlsHttp2] {
        let mut connection = target.connect(mode).await;
        for text in ["first", "second"] {
            let request = target
                .request(mode, "POST", "/echo")
                .body(client::full(text));
            let response = connection.send(request.unwrap()).await;
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, text);
        }
    }
    let seen = upstream.requests();
    assert_eq!(seen.len(), 4);
    for request in &seen {
        assert_eq!(request.version, Version::HTTP_2);
        assert!(request.header("x-api-key").is_empty());
        for name in IDENTITY {
            assert_eq!(request.header(name).len(), 1, "{name}: {request:#?}");
        }
        assert_eq!(request.header("x-forwarded-host").len(), 1);
    }
    // One for each worker at most: the streams of one worker share a connection.
    assert!(
        gateway
            .metric("genkan_upstream_connections_opened_total")
            .await
            <= 2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_made_over_http1() {
    let upstream = Upstream::start().await;
    let (_house, _gateway, target) = gateway(&upstream, &upstream.target().authority).await;
    let mut connection = target.connect(Mode::Http1).await;
    let request = target
        .request(Mode::Http1, "GET", "/ws")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(client::empty());
    let response = connection.send(request.unwrap()).await;
    assert_eq!(response.status(), 101);
    let versions: Vec<_> = upstream
        .requests()
        .iter()
        .map(|seen| seen.version)
        .collect();
    assert_eq!(versions, [Version::HTTP_11]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_not_trusted_is_told_nothing() {
    let upstream = Upstream::start().await;
    let stranger = Certificate::for_loopback();
    let (_house, _gateway, target) = gateway(&upstream, &stranger.certificate_file).await;
    let mut connection = target.connect(Mode::Http1).await;
    let request = target
        .request(Mode::Http1, "GET", "/echo")
        .body(client::empty());
    assert_eq!(connection.send(request.unwrap()).await.status(), 502);
    assert_eq!(upstream.requests().len(), 0);
}
