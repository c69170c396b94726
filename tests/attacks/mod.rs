//! Attacks on the admin listener, with honest traffic beside them: the data plane, a revocation with its receipt,
//! the console and the API go on as if nothing was.

mod client_address;
mod connections;
mod hosts;
mod measured;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::MutexGuard;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::support::ALONE;
use crate::support::deployment::{Deployment, Engine, Key, Process};
use crate::support::legitimate::{Legitimate, Plan};
use crate::support::raw::{Answer, Wire, connect_from};
use crate::support::upstream::Upstream;
use crate::support::within;

/// Idle connections, more than the descriptors of the gateway under attack.
const IDLE: usize = 300;
const DESCRIPTORS: u32 = 256;
/// Bodies that never come to their end: more than the console works on at a time.
const HALF_SENT: usize = 70;
/// Sign-ins at a provider that never answers.
const SIGN_INS: usize = 64;
/// Revocations at a time that wait for a gateway which stands still.
const WAITING: usize = 64;
/// How long each attack goes on with traffic beside it.
const ATTACK: Duration = Duration::from_secs(2);
/// Of honest traffic. Half of it is the first use of a key.
const REQUESTS_PER_SECOND: u32 = 20;
const FRESH_KEYS: usize = 24;
/// A connection of an attacker that is closed is opened anew after this time.
const REOPENED_AFTER: Duration = Duration::from_secs(1);
/// Where an attacker cannot connect, as this machine has no port left.
const BACK_OFF: Duration = Duration::from_millis(50);
const ATTACKER: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Honest people are elsewhere.
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Within this time a page or an answer of the API is prompt, on a busy machine and in a debug build.
const PROMPT: Duration = Duration::from_secs(2);

/// A gateway that is attacked, and what honest people need for their work.
struct Scene {
    deployment: Deployment,
    gateway: Process,
    remembered: Key,
    fresh: Vec<String>,
    manager: Key,
    _upstream: Upstream,
    /// Nobody else keeps the cores busy.
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    async fn set(extra: &str, fresh_keys: usize, descriptors: Option<u32>) -> Self {
        let alone = ALONE.lock().await;
        let upstream = Upstream::start().await;
        let extra = format!("{extra}[limits]\nlookup_timeout_ms = 2_000\n");
        let deployment = Deployment::new(Engine::Sqlite, upstream.plain, &extra).await;
        let remembered = deployment.key("remembered", &[]);
        let manager = deployment.key(
            "manager",
            &["--scope", "api", "--scope", "mcp", "--scope", "manage"],
        );
        let gateway = match descriptors {
            Some(most) => deployment.start_within(most).await,
            None => deployment.start().await,
        };
        let mut scene = Self {
            deployment,
            gateway,
            remembered,
            fresh: Vec::new(),
            manager,
            _upstream: upstream,
            _alone: alone,
        };
        assert_eq!(scene.asks(&scene.remembered).await, 200);
        scene.make_fresh(fresh_keys).await;
        scene
    }

    /// Keys that the gateway has made and nobody has presented to it.
    async fn make_fresh(&mut self, number: usize) {
        let mut wire = Wire::connect(self.admin()).await;
        let request = format!(
            "POST /api/v1/keys HTTP/1.1\r\nHost: {}\r\nx-api-key: {}\r\nContent-Type: application/json\r\n\
             Content-Length: 16\r\n\r\n{{\"name\":\"fresh\"}}",
            self.admin(),
            self.manager.plain
        );
        for _ in 0..number {
            let answer = wire.ask(&request).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
            let made: Value = serde_json::from_slice(&answer.body).unwrap();
            self.fresh.push(made["secret"].as_str().unwrap().to_owned());
        }
    }

    fn admin(&self) -> SocketAddr {
        self.gateway.address("admin")
    }

    async fn asks(&self, key: &Key) -> u16 {
        let mut wire = Wire::connect(self.gateway.address("plain")).await;
        let request = format!(
            "GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {}\r\n\r\n",
            key.plain
        );
        wire.ask(request).await.status
    }

