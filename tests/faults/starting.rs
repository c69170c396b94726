//! A database that comes up later than the gateway, and what waiting does not mend.

use std::time::Duration;

use rustix::process::Signal;
use tokio::task::block_in_place;

use super::{ask_once, no_panic};
use crate::support::deployment::{Deployment, Process, field, genkan, operators};
use crate::support::postgres::Server;
use crate::support::upstream::Upstream;
use crate::support::within;

/// A gateway that says that it waits for its database.
async fn waiting(deployment: &Deployment) -> Process {
    let mut gateway = Process::start(&["serve", "--config", deployment.config().to_str().unwrap()]);
    gateway
        .stderr_line("it waits", |line| {
            field(line, "message").starts_with("waiting for the database")
        })
        .await;
    gateway
}

/// The address of the admin listener, which a gateway that waits has already.
async fn admin(gateway: &mut Process) -> std::net::SocketAddr {
    let line = gateway
        .stderr_line("the admin listener", |line| {
            field(line, "message") == "listening" && field(line, "listener") == "admin"
        })
        .await;
    field(&line, "address").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_waits_for_a_postgresql_that_comes_up_later() {
    let server = Server::start_private();
    let url = server.database("genkan").await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::on(&url, upstream.plain, "");
    let key = deployment.key("ci", &[]);
    block_in_place(|| server.stop());

    let mut gateway = waiting(&deployment).await;
    let address = admin(&mut gateway).await;
    let answer = operators(address, "/readyz").await;
    assert_eq!(answer.status(), 503);
    let state: serde_json::Value = serde_json::from_str(answer.body()).unwrap();
    assert_eq!(state["ready"], false);
    assert!(
        state["detail"].as_str().unwrap().contains("database"),
        "{state}"
    );
    assert_eq!(operators(address, "/healthz").await.status(), 200);
    // A probe that is configured with the wrong name learns nothing more.
    assert_eq!(operators(address, "/api/v1/keys").await.status(), 503);

    block_in_place(|| server.start());
    let gateway = Deployment::ready(gateway).await;
    let target = deployment.target(&gateway, Some(&key.plain));
    assert_eq!(ask_once(&target).await, 200);
    assert_eq!(gateway.operators("/readyz").await.status(), 200);
    no_panic(&[gateway]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_waits_ends_when_it_is_asked_to_and_does_not_wait_where_it_must_not() {
    let server = Server::start_private();
    let url = server.database("genkan").await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::on(&url, upstream.plain, "");
    block_in_place(|| server.stop());
    let mut gateway = waiting(&deployment).await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());

    let config = deployment.config();
    let config = config.to_str().unwrap();
    let no_wait = block_in_place(|| genkan(&["serve", "--no-wait", "--config", config]));
    no_wait.failed(4, &["cannot be reached", "check that it runs"]);
    // Commands never wait.
    let listed = block_in_place(|| deployment.run(&["keys", "list"]));
    listed.failed(4, &["cannot be reached"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waiting_does_not_mend_ends_the_gateway_at_once() {
    let server = Server::start_private();
    let url = server.database("genkan").await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::on(&url, upstream.plain, "");
    let good = std::fs::read_to_string(deployment.config()).unwrap();
    for (wrong, words) in [
        (url.replace("/genkan", "/nowhere"), "does not exist"),
        (url.replace("genkan@", "nobody@"), "nobody"),
    ] {
        std::fs::write(deployment.config(), good.replace(&url, &wrong)).unwrap();
        let config = deployment.config();
        let serve = tokio::task::spawn_blocking(move || {
            genkan(&["serve", "--config", config.to_str().unwrap()])
        });
        let limit = Duration::from_secs(20);
        let ended = within("it ends", tokio::time::timeout(limit, serve)).await;
        ended.unwrap().unwrap().failed(4, &[words]);
    }
}
