//! Starts the tasks that accept connections of the data plane, with the limits that they share.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::worker::Stages;
use crate::config::Config;
use crate::listen::accept::{Acceptor, WorkerQueue};
use crate::listen::per_address::ConnectionsPerAddress;

/// The limit for each client network: as configured, and at most half of all connections.
pub(super) fn per_address(config: &Config) -> Arc<ConnectionsPerAddress> {
    let limits = &config.limits;
    let half = (limits.connections_max / 2).max(1);
    let most = limits.connections_per_address_max.min(half);
    ConnectionsPerAddress::new(most, config.trusted_proxies.as_slice().into())
}

/// Starts one task for each listener. It runs until the stage `accept_no_more`.
pub(super) fn accept(
    sockets: Vec<TcpListener>,
    config: &Config,
    per_address: &Arc<ConnectionsPerAddress>,
    workers: &[WorkerQueue],
    stages: &Stages,
) -> JoinSet<()> {
    let places = Arc::new(Semaphore::new(config.limits.connections_max));
    sockets
        .into_iter()
        .enumerate()
        .map(|(listener, socket)| {
            Acceptor {
                listener,
                socket,
                places: Arc::clone(&places),
                per_address: Arc::clone(per_address),
                workers: workers.to_vec(),
            }
            .run(stages.accept_no_more.subscribe())
        })
        .collect()
}