    fn traffic(&mut self, requests_per_second: u32, fresh: usize) -> Plan {
        let kept = self.fresh.len().checked_sub(fresh).expect("fresh keys");
        Plan {
            address: self.gateway.address("plain"),
            requests_per_second,
            remembered: self.remembered.plain.clone(),
            fresh: self.fresh.split_off(kept),
        }
    }

    /// One request to the admin listener on a connection of its own, answered promptly.
    async fn prompt(&self, what: &str, head: &str) -> Answer {
        let asked = Instant::now();
        let answer = timeout(PROMPT, async {
            let mut wire = Wire::try_connect_from(HONEST, self.admin()).await.unwrap();
            let host = self.admin();
            wire.send(format!(
                "{head} HTTP/1.1\r\nHost: {host}\r\nx-api-key: {}\r\n\r\n",
                self.manager.plain
            ))
            .await;
            wire.answer().await
        })
        .await;
        let answer = answer.unwrap_or_else(|_elapsed| panic!("{what}: no answer in {PROMPT:?}"));
        let answer = answer.unwrap_or_else(|| panic!("{what}: closed without an answer"));
        println!("{what}: {} after {:?}", answer.status, asked.elapsed());
        answer
    }

    /// The work of honest people while an attack runs: pages, answers of the API, requests with remembered and with
    /// fresh keys, and the end of a key, confirmed.
    async fn everything_goes_on(&mut self, attack: &str) {
        let traffic = Legitimate::begin(self.traffic(REQUESTS_PER_SECOND, FRESH_KEYS));
        let begun = Instant::now();
        let mut rounds = 0;
        while rounds < 3 || begun.elapsed() < ATTACK {
            for (what, head) in [
                ("a page", "GET /sign-in"),
                ("the API", "GET /api/v1/me"),
                ("readiness", "GET /readyz"),
                ("the metrics", "GET /metrics"),
            ] {
                let answer = self.prompt(&format!("{attack}, {what}"), head).await;
                assert_eq!(answer.status, 200, "{attack}: {what} {}", answer.head);
            }
            rounds += 1;
        }
        let ended = self.deployment.key("ended", &[]);
        assert_eq!(self.asks(&ended).await, 200, "{attack}");
        let revoke = format!("DELETE /api/v1/keys/{}", ended.id);
        let answer = self
            .prompt(&format!("{attack}, a revocation"), &revoke)
            .await;
        assert_eq!(answer.status, 200, "{attack}: {}", answer.text());
        let receipt: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            receipt["instances"][0]["result"], "acknowledged",
            "{attack}"
        );
        assert_eq!(self.asks(&ended).await, 401, "{attack}");
        // And from the command line, by way of the database alone.
        let ended = self.deployment.key("ended too", &[]);
        let done = self
            .deployment
            .run_beside(&["keys", "revoke", &ended.id])
            .await;
        assert!(done.stderr.contains("acknowledged"), "{attack}: {done:#?}");
        let seen = traffic.ended().await;
        seen.none_failed(attack);
        println!(
            "{attack}: {} requests, p99 {:?}",
            seen.latencies.len(),
            seen.p99()
        );
    }
}

/// An attack that goes on until it is dropped: so many connections on which `sent` was written, each opened anew
/// whenever it is closed.
struct Crowd(Vec<JoinHandle<()>>);

impl Crowd {
    async fn of(number: usize, address: SocketAddr, sent: String) -> Self {
        Self::from(&[ATTACKER], number, address, (sent, REOPENED_AFTER)).await
    }

