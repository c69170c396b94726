//! Who revokes: the rules of the command line, over a connection to the database of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use genkan::config;
use genkan::invalidation::receipt::Receipt;
use genkan::model::clock::SystemClock;
use genkan::model::random::SystemEntropy;
use genkan::model::scope::Scopes;
use genkan::service::{NewKey, Service};
use genkan::store::{self, WhenAbsent};
use tokio::task::JoinSet;

use super::ground::{Ground, PERMANENT};
use super::keys::CheckedKey;
use super::streams::Opened;
use super::time::Dice;
use super::verdict::Breach;
use crate::support::client::{BoxError, Mode};

/// A key's stream and long poll are open for so many revocations before its own.
const STREAMS_AHEAD: usize = 3;
/// So that revocations meet gateways at any moment of their renewals.
const PAUSE_MAX: Duration = Duration::from_millis(10);

/// The one place where the checker opens a store.
pub async fn service(database: &str) -> Service {
    let place = config::Store::Postgres {
        url: database.to_owned().into(),
        connections_max: 4,
    };
    let clock = Arc::new(SystemClock);
    let store = store::open(&place, WhenAbsent::Create).await.unwrap();
    Service::new(store, clock, Arc::new(SystemEntropy))
}

pub async fn keys(service: &Service, number: usize, gateways: usize) -> Vec<CheckedKey> {
    let mut keys = Vec::with_capacity(number);
    for _ in 0..number {
        let new = NewKey {
            name: "checked".parse().unwrap(),
            member: "hana@example.com".parse().unwrap(),
            organization: None,
            scopes: Scopes::DEFAULT,
            expires_in: None,
        };
        let (key, plain, _) = service.create_key(new).await.unwrap();
        let plain = plain.expose().to_owned();
        keys.push(CheckedKey::new(key.id, plain, gateways));
    }
    keys
}

/// Revokes key after key, until none is left or the time is over.
pub async fn revoke_all(ground: Arc<Ground>, service: Service, mut dice: Dice) {
    let mut streams = JoinSet::new();
    let begun = ground.now();
    let last = ground
        .plan
        .time_max
        .map(|time| begun + super::time::nanos(time));
    for ahead in 0..STREAMS_AHEAD {
        open_streams(&ground, PERMANENT + ahead, &mut streams);
    }
    for key in PERMANENT..ground.keys.len() {
        if last.is_some_and(|last| ground.now() > last) {
            break;
        }
        open_streams(&ground, key + STREAMS_AHEAD, &mut streams);
        while let Some(ended) = streams.try_join_next() {
            ended.unwrap();
        }
        ground.hot.store(key, Ordering::SeqCst);
        ground.tried(|| ground.keys[key].accepted()).await;
        tokio::time::sleep(dice.between(Duration::ZERO, PAUSE_MAX)).await;
        revoke(&ground, &service, key).await;
        ground.tried(|| ground.keys[key].asked_after()).await;
        tell_progress(&ground, key + 1 - PERMANENT);
    }
    // The last streams are given the time in which they would be found open.
    let rest = async { while streams.join_next().await.is_some() {} };
    drop(tokio::time::timeout(ground.plan.outlived_after, rest).await);
}

fn open_streams(ground: &Arc<Ground>, key: usize, streams: &mut JoinSet<()>) {
    if key >= ground.keys.len() {
        return;
    }
    let gateways = ground.gateways.len();
    let opened = Opened {
        ground: Arc::clone(ground),
        gateway: key % gateways,
        key,
        mode: mode(key / gateways),
    };
    let second = Opened {
        gateway: (key + 1) % gateways,
        ..opened.clone()
    };
    let third = Opened {
        gateway: (key + 2) % gateways,
        ..opened.clone()
    };
    streams.spawn(opened.events());
    streams.spawn(third.socket());
    streams.spawn(second.poll());
}

/// Every third speaks HTTP/2 over TLS.
pub fn mode(number: usize) -> Mode {
    match number % 3 {
        2 => Mode::TlsHttp2,
        _ => Mode::Http1,
    }
}

async fn revoke(ground: &Ground, service: &Service, number: usize) {
    let key = &ground.keys[number];
    let begun = ground.now();
    key.revoking.set(begun);
    let receipt: Result<Receipt, BoxError> = async {
        let revoked = service.revoke_key(key.id).await?;
        Ok(service.wait_for_acknowledgements(revoked.sequence).await?)
    }
    .await;
    let returned = ground.now();
    let receipt = match receipt {
        Ok(receipt) => receipt,
        Err(error) => {
            let message = || format!("key {number}: {error}");
            return ground.verdict.breach(Breach::NoReceipt, message);
        }
    };
    key.returned.set(returned);
    let outcomes: Vec<_> = receipt.instances.iter().map(|it| it.outcome).collect();
    let fault = ground.fault_since(begun);
    ground.verdict.receipt(returned - begun, fault, &outcomes);
}

/// The progress of a long run.
#[expect(
    clippy::print_stderr,
    reason = "whoever waits for a long run sees it move"
)]
fn tell_progress(ground: &Ground, revoked: usize) {
    if let Some(every) = ground.plan.progress_every
        && revoked.is_multiple_of(every)
    {
        let seconds = ground.now() / 1_000_000_000;
        let requests = ground.verdict.requests.get();
        let after = ground.verdict.breaches(Breach::AcceptedAfterReceipt);
        eprintln!("{seconds} s: {revoked} revoked, {requests} requests, {after} accepted after");
    }
}
