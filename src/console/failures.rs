//! What the log says of sign-ins that failed: anybody can send answers that belong to no sign-in, and must not fill it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

use crate::model::network::ClientNetwork;
use crate::oidc::OidcError;
use crate::record::refusals::{RefusalLog, WINDOW};

/// At most 20 lines of a client network in ten seconds; the rest is counted.
#[derive(Clone)]
pub(super) struct SignInFailures(Arc<Mutex<Lines>>);

struct Lines {
    since: Instant,
    log: RefusalLog,
}

impl Default for SignInFailures {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Lines {
            since: Instant::now(),
            log: RefusalLog::default(),
        })))
    }
}

impl SignInFailures {
    /// Writes why a sign-in from this address failed, if there is a line left.
    pub(super) fn note(&self, error: &OidcError, address: Option<IpAddr>) {
        let network = address.map_or(ClientNetwork::Own, ClientNetwork::from);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.since.elapsed() >= WINDOW {
            lines.since = Instant::now();
            for left_out in lines.log.end_window() {
                let client = left_out.client.map(|client| client.to_string());
                tracing::warn!(
                    client,
                    count = left_out.count,
                    "more sign-ins failed than were logged"
                );
            }
        }
        if lines.log.admits(network) {
            drop(lines);
            tracing::warn!(%error, client = %network, "a sign-in failed");
        }
    }
}
