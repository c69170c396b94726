//! Real MCP clients get real work done: rmcp and the official TypeScript SDK, with progress that
//! arrives live. The workflow takes a step only once the one before has been seen by the client, so
//! a stream that anything holds back never ends, and the test fails at its deadline.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use rmcp::ClientHandler;
use rmcp::model::{CallToolRequestParams, ProgressNotificationParam, ProtocolVersion};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, NotificationContext, RoleClient};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::client::{Mode, Target};
use crate::support::deployment::OneGateway;
use crate::support::upstream::Upstream;
use crate::support::{node, tls, within};

/// Steps of the demo's workflow.
const STEPS: u32 = 5;

/// A client that hands every progress notification to the test.
struct Watcher(mpsc::Sender<f64>);

impl ClientHandler for Watcher {
    async fn on_progress(
        &self,
        progress: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.0.send(progress.progress).await.unwrap();
    }
}

fn transport(target: &Target, mode: Mode) -> StreamableHttpClientTransport<reqwest::Client> {
    tls::install_provider();
    let client = match mode {
        Mode::Http1 => reqwest::Client::builder().http1_only(),
        Mode::TlsHttp2 => {
            let pem = std::fs::read(&target.authority).unwrap();
            let authority = reqwest::Certificate::from_pem(&pem).unwrap();
            // Prior knowledge: a server that does not agree on HTTP/2 fails the test.
            reqwest::Client::builder()
                .tls_certs_only([authority])
                .http2_prior_knowledge()
        }
    };
    let mut config = StreamableHttpClientTransportConfig::with_uri(target.url(mode, "/mcp"));
    if let Some(key) = &target.key {
        config = config.auth_header(key);
    }
    StreamableHttpClientTransport::with_client(client.build().unwrap(), config)
}

async fn rmcp_works(upstream: &Upstream, target: &Target, mode: Mode, how: ClientLifecycleMode) {
    let (sender, mut progress) = mpsc::channel(1);
    let started = Watcher(sender).serve_with_lifecycle(transport(target, mode), how);
    let client = within("rmcp starts", started).await.unwrap();

    let tools = within("tools/list", client.list_all_tools()).await.unwrap();
    assert!(tools.iter().any(|tool| tool.name == "run_workflow"));

    let arguments = json!({ "templateId": "smoke" });
    let call = CallToolRequestParams::new("run_workflow")
        .with_arguments(arguments.as_object().unwrap().clone());
    let peer = client.peer().clone();
    let called = tokio::spawn(async move { peer.call_tool(call).await });
    for step in 1..=STEPS {
        assert!(!called.is_finished(), "the result came before step {step}");
        upstream.allow_step();
        let seen = within("the next progress", progress.recv()).await;
        assert_eq!(seen, Some(f64::from(step)));
    }
    let result = within("the result", called).await.unwrap().unwrap();
    assert_ne!(result.is_error, Some(true));
    client.cancel().await.unwrap();
}

async fn rmcp_works_in_every_way(upstream: &Upstream, target: &Target) {
    for mode in [Mode::Http1, Mode::TlsHttp2] {
        rmcp_works(upstream, target, mode, ClientLifecycleMode::Initialize).await;
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        let sessionless = ClientLifecycleMode::Discover { preferred_versions };
        rmcp_works(upstream, target, mode, sessionless).await;
    }
}

/// That the mode `TlsHttp2` is HTTP/2 in truth: through genkan it cannot be seen from here.
fn assert_spoke_both_versions(upstream: &Upstream) {
    for version in [http::Version::HTTP_11, http::Version::HTTP_2] {
        let requests = upstream.requests();
        assert!(
            requests.iter().any(|request| request.version == version),
            "no request came over {version:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rmcp_sees_progress_live_from_the_upstream_itself() {
    let upstream = Upstream::start().await;
    rmcp_works_in_every_way(&upstream, &upstream.target()).await;
    assert_spoke_both_versions(&upstream);
}

#[tokio::test(flavor = "multi_thread")]
async fn rmcp_sees_progress_live_through_genkan() {
    let upstream = Upstream::start().await;
    let gateway = OneGateway::start(upstream.plain).await;
    rmcp_works_in_every_way(&upstream, &gateway.target()).await;
}

/// The TypeScript client's lines, as they come. Its process ends when its work is done or when its
/// own deadline strikes.
fn typescript_client(target: &Target, mode: Mode) -> mpsc::Receiver<Value> {
    let mut command = Command::new("node");
    command.current_dir(node::mcp_client()).arg("client.mjs");
    command.args(["--url", &target.url(mode, "/mcp")]);
    command.args(["--mode", if mode == Mode::Http1 { "h1" } else { "h2" }]);
    command.arg("--ca").arg(&target.authority);
    if let Some(key) = &target.key {
        command.args(["--key", key]);
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let stdout = BufReader::new(child.stdout.take().unwrap());
        for line in stdout.lines().map_while(Result::ok) {
            drop(sender.blocking_send(serde_json::from_str(&line).unwrap()));
        }
        let mut errors = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        if !child.wait().unwrap().success() {
            drop(sender.blocking_send(json!({ "event": "failed", "errors": errors })));
        }
    });
    lines
}

async fn typescript_works(upstream: &Upstream, target: &Target) {
    for mode in [Mode::Http1, Mode::TlsHttp2] {
        let started = tokio::task::block_in_place(|| typescript_client(target, mode));
        let mut lines = started;
        let mut next = async |event: &str| loop {
            let line = within(event, lines.recv()).await.expect("a line");
            if line["event"] != "connected" {
                assert_eq!(line["event"], event, "{line}");
                return line;
            }
        };
        next("initialized").await;
        let tools = next("tools").await;
        assert_eq!(tools["names"][0], "run_workflow");
        for step in 1..=STEPS {
            upstream.allow_step();
            assert_eq!(next("progress").await["progress"], step);
        }
        assert_eq!(next("result").await["is_error"], false);
        next("closed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_sees_progress_live_from_the_upstream_itself() {
    let upstream = Upstream::start().await;
    typescript_works(&upstream, &upstream.target()).await;
    assert_spoke_both_versions(&upstream);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_sees_progress_live_through_genkan() {
    let upstream = Upstream::start().await;
    let gateway = OneGateway::start(upstream.plain).await;
    typescript_works(&upstream, &gateway.target()).await;
}
