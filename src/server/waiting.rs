//! Waits for the database at the start, if it cannot be reached.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::{StartError, admin};
use crate::config::Config;
use crate::listen::socket::bind;
use crate::store::{self, Management, StoreError, WhenAbsent};

/// Interval between two attempts.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Interval between two log lines while waiting.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// Opens the store. While PostgreSQL cannot be reached, the admin listener answers that the gateway is not ready.
///
/// # Errors
/// Every error that waiting does not resolve: a refused login, a database that does not exist, a schema of another
/// version of genkan, an address that cannot be bound.
pub async fn open_when_reachable(config: &Config) -> Result<Arc<dyn Management>, StartError> {
    match store::open(&config.store, WhenAbsent::Create).await {
        Err(StoreError::Unreachable(why)) => log_waiting(&why),
        opened => return Ok(opened?),
    }
    let listener = TcpListener::from_std(bind(config.admin.address)?)?;
    tracing::info!(listener = "admin", address = %listener.local_addr()?, "listening");
    let opened = tokio::select! {
        opened = open(config) => opened?,
        never = answer(listener, config) => match never {},
    };
    tracing::info!("the database can be reached");
    Ok(opened)
}

async fn open(config: &Config) -> Result<Arc<dyn Management>, StoreError> {
    let mut logged_at = Instant::now();
    loop {
        sleep(RETRY_EVERY).await;
        match store::open(&config.store, WhenAbsent::Create).await {
            Err(StoreError::Unreachable(why)) => {
                if logged_at.elapsed() >= LOG_EVERY {
                    logged_at = Instant::now();
                    log_waiting(&why);
                }
            }
            opened => return opened,
        }
    }
}

fn log_waiting(why: &str) {
    tracing::warn!(
        why,
        "waiting for the database; the gateway is not ready and accepts no connections"
    );
}

async fn answer(listener: TcpListener, config: &Config) -> Infallible {
    admin::answer_not_ready(listener, config).await
}
