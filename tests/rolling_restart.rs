//! Gateways behind HAProxy are restarted one after the other, while clients go on.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::support::ALONE;
use crate::support::deployment::{Deployment, Engine};
use crate::support::haproxy::{Balancer, Server};
use crate::support::legitimate::{Legitimate, Plan};
use crate::support::postgres::free_port;
use crate::support::upstream::Upstream;

const NAMES: [&str; 2] = ["one", "other"];
const ROUNDS: usize = 3;
const REQUESTS_PER_SECOND: u32 = 200;
const FRESH_KEYS: usize = 20;

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_no_request_fails_while_every_gateway_is_restarted() {
    let _alone = ALONE.lock().await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(
        Engine::Postgres,
        upstream.plain,
        // Longer than the balancer takes to see that a gateway is not ready.
        "[limits]\nshutdown_delay_ms = 1_000\n",
    )
    .await;
    let remembered = deployment.key("remembered", &[]).plain;
    let fresh = (0..FRESH_KEYS).map(|_| deployment.key("fresh", &[]).plain);
    let fresh = fresh.collect();
    let text = std::fs::read_to_string(deployment.config()).unwrap();
    // A balancer knows its servers by their addresses.
    let servers = NAMES.map(|name| Server {
        name,
        address: local(),
        readiness: local(),
    });
    let configs = servers.each_ref().map(|server| {
        let admin = format!("[admin]\naddress = \"{}\"", server.readiness);
        let plain = format!("name = \"plain\"\naddress = \"{}\"", server.address);
        let text = text
            .replace("[admin]\naddress = \"127.0.0.1:0\"", &admin)
            .replace("name = \"plain\"\naddress = \"127.0.0.1:0\"", &plain);
        let file = deployment
            .folder
            .path()
            .join(format!("{}.toml", server.name));
        std::fs::write(&file, text).unwrap();
        file
    });
    let mut gateways = [
        deployment.start_with(&configs[0]).await,
        deployment.start_with(&configs[1]).await,
    ];
    let balancer = Balancer::start(&servers).await;
    let traffic = Legitimate::begin(Plan {
        address: balancer.address,
        requests_per_second: REQUESTS_PER_SECOND,
        remembered,
        fresh,
    });
    for _ in 0..ROUNDS {
        for (number, gateway) in gateways.iter_mut().enumerate() {
            gateway.signal(Signal::TERM);
            balancer.says(NAMES[number], "DOWN").await;
            assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
            *gateway = deployment.start_with(&configs[number]).await;
            balancer.says(NAMES[number], "UP").await;
        }
    }
    let seen = traffic.ended().await;
    println!(
        "{} requests during {} restarts, p99 {:?}, failed: {:?}",
        seen.latencies.len(),
        ROUNDS * NAMES.len(),
        seen.p99(),
        seen.failed
    );
    seen.none_failed("restarts");
}
