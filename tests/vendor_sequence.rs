//! The vendor's CI action: trigger a workflow with `x-api-key`, then poll until it has ended.

use crate::support::client::{self, Mode, Target};
use crate::support::deployment::OneGateway;
use crate::support::upstream::Upstream;
use crate::support::within;

const IDENTITY: [&str; 5] = [
    "x-genkan-key-id",
    "x-genkan-organization-id",
    "x-genkan-user-id",
    "x-genkan-user-email",
    "x-genkan-scopes",
];

/// Runs the sequence; returns how many requests it took.
async fn trigger_and_poll(target: &Target, mode: Mode) -> usize {
    let mut connection = target.connect(mode).await;
    let trigger = target
        .request(mode, "POST", "/api/workflows/smoke/trigger")
        .header("content-type", "application/json")
        .body(client::full(r#"{"variables":{}}"#))
        .unwrap();
    let answer = client::json(connection.send(trigger).await).await;
    assert_eq!(answer["success"], true, "{answer}");
    let path = format!(
        "/api/executions/{}",
        answer["executionId"].as_str().unwrap()
    );
    // The action itself gives up after five polls.
    for polls in 1..=5 {
        let poll = target.request(mode, "GET", &path).body(client::empty());
        let answer = client::json(connection.send(poll.unwrap()).await).await;
        if answer["status"] == "completed" {
            assert_eq!(answer["completedBlocks"], answer["blockCount"]);
            return 1 + polls;
        }
    }
    panic!("the execution did not complete within five polls");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_sequence_completes_at_the_upstream_itself() {
    let upstream = Upstream::start().await;
    for mode in [Mode::Http1, Mode::TlsHttp2] {
        within("the sequence", trigger_and_poll(&upstream.target(), mode)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_sequence_completes_through_genkan_and_the_key_stays_there() {
    let upstream = Upstream::start().await;
    let gateway = OneGateway::start(upstream.plain).await;
    let mut sent = 0;
    for mode in [Mode::Http1, Mode::TlsHttp2] {
        sent += within("the sequence", trigger_and_poll(&gateway.target(), mode)).await;
    }

    let requests = upstream.requests();
    assert_eq!(requests.len(), sent, "each request reached upstream once");
    let triggers = requests.iter().filter(|request| request.method == "POST");
    assert_eq!(triggers.count(), 2, "each trigger reached upstream once");
    for request in &requests {
        let text = format!("{request:?}");
        assert!(
            !text.contains(&gateway.key.plain),
            "the key reached upstream"
        );
        assert!(request.header("x-api-key").is_empty());
        assert!(request.header("authorization").is_empty());
        for name in IDENTITY {
            assert_eq!(request.header(name).len(), 1, "{name} in {request:?}");
        }
        assert_eq!(request.header("x-genkan-user-email"), ["hana@example.com"]);
    }
}
