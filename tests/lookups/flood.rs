//! Many connections that each present another invented key with every request.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::request;
use crate::support::raw::Wire;
use crate::support::within;

/// How a flood was answered.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    /// 401.
    pub(super) refused: u64,
    /// 503.
    pub(super) unavailable: u64,
    /// Anything else.
    pub(super) other: u64,
}

pub(super) struct Flood {
    stop: watch::Sender<bool>,
    clients: JoinSet<Tally>,
}

impl Flood {
    /// From so many connections, each of which rests for so long after an answer, so that the machine has
    /// something left for others.
    pub(super) async fn start(
        gateway: SocketAddr,
        connections: usize,
        rest: Duration,
        key: fn() -> String,
    ) -> Self {
        let stop = watch::Sender::new(false);
        let mut clients = JoinSet::new();
        for number in 0..connections {
            let wire = Wire::connect(gateway).await;
            let stop = stop.subscribe();
            // Not all at the same moment.
            let share = u32::try_from(number).unwrap() + 1;
            let first = rest * share / u32::try_from(connections).unwrap();
            clients.spawn(client(wire, stop, (first, rest), key));
        }
        Self { stop, clients }
    }

    /// Ends it; how it was answered.
    pub(super) async fn ended(self) -> Tally {
        self.stop.send_replace(true);
        let tallies = within("the flood ends", self.clients.join_all()).await;
        tallies.iter().fold(Tally::default(), |sum, one| Tally {
            refused: sum.refused + one.refused,
            unavailable: sum.unavailable + one.unavailable,
            other: sum.other + one.other,
        })
    }
}

async fn client(
    mut wire: Wire,
    mut stop: watch::Receiver<bool>,
    (first, rest): (Duration, Duration),
    key: fn() -> String,
) -> Tally {
    let mut tally = Tally::default();
    let mut pause = first;
    while !is_told_within(&mut stop, pause).await {
        match wire.ask(request(&key())).await.status {
            401 => tally.refused += 1,
            503 => tally.unavailable += 1,
            _other => tally.other += 1,
        }
        pause = rest;
    }
    tally
}

/// Whether the end comes within this time.
async fn is_told_within(stop: &mut watch::Receiver<bool>, time: Duration) -> bool {
    tokio::time::timeout(time, stop.wait_for(|stop| *stop))
        .await
        .is_ok()
}
