//! What goes wrong while keys are revoked: one fault at a time, with calm in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Signal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::gateways::Gateway;
use super::ground::{Ground, RECOVERY};
use super::time::Dice;
use super::traffic::Client;
use crate::support::client::Mode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a new start after a while.
    Killed,
    /// SIGSTOP for longer than the lease, then SIGCONT with requests waiting.
    Stopped,
    /// The connections to the database are reset, several times.
    Cut,
    /// Nothing moves to the database or from it, for longer than the lease.
    Frozen,
    /// Every chunk to the database and from it takes 500 ms.
    Delayed,
    /// The database is not to be reached, for longer than the lease.
    Refused,
    /// The server ends every connection that listens, several times; the others stay.
    Deaf,
}

impl Fault {
    pub const ALL: [Self; 7] = [
        Self::Killed,
        Self::Stopped,
        Self::Cut,
        Self::Frozen,
        Self::Delayed,
        Self::Refused,
        Self::Deaf,
    ];

    pub const fn words(self) -> &'static str {
        match self {
            Self::Killed => "gateway killed and started again",
            Self::Stopped => "gateway stopped for longer than its lease",
            Self::Cut => "database connections of a gateway reset",
            Self::Frozen => "database connections of a gateway frozen",
            Self::Delayed => "database 500 ms away for a gateway",
            Self::Refused => "database out of reach for a gateway",
            Self::Deaf => "LISTEN connections ended",
        }
    }
}

const CALM_MIN: Duration = Duration::from_secs(1);
const CALM_MAX: Duration = Duration::from_secs(3);
/// Of the gateways that are stopped: how much longer than their lease.
const LONGER: Duration = Duration::from_secs(2);
const DELAY: Duration = Duration::from_millis(500);
const RESETS: u32 = 5;
const RESET_EVERY: Duration = Duration::from_millis(300);
/// Keys that are warm in a gateway when it is stopped, and revoked until it wakes.
const WARM: usize = 6;
/// The requests that wait for a gateway to wake have left their clients by then.
const SENT_WITHIN: Duration = Duration::from_millis(100);

/// Injects fault after fault, each kind once in every round of a shuffled order, without end.
pub async fn inject(ground: Arc<Ground>, mut dice: Dice) {
    loop {
        let mut round = Fault::ALL;
        for last in (1..round.len()).rev() {
            round.swap(last, dice.below(last + 1));
        }
        for fault in round {
            sleep(RECOVERY + dice.between(CALM_MIN, CALM_MAX)).await;
            let gateway = dice.below(ground.gateways.len());
            ground.fault.store(fault as usize, Ordering::SeqCst);
            ground.verdict.injected[fault as usize].add(1);
            inflict(&ground, fault, gateway, &mut dice).await;
        }
    }
}

async fn inflict(ground: &Arc<Ground>, fault: Fault, number: usize, dice: &mut Dice) {
    let gateway = &ground.gateways[number];
    let lease = ground.plan.lease;
    if fault == Fault::Deaf {
        // Nobody but the revoker may notice.
        ground.weather.turns_bad();
        deafen(&ground.database).await;
        ground.weather.turns_good(ground.now());
        return;
    }
    let mut warm = if fault == Fault::Stopped {
        warm(ground, number).await
    } else {
        Vec::new()
    };
    ground.weather.turns_bad();
    gateway.weather.turns_bad();
    match fault {
        Fault::Killed => {
            gateway.kill().await;
            sleep(dice.between(Duration::ZERO, lease + LONGER)).await;
            gateway.start_again(&ground.deployment).await;
        }
        Fault::Stopped => {
            gateway.signal(Signal::STOP).await;
            sleep(lease + LONGER).await;
            wake(ground, gateway, &mut warm).await;
        }
        Fault::Cut => cut(gateway).await,
        Fault::Frozen => {
            gateway.proxy.freeze();
            sleep(lease + LONGER).await;
            gateway.proxy.thaw();
        }
        Fault::Delayed => {
            gateway.proxy.delay(DELAY);
            sleep(lease + LONGER).await;
            gateway.proxy.delay(Duration::ZERO);
        }
        Fault::Refused => {
            gateway.proxy.refuse();
            gateway.proxy.cut();
            sleep(lease + LONGER).await;
            gateway.proxy.welcome();
        }
        Fault::Deaf => unreachable!("handled above"),
    }
    gateway.weather.turns_good(ground.now());
    ground.weather.turns_good(ground.now());
}

async fn cut(gateway: &Gateway) {
    for _ in 0..RESETS {
        gateway.proxy.cut();
        sleep(RESET_EVERY).await;
    }
}

/// Connections on which the keys that are revoked next have just been accepted.
async fn warm(ground: &Arc<Ground>, gateway: usize) -> Vec<(usize, Client)> {
    let hot = ground.hot.load(Ordering::SeqCst);
    let mut warm = Vec::new();
    for key in (hot + 1..ground.keys.len()).take(WARM) {
        let mut client = Client::new(ground, gateway, Mode::Http1);
        client.ask(key).await;
        warm.push((key, client));
    }
    warm
}

/// Requests with keys that were revoked meanwhile wait in the gateway's sockets when it wakes: on
/// connections that it knows, and on new ones.
async fn wake(ground: &Arc<Ground>, gateway: &Gateway, warm: &mut Vec<(usize, Client)>) {
    let mut asks = JoinSet::new();
    for (key, mut known) in warm.drain(..) {
        let mut new = Client::new(ground, gateway.number, Mode::Http1);
        asks.spawn(async move {
            tokio::join!(known.ask(key), new.ask(key));
        });
    }
    sleep(SENT_WITHIN).await;
    gateway.signal(Signal::CONT).await;
    while asks.join_next().await.is_some() {}
}

/// Ends the connections that listen, as an administrator or a failing network would.
async fn deafen(database: &str) {
    const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND query ILIKE 'LISTEN %'";
    let options: PgConnectOptions = database.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    for _ in 0..RESETS {
        connection.execute(END).await.unwrap();
        sleep(RESET_EVERY).await;
    }
}
