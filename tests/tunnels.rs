//! Tunnels in which nothing moves are closed after a while; those in which something does are not.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::cut_streams::web_socket;
use crate::support::deployment::{Deployment, Engine};
use crate::support::scripted::{OK, Reply, Seen};
use crate::support::scripted_gateway::ScriptedGateway;
use crate::support::upstream::Upstream;
use crate::support::within;

const LIMITS: &str = "[limits]\ntunnel_idle_timeout_ms = 1_000\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_web_socket_that_is_silent_is_closed_and_one_that_pings_is_not() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, LIMITS).await;
    let key = deployment.key("ci", &[]);
    let gateway = deployment.start().await;
    let target = deployment.target(&gateway, Some(&key.plain));
    let (mut silent, mut lively) = (web_socket(&target).await, web_socket(&target).await);
    let mut pinging = tokio::time::interval(Duration::from_millis(200));
    for _ in 0..15 {
        pinging.tick().await;
        lively.send(Message::Ping("?".into())).await.unwrap();
        let answer = within("a pong", lively.next()).await.unwrap().unwrap();
        assert!(!answer.is_close(), "{answer:?}");
    }
    for (what, socket) in [("silent", &mut silent), ("lively", &mut lively)] {
        let close = loop {
            let last = within(what, socket.next()).await;
            match last {
                Some(Ok(Message::Close(close))) => break close.expect("a code"),
                Some(Ok(_before)) => {}
                other => panic!("{what}: {other:?}"),
            }
        };
        assert_eq!(close.code, CloseCode::Away, "1001");
        assert_eq!(close.reason, "nothing was sent for too long");
    }
}

fn switches(seen: &Seen) -> Reply {
    if seen.header("upgrade").is_empty() {
        return Reply::Bytes(OK);
    }
    Reply::Bytes("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tunnel_that_is_silent_ends_too() {
    let scripted = ScriptedGateway::open(switches, LIMITS).await;
    let mut wire = scripted.wire().await;
    let upgrade = "Connection: upgrade\r\nUpgrade: raw\r\n";
    let answer = wire.ask(scripted.get("/api/a", upgrade)).await;
    assert_eq!(answer.status, 101);
    assert!(wire.is_closed().await);
    scripted.upstream.wait_for_closed(1).await;
}
