//! Writes the rows of keys that a mark revokes, where the command that made the mark did not end its work.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::service::Service;

/// How often it is looked for. The keys are refused in any case: their rows can wait.
const LOOKED_FOR_EVERY: Duration = Duration::from_secs(10);

/// Until `end`.
pub(super) async fn write_marked_rows(service: Service, mut end: watch::Receiver<bool>) {
    let mut looking = interval(LOOKED_FOR_EVERY);
    looking.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            looking.tick().await;
            match service.write_marked_rows(|_written| {}).await {
                Ok(0) => {}
                Ok(keys) => tracing::info!(
                    keys,
                    "wrote the rows of keys that were revoked all together"
                ),
                Err(error) => tracing::debug!(%error, "rows of revoked keys are written later"),
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = end.wait_for(|end| *end) => {}
    }
}
