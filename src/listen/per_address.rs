//! Connections by where they come from: no client network holds the places of all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use ipnet::IpNet;
use tokio::time::Instant;

use super::forwarded::is_trusted;
use crate::model::network::ClientNetwork;

/// At most one line in the log for so long says that connections were closed.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// How many connections each client network has, of all listeners of the data plane.
pub struct ConnectionsPerAddress {
    max: usize,
    trusted_proxies: Arc<[IpNet]>,
    table: Mutex<Table>,
    refused: AtomicU64,
}

#[derive(Default)]
struct Table {
    /// Networks with at least one connection. No more entries than connections.
    counts: HashMap<ClientNetwork, usize, RandomState>,
    logged: Option<Instant>,
}

impl ConnectionsPerAddress {
    /// `max`: for each network. Trusted proxies, which connect for many, have no bound of their own.
    pub fn new(max: usize, trusted_proxies: Arc<[IpNet]>) -> Arc<Self> {
        Arc::new(Self {
            max,
            trusted_proxies,
            table: Mutex::default(),
            refused: AtomicU64::new(0),
        })
    }

    /// Counts a connection for as long as it is held. `None`: its network has as many as it may.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Counted> {
        if is_trusted(peer, &self.trusted_proxies) {
            return Some(Counted(None));
        }
        let network = ClientNetwork::from(peer);
        let mut table = self.table();
        let count = table.counts.entry(network).or_default();
        if *count < self.max {
            *count += 1;
            return Some(Counted(Some((Arc::clone(self), network))));
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let is_due = table.logged.is_none_or(|at| now - at >= LOGGED_EVERY);
        if is_due {
            table.logged = Some(now);
        }
        drop(table);
        if is_due {
            self.log(network);
        }
        None
    }

    fn log(&self, network: ClientNetwork) {
        tracing::warn!(
            client = %network,
            connections = self.max,
            closed_since_start = self.refused(),
            "a client has as many connections as one address may; more are closed at once. Where it is a load balancer, \
             name it in `trusted_proxies`; else see `connections_per_address_max` under [limits]"
        );
    }

    /// Connections that were closed at once since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is counted until this is dropped. `None`: a trusted proxy's.
pub struct Counted(Option<(Arc<ConnectionsPerAddress>, ClientNetwork)>);

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((all, network)) = self.0.take() else {
            return;
        };
        let mut table = all.table();
        if let Some(count) = table.counts.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                table.counts.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_bounded_and_others_are_not_touched() {
        let proxies: Arc<[IpNet]> = ["10.0.0.0/8".parse().unwrap()].into();
        let all = ConnectionsPerAddress::new(2, proxies);
        let enter = |address: &str| all.enter(address.parse().unwrap());
        let (first, second) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("192.0.2.1").is_none());
        assert_eq!(all.refused(), 1);
        let other = enter("192.0.2.2");
        assert!(other.is_some());
        // One customer's addresses of IPv6 are one network.
        let six: Vec<_> = (1..=3).map(|n| enter(&format!("2001:db8::{n}"))).collect();
        assert_eq!(six.iter().flatten().count(), 2);
        let behind: Vec<_> = (0..9).map(|_| enter("10.1.2.3")).collect();
        assert_eq!(behind.iter().flatten().count(), 9);
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        drop((second, other, six, behind));
        assert!(all.table().counts.is_empty(), "nobody is remembered");
    }
}
