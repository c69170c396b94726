//! Wall clocks that jump by an hour. The real server runs in this process, with a clock whose wall part
//! can be turned; its boot part is the machine's, as on any host.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use genkan::config;
use genkan::model::clock::{BootInstant, Clock, SystemClock, Timestamp};
use genkan::server::{Addresses, Server};
use genkan::service::Service;
use genkan::store::{self, WhenAbsent};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{BUSY, alone, ask, ask_once, make_key, new_key, service};
use crate::support::client::Target;
use crate::support::deployment::{Deployment, Engine, Key, operators};
use crate::support::fault_proxy::FaultProxy;
use crate::support::postgres;
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;
use crate::support::within;

const HOUR_MS: i64 = 3_600_000;
const HOUR: Duration = Duration::from_hours(1);
/// A key is over this soon after its date at the latest, and never before it.
const EXPIRY: Duration = Duration::from_millis(50);
/// How far before a date the clock is set, to watch it go by.
const BEFORE_MS: i64 = 300;
const LEASE: Duration = Duration::from_secs(1);
const BEYOND_THE_LEASE: Duration = Duration::from_millis(200);

/// The machine's clocks, the wall clock off by so much.
#[derive(Default)]
struct Turned(AtomicI64);

impl Turned {
    fn by(hours: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(hours * HOUR_MS)))
    }

    fn turn(&self, offset_ms: i64) {
        self.0.store(offset_ms, Ordering::SeqCst);
    }
}

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_millis();
        Timestamp::from_millis(now + self.0.load(Ordering::SeqCst))
    }

    fn boot(&self) -> BootInstant {
        SystemClock.boot()
    }
}

/// A gateway in this process.
struct Inside {
    clock: Arc<Turned>,
    addresses: Addresses,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Inside {
    async fn start(deployment: &Deployment, clock: Arc<Turned>) -> Self {
        let config = config::load(&deployment.config(), []).unwrap();
        let store = store::open(&config.store, WhenAbsent::Create)
            .await
            .unwrap();
        let server = Server::bind(config, Arc::clone(&store), Arc::clone(&clock) as _);
        let server = server.await.unwrap();
        let addresses = server.addresses().clone();
        let (end, ended) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let shutdown = async { drop(ended.await) };
            let _ended = server.serve(shutdown).await;
            store.close().await;
        });
        Self {
            clock,
            addresses,
            end,
            serving,
        }
    }

    fn target(&self, key: &Key) -> Target {
        let address = |name: &str| {
            let mut all = self.addresses.listeners.iter();
            all.find(|(listener, _)| listener == name).unwrap().1
        };
        Target {
            plain: address("plain"),
            tls: address("tls"),
            authority: PathBuf::new(),
            key: Some(key.plain.clone()),
        }
    }

    async fn wire(&self, key: &Key) -> Wire {
        Wire::connect(self.target(key).plain).await
    }

    /// How often it had to register: more than once says that a lease was lost.
    async fn registrations(&self) -> String {
        let text = operators(self.addresses.admin, "/metrics")
            .await
            .into_body();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("genkan_registrations_total "));
        line.unwrap().to_owned()
    }

    async fn stop(self) {
        let _served_till_now = self.end.send(());
        within("the gateway ends", self.serving).await.unwrap();
    }
}

async fn deployment(engine: Engine) -> (Upstream, Deployment) {
    let upstream = Upstream::start().await;
    let limits = format!(
        "[limits]\nlease_ms = {}\nshutdown_linger_ms = 0\n",
        LEASE.as_millis()
    );
    let deployment = Deployment::new(engine, upstream.plain, &limits).await;
    (upstream, deployment)
}

/// A key of an hour, made by a true clock, and its end.
async fn key_of_an_hour(service: &Service) -> (Key, Timestamp) {
    let (key, plain, _) = service.create_key(new_key(Some(HOUR))).await.unwrap();
    let end = key.expires_at.unwrap();
    let key = Key {
        id: key.id.to_string(),
        plain: plain.expose().to_owned(),
    };
    (key, end)
}