    /// So many from each of these addresses, opened anew after so long.
    async fn from(
        addresses: &[Ipv4Addr],
        number: usize,
        address: SocketAddr,
        (sent, reopened_after): (String, Duration),
    ) -> Self {
        let there = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
        let one = |from: Ipv4Addr| {
            let (sent, there) = (sent.clone(), std::sync::Arc::clone(&there));
            tokio::spawn(async move {
                loop {
                    if let Ok(mut stream) = connect_from(from, address).await {
                        // Its port is free again at once.
                        let _gone = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                        let _gone = stream.write_all(sent.as_bytes()).await;
                        there.add_permits(1);
                        // Until the other side has had enough.
                        let _ended = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    } else {
                        tokio::time::sleep(BACK_OFF).await;
                    }
                    tokio::time::sleep(reopened_after).await;
                }
            })
        };
        let all = addresses
            .iter()
            .flat_map(|from| std::iter::repeat_n(*from, number));
        let crowd = Self(all.map(one).collect());
        let enough = there.acquire_many(u32::try_from(crowd.0.len()).unwrap());
        drop(within("the attack is under way", enough).await.unwrap());
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// The head of a form, and one letter of its body.
fn half_a_form(admin: SocketAddr) -> String {
    format!(
        "POST /language HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: 11\r\n\r\nl"
    )
}

async fn open_connections(gateway: &Process) -> f64 {
    let text = gateway.operators("/metrics").await.into_body();
    metric(&text, "genkan_admin_connections")
}

fn metric(text: &str, name: &str) -> f64 {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name}: {text}"))
        .parse()
        .unwrap()
}

/// A provider that takes every connection, and never answers; and a configuration that names it.
async fn silent_provider() -> (TcpListener, String) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = silent.local_addr().unwrap();
    let oidc = format!(
        "[oidc]\nissuer = \"http://{issuer}\"\nclient_id = \"genkan\"\nclient_secret = \"s\"\n"
    );
    (silent, oidc)
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_to_the_admin_listener_take_nothing_from_anybody() {
    let mut scene = Scene::set("", FRESH_KEYS, Some(DESCRIPTORS)).await;
    let warned = scene.gateway.stderr();
    let crowd = Crowd::of(IDLE, scene.admin(), String::new()).await;
    scene.everything_goes_on("idle connections").await;
    drop(crowd);
    let warning = warned.iter().find(|line| line.contains("file descriptors"));
    let warning = warning.expect("the bounds were lowered, with a warning");
    assert!(warning.contains("\"descriptors\":256"), "{warning}");
    assert!(
        warning.contains("\"upstream_idle_connections_max\":"),
        "{warning}"
    );
    // Half a head is no more than nothing.
    let head = "GET /keys HTTP/1.1\r\nHost: ".to_owned();
    let crowd = Crowd::of(IDLE, scene.admin(), head).await;
    let answer = scene.prompt("half a head", "GET /sign-in").await;
    assert_eq!(answer.status, 200);
    drop(crowd);
}

/// One address, and as many connections a second as this machine can open.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_come_again_at_once_keep_no_other_address_waiting() {
    let mut scene = Scene::set("", FRESH_KEYS, Some(DESCRIPTORS)).await;
    let attack = (String::new(), Duration::ZERO);
    let crowd = Crowd::from(&[ATTACKER], IDLE, scene.admin(), attack).await;
    scene.everything_goes_on("connections in a row").await;
    let text = scene.prompt("the metrics", "GET /metrics").await.text();
    let open = metric(&text, "genkan_admin_connections");
    // A quarter of 44, or of what is left of the descriptors, and who asks; some are just leaving.
    assert!(open <= 30.0, "{open}");
    assert!(metric(&text, "genkan_admin_connections_refused_total") > 0.0);
    drop(crowd);
}

