//! A database that cannot be reached when the gateway starts is waited for.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::{StartError, admin};
use crate::config::Config;
use crate::listen::socket::bind;
use crate::store::{self, Management, StoreError, WhenAbsent};

/// Between two tries.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Between two lines in the log that say so.
const SAID_EVERY: Duration = Duration::from_mins(1);

/// Opens the store. While PostgreSQL cannot be reached, the admin listener answers that the gateway is not ready.
///
/// # Errors
/// What waiting does not mend: a refused login, a database that does not exist, a schema that is not this binary's, an
/// address that cannot be bound.
pub async fn open_when_reachable(config: &Config) -> Result<Arc<dyn Management>, StartError> {
    match store::open(&config.store, WhenAbsent::Create).await {
        Err(StoreError::Unreachable(why)) => say(&why),
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
    let mut said = Instant::now();
    loop {
        sleep(RETRY_EVERY).await;
        match store::open(&config.store, WhenAbsent::Create).await {
            Err(StoreError::Unreachable(why)) => {
                if said.elapsed() >= SAID_EVERY {
                    said = Instant::now();
                    say(&why);
                }
            }
            opened => return opened,
        }
    }
}

fn say(why: &str) {
    tracing::warn!(
        why,
        "waiting for the database; the gateway is not ready, and takes no connection"
    );
}

async fn answer(listener: TcpListener, config: &Config) -> Infallible {
    admin::answer_not_ready(listener, config).await
}