/// How long after a step of the clock the first answer with this status came.
async fn turned_until(wire: &mut Wire, key: &Key, status: u16) -> Duration {
    let begun = Instant::now();
    let answered = async { while ask(wire, &key.plain).await != status {} };
    within("the answer changes", answered).await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_over_at_its_date_after_a_step_of_the_clock_in_either_direction() {
    let _alone = alone().await;
    let (_upstream, deployment) = deployment(Engine::Sqlite).await;
    let service = service(&deployment, Arc::new(SystemClock)).await;
    let gateway = Inside::start(&deployment, Turned::by(0)).await;
    let (key, end) = key_of_an_hour(&service).await;
    let mut wire = gateway.wire(&key).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);
    for (hours, status) in [(1, 401), (0, 200), (2, 401), (-1, 200)] {
        gateway.clock.turn(hours * HOUR_MS);
        let after = turned_until(&mut wire, &key, status).await;
        println!("clock at {hours} h: {status} after {after:?}");
        assert!(after <= EXPIRY + BUSY, "{after:?}");
    }
    // To just before its date, from either side, and over it.
    for from in [0, 2 * HOUR_MS] {
        gateway.clock.turn(from);
        let to = end.as_millis() - BEFORE_MS - SystemClock.now().as_millis();
        gateway.clock.turn(to);
        let (mut last_accepted, mut first_refused) = (None, None);
        while first_refused.is_none() {
            let before = gateway.clock.now();
            match ask(&mut wire, &key.plain).await {
                200 => last_accepted = Some(before),
                401 => first_refused = Some(gateway.clock.now()),
                other => panic!("{other}"),
            }
        }
        let late = first_refused.unwrap().as_millis() - end.as_millis();
        println!("from {from} ms: refused {late} ms after its date");
        assert!(last_accepted.expect("it worked before its date") < end);
        assert!((0..=i64::try_from((EXPIRY + BUSY).as_millis()).unwrap()).contains(&late));
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lease_minds_a_step_of_the_clock() {
    let _alone = alone().await;
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let (_upstream, deployment) = deployment(engine).await;
        let service = service(&deployment, Arc::new(SystemClock)).await;
        let key = make_key(&service).await;
        let gateways = [
            Inside::start(&deployment, Turned::by(0)).await,
            Inside::start(&deployment, Turned::by(0)).await,
        ];
        let mut wires = [gateways[0].wire(&key).await, gateways[1].wire(&key).await];
        let (mut steps, mut answers, mut failed) = (0, 0, 0);
        let begun = Instant::now();
        // Longer than a lease, so that each of them has to be renewed under jumping clocks.
        while begun.elapsed() < LEASE * 2 {
            for gateway in &gateways {
                gateway.clock.turn((steps % 3 - 1) * HOUR_MS);
            }
            steps += 1;
            for wire in &mut wires {
                answers += 1;
                failed += usize::from(ask(wire, &key.plain).await != 200);
            }
        }
        println!("{engine:?}: {steps} steps of an hour or two, {failed} of {answers} failed");
        assert_eq!(failed, 0);
        for gateway in gateways {
            assert_eq!(gateway.registrations().await, "1", "its lease was lost");
            gateway.stop().await;
        }
    }
}

/// A key that both have accepted, revoked by a revoker whose clock is right.
async fn revoked_by_both(
    deployment: &Deployment,
    gateways: &[Inside; 2],
) -> (Key, Vec<&'static str>, Duration) {
    let service = service(deployment, Arc::new(SystemClock)).await;
    let key = make_key(&service).await;
    for gateway in gateways {
        assert_eq!(ask_once(&gateway.target(&key)).await, 200);
    }
    let (outcomes, took) = revoke(&service, &key).await;
    (key, outcomes, took)
}

async fn revoke(service: &Service, key: &Key) -> (Vec<&'static str>, Duration) {
    let begun = Instant::now();
    let revoked = service.revoke_key(key.id.parse().unwrap()).await.unwrap();
    let receipt = within(
        "it settles",
        service.wait_for_acknowledgements(revoked.sequence),
    )
    .await;
    let receipt = receipt.unwrap();
    let mut outcomes: Vec<_> = receipt
        .instances
        .iter()
        .map(|one| one.outcome.as_str())
        .collect();
    outcomes.sort_unstable();
    (outcomes, begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_whose_clocks_are_hours_apart_obey_one_revocation() {
    let _alone = alone().await;
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let (_upstream, deployment) = deployment(engine).await;
        let gateways = [
            Inside::start(&deployment, Turned::by(-1)).await,
            Inside::start(&deployment, Turned::by(1)).await,
        ];
        let (key, outcomes, took) = revoked_by_both(&deployment, &gateways).await;
        println!("{engine:?}, two hours apart: {outcomes:?} after {took:?}");
        assert_eq!(outcomes, ["acknowledged", "acknowledged"]);
        for gateway in &gateways {
            assert_eq!(ask_once(&gateway.target(&key)).await, 401);
        }
        for gateway in gateways {
            gateway.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_cut_off_is_fenced_in_time_whatever_its_clock_says() {
    let _alone = alone().await;
    let upstream = Upstream::start().await;
    let url = postgres::database().await;
    let limits = format!(
        "[limits]\nlease_ms = {}\nshutdown_linger_ms = 0\n",
        LEASE.as_millis()
    );
    let deployment = Deployment::on(&url, upstream.plain, &limits);
    let server: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let own = format!("{}:{}", server.get_host(), server.get_port());
    let address = within("the server has an address", tokio::net::lookup_host(&own)).await;
    let proxy = FaultProxy::before(address.unwrap().next().unwrap()).await;
    let beyond = Deployment::on(
        &url.replace(&own, &proxy.address().to_string()),
        upstream.plain,
        &limits,
    );
    let service = service(&deployment, Arc::new(SystemClock)).await;
    for hours in [-1, 1] {
        let gateway = Inside::start(&beyond, Turned::by(hours)).await;
        let key = make_key(&service).await;
        assert_eq!(ask_once(&gateway.target(&key)).await, 200);
        proxy.freeze();
        let (outcomes, took) = revoke(&service, &key).await;
        let status = ask_once(&gateway.target(&key)).await;
        println!("clock at {hours} h, cut off: {outcomes:?} after {took:?}; then {status}");
        assert_eq!(outcomes, ["fenced"]);
        assert!(took <= LEASE + BEYOND_THE_LEASE + BUSY, "{took:?}");
        assert_eq!(status, 503);
        proxy.thaw();
        gateway.stop().await;
    }
}
