//! Writes the rows of keys that a mark revokes, if the command that made the mark was interrupted.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::service::Service;

/// Interval between two checks for such rows. The keys are refused already, so their rows are not urgent.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// Runs until `end` is true.
pub(super) async fn write_marked_rows(service: Service, mut end: watch::Receiver<bool>) {
    let mut checks = interval(CHECK_EVERY);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = async {
        loop {
            checks.tick().await;
            match service.write_marked_rows(|_written| {}).await {
                Ok(0) => {}
                Ok(keys) => {
                    tracing::info!(keys, "wrote the rows of keys that were revoked together");
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot write the rows of revoked keys now; trying again later");
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        _ = end.wait_for(|end| *end) => {}
    }
}
