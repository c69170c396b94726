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
use crate::support::deployment::{Deployment, Engine};
use gateways::Gateway;
use ground::{Ground, PERMANENT};
use machine::Ticks;
use report::Report;
use streams::Opened;
use time::{Dice, Nanos, Stopwatch, Weather};
use traffic::Client;
use verdict::Verdict;

/// Claim 2: nothing of a revoked key is relayed later than this after its receipt.
pub const CUT_WITHIN: Nanos = 100_000_000;

/// Clients of each gateway; the last one speaks HTTP/2 over TLS.
const CLIENTS: usize = 4;
/// Between two requests of a client.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);
const ADJUST_EVERY: Duration = Duration::from_millis(500);
/// Until the load is about right.
const WARM_UP: Duration = Duration::from_secs(3);
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
    company.spawn(keep_half_busy(Arc::clone(&ground)));
    open_lasting_streams(&ground, &mut company);
    sleep(WARM_UP).await;
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
    let deployment = Deployment::new(Engine::Postgres, upstream, &extra).await;
    let config = std::fs::read_to_string(deployment.config()).unwrap();
    let url = config
        .lines()
        .find_map(|line| line.strip_prefix("postgres = "));
    let database = url.expect("a database").trim_matches('"').to_owned();
    let service = revoker::service(&database).await;
    let keys = revoker::keys(&service, PERMANENT + plan.revocations, plan.gateways).await;
    let mut gateways = Vec::new();
    for number in 0..plan.gateways {
        gateways.push(Gateway::start(&deployment, &database, number).await);
    }
    let ground = Ground {
        plan,
        deployment,
        database,
        clock: Stopwatch::start(),
        keys,
        gateways,
        verdict: Verdict::default(),
        weather: Weather::default(),
        fault: AtomicUsize::new(0),
        hot: AtomicUsize::new(PERMANENT),
        pause: AtomicU64::new(time::nanos(PAUSE_MAX)),
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

/// Lets the clients ask faster or slower until about half of the machine is busy, whatever else is
/// going on: streams, revocations, faults.
async fn keep_half_busy(ground: Arc<Ground>) {
    loop {
        let before = Ticks::now();
        sleep(ADJUST_EVERY).await;
        let busy = Ticks::now().busy_since(before);
        let pause = ground.pause.load(Ordering::Relaxed);
        let adjusted = match busy {
            0..45 => pause * 4 / 5,
            55.. => pause * 5 / 4,
            _ => pause,
        };
        let within = adjusted.clamp(time::nanos(PAUSE_MIN), time::nanos(PAUSE_MAX));
        ground.pause.store(within, Ordering::Relaxed);
    }
}

/// Streams of keys that membership: no revocation and no fault elsewhere may touch them.
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
