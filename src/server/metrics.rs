//! What is counted elsewhere, brought together for `/metrics`.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use crate::auth::Authenticator;
use crate::listen::accept::{ConnectionCount, Handover};
use crate::record::metrics::{Metrics, encode_counter, encode_gauge};

/// Everything that `/metrics` shows.
pub(super) fn registry(
    metrics: &Arc<Metrics>,
    authenticator: &Arc<Authenticator>,
    workers: &[Handover],
) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::clone(metrics)));
    registry.register_collector(Box::new(House {
        authenticator: Arc::clone(authenticator),
        workers: workers.iter().map(Handover::counter).collect(),
    }));
    registry
}

struct House {
    authenticator: Arc<Authenticator>,
    workers: Vec<ConnectionCount>,
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("House")
    }
}

impl Collector for House {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let encoder = &mut encoder;
        let connections: usize = self.workers.iter().map(ConnectionCount::get).sum();
        let help = "Client connections";
        encode_gauge(
            encoder,
            "http_server_open_connections",
            help,
            as_f64(connections as u64),
        )?;
        let (known, dead) = self.authenticator.remembered();
        let help = "Keys in the cache";
        encode_gauge(encoder, "genkan_cache_keys", help, as_f64(known))?;
        let help = "Hashes remembered as unknown or revoked";
        encode_gauge(encoder, "genkan_cache_unknown", help, as_f64(dead))?;
        let help = "Look-ups of keys in the store";
        encode_counter(
            encoder,
            "genkan_store_lookups",
            help,
            self.authenticator.lookups(),
        )?;
        let help = "Seconds for which this instance may still answer from its cache";
        let left = self.authenticator.lease_left().as_secs_f64();
        encode_gauge(encoder, "genkan_lease_left_seconds", help, left)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of things in memory, far below 2^52"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}
