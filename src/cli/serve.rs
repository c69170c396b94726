//! `genkan serve`: the gateway.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Failure;
use super::logging;
use crate::config;
use crate::model::clock::SystemClock;
use crate::server::{Addresses, Ended, Server};
use crate::store;

/// Run the gateway until SIGTERM or Ctrl+C; a second one ends it at once.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration; `genkan config example` writes one with every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = config::load(&self.config, config::environment())?;
        let _log = logging::init(&config.log, config.limits.log_lines_max);
        let mut signals = Signals::listen()?;
        let clock = Arc::new(SystemClock);
        let store = store::open(&config.store).await?;
        let server = Server::bind(config, Arc::clone(&store), clock).await?;
        announce(server.addresses());
        let ended = signals.serve(server).await?;
        store.close().await;
        tracing::info!(finished = ended.finished, cut = ended.cut, "ended");
        Ok(())
    }
}

/// Says where the gateway listens, and that it does.
fn announce(addresses: &Addresses) {
    for (listener, address) in &addresses.listeners {
        tracing::info!(listener, %address, "listening");
    }
    tracing::info!(listener = "admin", address = %addresses.admin, "listening");
    tracing::info!("ready");
}

/// What asks the process to end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals are ours.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::Other(format!("cannot take signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Returns at the next of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Serves until the first signal and drains; a second one ends the drain.
    pub(super) async fn serve(&mut self, server: Server) -> Result<Ended, Failure> {
        let (end, ended) = tokio::sync::oneshot::channel();
        let mut serving = std::pin::pin!(server.serve(async {
            // An error says that nobody will tell any more: that is the end too.
            let _told = ended.await;
        }));
        tokio::select! {
            ended = &mut serving => return Ok(ended),
            () = self.next() => {}
        }
        let _drains = end.send(());
        tokio::select! {
            ended = &mut serving => Ok(ended),
            () = self.next() => {
                Err(Failure::Other("ended at once by a second signal; requests were cut".to_owned()))
            }
        }
    }
}
