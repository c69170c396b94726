//! Connections and descriptors of the data plane: one client does not have them all, and what runs out is said.

use std::net::Ipv4Addr;

use super::{ATTACKER, HONEST};
use crate::support::client::Mode;
use crate::support::deployment::{Deployment, Engine, Process, route};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;
use crate::support::within;

/// Of the whole gateway.
const CONNECTIONS: usize = 40;
/// Few enough that one client's streams use up what is left of them for upstreams.
const DESCRIPTORS: u32 = 160;
/// Streams of one HTTP/2 connection, each of which takes a connection to the upstream.
const STREAMS: usize = 150;

async fn status(gateway: &Process, from: Ipv4Addr, key: &str) -> std::io::Result<u16> {
    let mut wire = Wire::try_connect_from(from, gateway.address("plain")).await?;
    let request =
        format!("GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {key}\r\n\r\n");
    wire.send(request).await;
    let answer = within("an answer or the end", wire.answer()).await;
    Ok(answer.map_or(0, |answer| answer.status))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_have_the_connections_of_all() {
    let upstream = Upstream::start().await;
    let limits = format!("[limits]\nconnections_max = {CONNECTIONS}\n");
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, &limits).await;
    let key = deployment.key("ci", &[]).plain;
    let mut gateway = deployment.start().await;
    let mut held = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        held.push(
            Wire::try_connect_from(ATTACKER, gateway.address("plain"))
                .await
                .unwrap(),
        );
    }
    assert_eq!(
        status(&gateway, HONEST, &key).await.unwrap(),
        200,
        "from elsewhere"
    );
    let said = |line: &str| line.contains("connections_per_address_max");
    let line = gateway
        .stderr_line("why connections are closed", said)
        .await;
    assert!(
        line.contains("127.0.0.1") && line.contains("trusted_proxies"),
        "{line}"
    );
    // Half of all stay, and the others were closed.
    let mut closed = 0;
    for wire in held.iter_mut().skip(CONNECTIONS / 2) {
        closed += usize::from(wire.is_closed().await);
    }
    assert_eq!(closed, 2 * CONNECTIONS - CONNECTIONS / 2);
    let refused = gateway.metric("genkan_connections_refused_total").await;
    assert_eq!(usize::try_from(refused).unwrap(), closed);
    // Places are given back.
    drop(held);
    within("the address may connect again", async {
        while status(&gateway, ATTACKER, &key).await.ok() != Some(200) {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_connects_for_many() {
    let upstream = Upstream::start().await;
    let limits = format!("[limits]\nconnections_max = {CONNECTIONS}\n");
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, &limits).await;
    let file = deployment.config();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("trusted_proxies = [\"127.0.0.1/32\"]\n{text}"),
    )
    .unwrap();
    let key = deployment.key("ci", &[]).plain;
    let gateway = deployment.start().await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS - 2 {
        held.push(
            Wire::try_connect_from(ATTACKER, gateway.address("plain"))
                .await
                .unwrap(),
        );
    }
    assert_eq!(status(&gateway, ATTACKER, &key).await.unwrap(), 200);
    assert_eq!(gateway.metric("genkan_connections_refused_total").await, 0);
}

/// Connections that nobody uses hold no places that another upstream needs.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_of_one_upstream_leave_places_to_another() {
    const PLACES: usize = 4;
    let (one, other) = (Upstream::start().await, Upstream::start().await);
    let named = |name: &str, upstream: &Upstream| {
        let address = upstream.plain;
        format!("[upstreams.{name}]\nurls = [\"http://{address}\"]\n")
    };
    let parts = [
        named("one", &one),
        named("other", &other),
        route("slow", "/slow", "one", "api"),
        route("identity", "/api/", "other", "api"),
        format!("[limits]\nupstream_connections_max = {PLACES}\n"),
    ];
    let deployment = Deployment::with_routes(Engine::Sqlite, &parts.concat()).await;
    let key = deployment.key("ci", &[]).plain;
    let gateway = deployment.start().await;
    let mut wires = Vec::new();
    for _ in 0..PLACES {
        let mut wire = Wire::connect(gateway.address("plain")).await;
        let request =
            format!("GET /slow HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {key}\r\n\r\n");
        wire.send(request).await;
        wires.push(wire);
    }
    one.wait_for("all of them", |requests| requests.len() == PLACES)
        .await;
    assert_eq!(
        status(&gateway, HONEST, &key).await.unwrap(),
        503,
        "all are in use"
    );
    (0..PLACES).for_each(|_| one.open_gate());
    for mut wire in wires {
        assert_eq!(
            within("an answer", wire.answer()).await.unwrap().status,
            200
        );
    }
    // A place is free when the connection's task has ended, a moment after the answer.
    within("places are free", async {
        while status(&gateway, HONEST, &key).await.unwrap() != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..3 {
        assert_eq!(status(&gateway, HONEST, &key).await.unwrap(), 200);
    }
}

/// A client with many requests on one connection uses up what there is for upstreams: it is told that the gateway has
/// no more, and everything else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn too_few_descriptors_are_a_503_and_never_a_silent_listener() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let key = deployment.key("ci", &[]).plain;
    let gateway = deployment.start_within(DESCRIPTORS).await;
    let target = deployment.target(&gateway, Some(&key));
    let mut connection = target.connect(Mode::TlsHttp2).await;
    let (mut open, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        let request = target.request(Mode::TlsHttp2, "GET", "/sse");
        let request = request.body(crate::support::client::empty()).unwrap();
        let answer = within("an answer", connection.send(request)).await;
        if answer.status() == 200 {
            open.push(answer);
        } else {
            refused.push(crate::support::deployment::text(answer).await);
        }
    }
    assert!(
        !open.is_empty() && !refused.is_empty(),
        "{} {}",
        open.len(),
        refused.len()
    );
    for answer in &refused {
        assert_eq!(answer.status(), 503, "{}", answer.body());
        assert!(answer.headers().contains_key("retry-after"));
        assert!(
            answer.body().contains("no connection left"),
            "{}",
            answer.body()
        );
        assert!(
            answer.body().contains("Try again after"),
            "{}",
            answer.body()
        );
    }
    // The operators' side, the database and a new client go on.
    assert_eq!(gateway.operators("/readyz").await.status(), 200);
    assert_eq!(gateway.operators("/sign-in").await.status(), 200);
    deployment
        .run(&[
            "keys",
            "create",
            "--name",
            "x",
            "--member",
            "hana@example.com",
        ])
        .ok();
    assert_eq!(status(&gateway, HONEST, "gk_nonsense").await.unwrap(), 401);
    println!("{} streams open, {} refused", open.len(), refused.len());
    drop(open);
    within("requests are forwarded again", async {
        while status(&gateway, HONEST, &key).await.ok() != Some(200) {}
    })
    .await;
}
