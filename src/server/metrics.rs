//! Collects the process-wide metrics of `/metrics`, which other modules count.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::admin::ConnectionCounts;
use crate::auth::{Authenticator, Budget};
use crate::listen::accept::ConnectionCount;
use crate::listen::per_address::ConnectionsPerAddress;
use crate::record::metrics::{Metrics, encode_counter, encode_counters, encode_gauge};

/// The sources of all metrics other than those of data-plane requests.
pub(super) struct ProcessCollector {
    pub authenticator: Arc<Authenticator>,
    pub workers: Vec<ConnectionCount>,
    pub per_address: Arc<ConnectionsPerAddress>,
    pub admin: Arc<ConnectionCounts>,
}

impl ProcessCollector {
    /// Builds the registry with everything that `/metrics` shows.
    pub(super) fn registry(self, metrics: &Arc<Metrics>) -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(metrics)));
        registry.register_collector(Box::new(self));
        registry
    }
}

impl std::fmt::Debug for ProcessCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProcessCollector")
    }
}

impl Collector for ProcessCollector {
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
        let help = "Client connections closed at once because their address has reached its limit";
        let refused = self.per_address.refused();
        encode_counter(encoder, "genkan_connections_refused", help, refused)?;
        let help = "Connections of the admin listener";
        let open = as_f64(self.admin.open());
        encode_gauge(encoder, "genkan_admin_connections", help, open)?;
        let help = "Connections of the admin listener closed to make room for new ones";
        let displaced = self.admin.displaced();
        encode_counter(
            encoder,
            "genkan_admin_connections_displaced",
            help,
            displaced,
        )?;
        let help = "Connections of the admin listener closed at once because no slot was free";
        let refused = self.admin.refused();
        encode_counter(encoder, "genkan_admin_connections_refused", help, refused)?;
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
        self.encode_budgets(encoder)?;
        self.encode_following(encoder)
    }
}

impl ProcessCollector {
    /// Encodes look-ups by budget.
    fn encode_budgets(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let within = Budget::ALL.map(|budget| {
            let (lookups, refused) = self.authenticator.lookups_within(budget);
            (budget.as_str(), lookups, refused)
        });
        let lookups = within
            .iter()
            .map(|(budget, lookups, _)| (*budget, *lookups));
        let help = "Look-ups of keys in the store, by the budget that they use";
        encode_counters(encoder, ("genkan_lookups", help), "budget", lookups)?;
        let refused = within
            .iter()
            .map(|(budget, _, refused)| (*budget, *refused));
        let help = "Look-ups refused with 503 because their budget was used up";
        let name = "genkan_lookups_refused";
        encode_counters(encoder, (name, help), "budget", refused)
    }

    /// Encodes how far this instance follows the revocation log.
    fn encode_following(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let progress = self.authenticator.progress();
        let help = "Seconds for which this instance may still answer from its cache";
        let left = self.authenticator.lease_left().as_secs_f64();
        encode_gauge(encoder, "genkan_lease_left_seconds", help, left)?;
        let help = "Seconds since the lease was last renewed";
        let age = self.authenticator.lease_age().as_secs_f64();
        encode_gauge(encoder, "genkan_lease_age_seconds", help, age)?;
        let help = "Newest entry of the revocation log that this instance has applied";
        let applied = as_f64(progress.applied());
        encode_gauge(encoder, "genkan_revocation_log_applied", help, applied)?;
        let help = "Entries of the revocation log that this instance knows and has not applied";
        let lag = as_f64(progress.lag());
        encode_gauge(encoder, "genkan_revocation_log_lag", help, lag)?;
        let help = "Open requests and streams that were cut because their key was revoked";
        let cut = progress.streams_cut();
        encode_counter(encoder, "genkan_streams_cut", help, cut)?;
        let help = "Registrations with the store; more than one means that the lease was lost";
        let registrations = progress.registrations();
        encode_counter(encoder, "genkan_registrations", help, registrations)?;
        let help =
            "Times that the database was found with another history, after a failover or a restore";
        let lost = progress.histories_lost();
        encode_counter(encoder, "genkan_histories_lost", help, lost)?;
        let help =
            "Time from the commit of a revocation log entry until this instance has applied it";
        let name = "genkan_revocation_delay";
        let delay = progress.delay();
        let described =
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        delay.encode(described)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of things in memory, far below 2^52"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}
