//! The black-box checker of revocations: real gateways on a real PostgreSQL, clients that never stop,
//! a revoker, and faults. It knows nothing of genkan's inside: it compares what was seen from outside
//! with the moments at which receipts were in hand, all on one clock.

pub mod faults;
pub mod gateways;
pub mod ground;
pub mod keys;
pub mod machine;
pub mod report;
pub mod revoker;
pub mod sockets;
pub mod streams;
pub mod time;
pub mod traffic;
pub mod upstream;
pub mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::client::Mode;
use crate::support::house::{Engine, House};
use gateways::Gateway;
use ground::{Ground, PERMANENT};
use machine::Ticks;
use report::Report;
use streams::Opened;
use time::{Dice, Nanos, Stopwatch, Weather};
use traffic::Client;
use verdict::Verdict;

/// Whether gateways cut the open streams of a revoked key. Until they do, what breaks the promises
/// about streams is counted and shown, and fails nothing.
pub const STREAMS_ARE_CUT: bool = false;

/// Claim 2: nothing of a revoked key is relayed later than this after its receipt.
pub const CUT_WITHIN: Nanos = 100_000_000;

/// Clients of each gateway; the last one speaks HTTP/2 over TLS.
const CLIENTS: usize = 4;
/// How long the machine is tried at full speed.
const FULL_SPEED_FOR: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_millis(5);

/// What is to be checked.
#[derive(Debug, Clone)]
pub struct Plan {
    pub gateways: usize,
    pub revocations: usize,
    /// Ends the check before every key is revoked.
    pub time_max: Option<Duration>,
    pub seed: u64,
    pub with_faults: bool,
    pub lease: Duration,
    /// A receipt that takes longer fails the check.
    pub receipt_max: Duration,
    /// A byte or an end of a stream that comes later after the receipt fails the check.
    pub late_max: Duration,
    /// A stream is given up when it is open for so long after the receipt.
    pub outlived_after: Duration,
    /// Progress is told after so many revocations.
    pub progress_every: Option<usize>,
}

/// Runs the check.
pub async fn run(plan: Plan) -> Report {
    let (listener, address) = upstream::bind().await;
    let (ground, service) = prepare(plan, address).await;
    let mut dice = Dice::new(ground.plan.seed);
    // Whatever is in here panics or goes on for ever: whoever ends, ends the check.
    let mut company = JoinSet::new();
    company.spawn(upstream::serve(listener, Arc::clone(&ground)));
    company.spawn(heartbeat(Arc::clone(&ground)));
    send_clients(&ground, &mut company, &mut dice);
    let half_load = settle_on_half(&ground).await;
    open_lasting_streams(&ground, &mut company);
    if ground.plan.with_faults {
        company.spawn(faults::inject(Arc::clone(&ground), dice.fork()));
    }
    let (begun, ticks) = (Instant::now(), Ticks::now());
    let revoker = revoker::revoke_all(Arc::clone(&ground), service, dice.fork());
    tokio::select! {
        () = revoker => {}
        Some(ended) = company.join_next() => panic!("a part of the check ended: {ended:?}"),
    }
    let run = report::Run {
        took: begun.elapsed(),
        half_load,
        busy: Ticks::now().busy_since(ticks),
    };
    let mut panics = Vec::new();
    for gateway in &ground.gateways {
        panics.extend(gateway.panics().await);
    }
    report::of(&ground, run, &panics)
}

async fn prepare(
    plan: Plan,
    upstream: std::net::SocketAddr,
) -> (Arc<Ground>, genkan::service::Service) {
    // Refused requests are what this is about: a log line for each would only cost time.
    let extra = format!(
        "[log]\nformat = \"json\"\nrequests = \"none\"\n[limits]\nlease_ms = {}\n",
        plan.lease.as_millis()
    );
    let house = House::new(Engine::Postgres, upstream, &extra).await;
    let config = std::fs::read_to_string(house.config()).unwrap();
    let url = config
        .lines()
        .find_map(|line| line.strip_prefix("postgres = "));
    let database = url.expect("a database").trim_matches('"').to_owned();
    let service = revoker::service(&database).await;
    let keys = revoker::keys(&service, PERMANENT + plan.revocations, plan.gateways).await;
    let mut gateways = Vec::new();
    for number in 0..plan.gateways {
        gateways.push(Gateway::start(&house, &database, number).await);
    }
    let ground = Ground {
        plan,
        house,
        database,
        clock: Stopwatch::start(),
        keys,
        gateways,
        verdict: Verdict::default(),
        weather: Weather::default(),
        fault: AtomicUsize::new(0),
        hot: AtomicUsize::new(PERMANENT),
        pause: AtomicU64::new(0),
        news: Notify::new(),
    };
    (Arc::new(ground), service)
}

fn send_clients(ground: &Arc<Ground>, company: &mut JoinSet<()>, dice: &mut Dice) {
    for gateway in 0..ground.gateways.len() {
        for number in 1..=CLIENTS {
            let mode = if number == CLIENTS {
                Mode::TlsHttp2
            } else {
                Mode::Http1
            };
            let client = Client::new(ground, gateway, mode);
            company.spawn(client.ask_on_and_on(dice.fork()));
        }
    }
}

/// Lets the clients run at full speed for a moment, then at half of it; how many requests a second
/// that is.
async fn settle_on_half(ground: &Ground) -> u64 {
    let before = ground.verdict.requests.get();
    sleep(FULL_SPEED_FOR).await;
    let requests = ground.verdict.requests.get() - before;
    let half = (requests / FULL_SPEED_FOR.as_secs() / 2).max(1);
    let clients = (ground.gateways.len() * CLIENTS) as u64;
    ground
        .pause
        .store(clients * 1_000_000_000 / half, Ordering::Relaxed);
    half
}

/// Streams of keys that stay: no revocation and no fault elsewhere may touch them.
fn open_lasting_streams(ground: &Arc<Ground>, company: &mut JoinSet<()>) {
    for gateway in 0..ground.gateways.len() {
        let opened = Opened {
            ground: Arc::clone(ground),
            gateway,
            key: gateway,
            mode: revoker::mode(gateway),
        };
        company.spawn(opened.events_for_ever());
    }
}

/// Notes how late the checker itself is: its figures cannot be better than that.
async fn heartbeat(ground: Arc<Ground>) {
    loop {
        let due = Instant::now() + HEARTBEAT;
        sleep_until(due).await;
        let late = due.elapsed();
        ground.verdict.own_delay.raise_to(time::nanos(late));
    }
}