/// As many sign-ins as there are connections, from four addresses, at a provider that never answers.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_leaves_connections_to_probes() {
    const CONNECTIONS: usize = 8;
    // A client that the machine keeps from sending its request for too long makes room for the next.
    let _alone = ALONE.lock().await;
    let (provider, oidc) = silent_provider().await;
    let upstream = Upstream::start().await;
    let limits = format!("{oidc}[limits]\nadmin_connections_max = {CONNECTIONS}\n");
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, &limits).await;
    let gateway = deployment.start().await;
    let admin = gateway.address("admin");
    let sign_in = format!("GET /sign-in/provider HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    let attackers = [3, 4, 5, 6].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let attack = (sign_in, Duration::from_millis(50));
    let crowd = Crowd::from(&attackers, CONNECTIONS / 4, admin, attack).await;
    let _asked = within("the provider is asked", provider.accept()).await;
    for path in ["/healthz", "/readyz", "/metrics", "/sign-in"].repeat(5) {
        let asked = Instant::now();
        let answer = timeout(PROMPT, async {
            let mut wire = Wire::try_connect_from(HONEST, admin).await.unwrap();
            wire.send(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n"))
                .await;
            wire.answer().await
        })
        .await;
        let answer = answer.unwrap_or_else(|_elapsed| panic!("{path}: no answer in {PROMPT:?}"));
        assert_eq!(answer.map(|it| it.status), Some(200), "{path}");
        println!("{path} after {:?}", asked.elapsed());
    }
    drop(crowd);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_bodies_hold_no_place() {
    let mut scene = Scene::set("", FRESH_KEYS, None).await;
    let form = half_a_form(scene.admin());
    let crowd = Crowd::of(HALF_SENT, scene.admin(), form.clone()).await;
    let api = form.replace("/language", "/api/v1/keys");
    let beside = Crowd::of(HALF_SENT, scene.admin(), api).await;
    scene.everything_goes_on("half-sent bodies").await;
    drop((crowd, beside));
    // What stays half is answered within seconds, in words.
    for path in ["/language", "/api/v1/keys"] {
        let (mut begun, mut answer) = (Instant::now(), None);
        // Until it has been seen that the crowd has gone, a new connection may find no place.
        while answer.is_none() {
            let mut wire = Wire::connect(scene.admin()).await;
            wire.send(form.replace("/language", path)).await;
            begun = Instant::now();
            answer = within("an answer, or no place", wire.answer()).await;
        }
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 408, "{path} {}", answer.head);
        assert!(begun.elapsed() < Duration::from_secs(8), "{path}");
        assert!(answer.text().contains("The body did not come in time"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_bounded_before_a_place_is_taken() {
    let scene = Scene::set("", 0, None).await;
    for (path, length) in [("/language", 16_385), ("/api/v1/keys", 16_385)] {
        let mut wire = Wire::connect(scene.admin()).await;
        wire.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
            scene.admin()
        ))
        .await;
        // Nothing of it has been sent.
        assert_eq!(
            wire.answer().await.expect("an answer").status,
            413,
            "{path}"
        );
        let mut wire = Wire::connect(scene.admin()).await;
        let chunk = "x".repeat(0x4001);
        wire.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
             4001\r\n{chunk}\r\n",
            scene.admin()
        ))
        .await;
        assert_eq!(
            wire.answer().await.expect("an answer").status,
            413,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_at_a_provider_that_hangs_hold_up_nobody_else() {
    let (provider, oidc) = silent_provider().await;
    let mut scene = Scene::set(&oidc, FRESH_KEYS, None).await;
    let admin = scene.admin();
    let sign_in = format!("GET /sign-in/provider HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    let crowd = Crowd::of(SIGN_INS, admin, sign_in).await;
    let first = within("the provider is asked", provider.accept()).await;
    let begun = Instant::now();
    scene.everything_goes_on("sign-ins").await;
    drop(crowd);
    // One asked for all of them, and nobody since: what failed is remembered, or still under way.
    let mut more = 0;
    while let Ok(_again) = timeout(Duration::from_millis(100), provider.accept()).await {
        more += 1;
    }
    let over = begun.elapsed().as_secs() / 10;
    assert!(
        more <= over,
        "{more} more calls in {:?}: {first:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_that_wait_for_a_gateway_hold_up_nobody_else() {
    let upstream = Upstream::start().await;
    let lease = "[limits]\nlease_ms = 10_000\nlookup_timeout_ms = 2_000\n";
    let deployment = Deployment::new(Engine::Postgres, upstream.plain, lease).await;
    let manager = deployment.key(
        "manager",
        &["--scope", "api", "--scope", "mcp", "--scope", "manage"],
    );
    let gateway = deployment.start().await;
    let mut scene = Scene {
        remembered: manager.clone(),
        fresh: Vec::new(),
        gateway,
        deployment,
        manager,
        _upstream: upstream,
        _alone: ALONE.lock().await,
    };
    scene.make_fresh(WAITING).await;
    let page = scene
        .prompt("keys", "GET /api/v1/keys?limit=100")
        .await
        .text();
    let keys: Value = serde_json::from_str(&page).unwrap();
    let keys = keys["items"].as_array().unwrap().iter();
    let keys = keys.filter(|key| key["name"] == "fresh");
    let ids: Vec<_> = keys.map(|key| key["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), WAITING);
    // The other gateway stands still: until its lease is over, every revocation waits for it.
    let other = scene.deployment.start().await;
    other.signal(Signal::STOP);
    let (admin, manager) = (scene.admin(), scene.manager.plain.clone());
    let mut revocations = JoinSet::new();
    for id in ids {
        let head = format!("DELETE /api/v1/keys/{id} HTTP/1.1\r\nHost: {admin}\r\n");
        let request = format!("{head}x-api-key: {manager}\r\n\r\n");
        revocations.spawn(async move { Wire::connect(admin).await.ask(request).await.status });
    }
    for key in &scene.fresh {
        let key = Key {
            id: String::new(),
            plain: key.clone(),
        };
        within("it is revoked here", async {
            while scene.asks(&key).await != 401 {}
        })
        .await;
    }
    for head in [
        "GET /sign-in",
        "GET /api/v1/me",
        "GET /api/v1/keys",
        "GET /readyz",
    ] {
        let answer = scene.prompt(head, head).await;
        assert_eq!(answer.status, 200, "{head}: {}", answer.head);
    }
    assert!(
        revocations.try_join_next().is_none(),
        "all of them still wait"
    );
    other.signal(Signal::CONT);
    let statuses = within("they are confirmed", revocations.join_all()).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_of_the_data_plane_hold_on_the_admin_listener() {
    let limits = "[limits]\nhandshake_timeout_ms = 500\nhead_timeout_ms = 500\nkeep_alive_timeout_ms = 500\n";
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, limits).await;
    let gateway = deployment.start().await;
    let admin = gateway.address("admin");
    let mut silent = Wire::connect(admin).await;
    let mut slow = Wire::connect(admin).await;
    slow.send("GET /healthz HTTP/1.1\r\nHost: loc").await;
    let mut idle = Wire::connect(admin).await;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    assert_eq!(idle.ask(&request).await.status, 200);
    assert_eq!(idle.ask(&request).await.status, 200, "kept alive");
    assert!(silent.is_closed().await, "a client that says nothing");
    assert!(slow.is_closed().await, "half a head");
    assert!(idle.is_closed().await, "between requests");
    // Many answers that nobody reads.
    let mut greedy = Wire::connect(admin).await;
    let document = request.replace("/healthz", "/openapi.json");
    greedy.send(document.repeat(500)).await;
    within("whoever reads nothing is gone", async {
        // Who asks is the only one left.
        while open_connections(&gateway).await > 1.0 {}
    })
    .await;
    drop(greedy);
    // A head is bounded too.
    let mut large = Wire::connect(admin).await;
    let header = format!("X-Large: {}\r\n", "x".repeat(60_000));
    large
        .send(format!(
            "GET /healthz HTTP/1.1\r\nHost: {admin}\r\n{header}\r\n"
        ))
        .await;
    assert_eq!(large.answer().await.map(|it| it.status), Some(431));
}
