//! Faults, each with its pass mark: what an outage, a pause, a jump of a clock or a kill may cost, and
//! that none of them ever lets a revoked key in.
//!
//! Real gateways under half load, a real PostgreSQL that is killed, frozen, slow or failed over. Every
//! figure is printed (`cargo test faults -- --nocapture`), whether it passes or not. Outages are short
//! enough for every run; `GENKAN_TEST_LONG=1` makes them as long as the marks say.

mod clocks;
mod database_clock;
mod database_locks;
mod ending;
mod failover;
mod files;
mod full_disk;
mod killed_writes;
mod listening;
mod load;
mod never_a_success;
mod outages;
mod replaced_files;
mod starting;
mod stopped;

use std::sync::Arc;
use std::time::Duration;

use genkan::config;
use genkan::model::clock::Clock;
use genkan::model::random::SystemEntropy;
use genkan::model::scope::Scopes;
use genkan::service::{NewKey, Service};
use genkan::store::{self, WhenAbsent};
use serde_json::Value;
use tokio::sync::MutexGuard;

use crate::support::ALONE;
use crate::support::client::Target;
use crate::support::deployment::{Deployment, Done, Key, Process};
use crate::support::raw::Wire;

/// Added to every mark in time: these are debug builds on cores that they share with other stories, where
/// a process may wait for its turn this long.
const BUSY: Duration = Duration::from_millis(200);
/// A command's own time, outside the wait that its receipt measures: it starts, connects and compares
/// the schema. A debug build on a busy machine.
const COMMAND: Duration = Duration::from_millis(800);

/// These stories measure.
async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// How long an outage lasts here: 8 s, which is beyond two leases, or 30 s when the long run is wanted.
fn outage() -> Duration {
    let long = std::env::var("GENKAN_TEST_LONG").is_ok_and(|value| value == "1");
    Duration::from_secs(if long { 30 } else { 8 })
}

/// The management rules in this process, on a deployment's database: for more calls than commands can be run.
async fn service(deployment: &Deployment, clock: Arc<dyn Clock>) -> Service {
    let config = config::load(&deployment.config(), []).unwrap();
    let store = store::open(&config.store, WhenAbsent::Create)
        .await
        .unwrap();
    Service::new(store, clock, Arc::new(SystemEntropy))
}

/// What a new key of hana's shall be.
fn new_key(expires_in: Option<Duration>) -> NewKey {
    NewKey {
        name: "story".parse().unwrap(),
        member: "hana@example.com".parse().unwrap(),
        organization: None,
        scopes: Scopes::DEFAULT,
        expires_in,
    }
}

/// A new key, made in this process.
async fn make_key(service: &Service) -> Key {
    let (key, plain, _) = service.create_key(new_key(None)).await.unwrap();
    Key {
        id: key.id.to_string(),
        plain: plain.expose().to_owned(),
    }
}

/// The request that every client here sends.
fn request(key: &str) -> String {
    format!("GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {key}\r\n\r\n")
}

async fn ask(wire: &mut Wire, key: &str) -> u16 {
    wire.ask(request(key)).await.status
}

/// One request on a connection of its own.
async fn ask_once(target: &Target) -> u16 {
    let key = target.key.as_deref().unwrap();
    ask(&mut Wire::connect(target.plain).await, key).await
}

async fn ask_gateway(gateway: &Process, key: &Key) -> u16 {
    ask(
        &mut Wire::connect(gateway.address("plain")).await,
        &key.plain,
    )
    .await
}

/// The receipt of a command that was asked for it as JSON.
fn receipt(done: Done) -> Value {
    serde_json::from_str(&done.ok()).unwrap()
}

/// How the instances of a receipt came to obey, and after how long the last did.
fn outcomes(receipt: &Value) -> (Vec<&str>, Duration) {
    let instances = receipt["instances"].as_array().unwrap();
    let mut outcomes: Vec<&str> = instances
        .iter()
        .map(|one| one["result"].as_str().unwrap())
        .collect();
    outcomes.sort_unstable();
    let after = instances
        .iter()
        .map(|one| one["after_ms"].as_u64().unwrap());
    (outcomes, Duration::from_millis(after.max().unwrap_or(0)))
}

fn percentile(of: &mut [Duration], percent: usize) -> Duration {
    of.sort_unstable();
    of[(of.len() * percent / 100).min(of.len() - 1)]
}

fn no_panic(gateways: &[Process]) {
    for line in gateways.iter().flat_map(Process::stderr) {
        assert!(!line.contains("panicked"), "{line}");
    }
}
