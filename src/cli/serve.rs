//! The command `genkan serve`: runs the gateway.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Failure;
use super::{logging, terminal};
use crate::config;
use crate::model::clock::SystemClock;
use crate::server::{self, Addresses, Ended, Server};
use crate::store::{self, WhenAbsent};

/// Run the gateway until SIGTERM or Ctrl+C. A second signal ends it at once.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration file. `genkan config example` prints one with every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Exit with code 4 if PostgreSQL cannot be reached, instead of waiting for it.
    #[arg(long)]
    no_wait: bool,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = config::load(&self.config, config::environment())?;
        let _log = logging::init(&config.log, config.limits.log_lines_max);
        let mut signals = Signals::listen()?;
        let clock = Arc::new(SystemClock);
        let store = if self.no_wait {
            store::open(&config.store, WhenAbsent::Create).await?
        } else {
            tokio::select! {
                opened = server::open_when_reachable(&config) => opened?,
                () = signals.next() => return Ok(()),
            }
        };
        let server = Server::bind(config, store, clock).await?;
        announce(server.addresses());
        let ended = signals.serve(server).await?;
        tracing::info!(finished = ended.finished, cut = ended.cut, "ended");
        Ok(())
    }
}

/// Logs the addresses that the gateway listens on, and that it is ready.
fn announce(addresses: &Addresses) {
    for (listener, address) in &addresses.listeners {
        tracing::info!(listener, %address, "listening");
    }
    tracing::info!(listener = "admin", address = %addresses.admin, "listening");
    tracing::info!("ready");
}

/// The signals that the process handles. SIGTERM and SIGINT start the shutdown; the others would by default end the
/// process at once.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None if SIGHUP is ignored, as with `nohup`.
    hangup: Option<Signal>,
    user1: Signal,
    user2: Signal,
    /// Whether the process was started from a terminal.
    had_terminal: bool,
}

impl Signals {
    /// Installs the handlers.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::Other(format!("cannot handle signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: terminal::is_hangup_enabled()
                .then(|| listen(SignalKind::hangup()))
                .transpose()?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
            had_terminal: terminal::has_terminal(),
        })
    }

    /// Returns when the process must end: on SIGTERM, on SIGINT, and when its terminal was closed.
    pub(super) async fn next(&mut self) {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                () = recv_or_pending(self.hangup.as_mut()) => {
                    if self.had_terminal && !terminal::has_terminal() {
                        return;
                    }
                    "SIGHUP"
                }
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            tracing::warn!(
                signal = ignored,
                "a signal is ignored: the configuration is read only at the start; restart the gateway to read it \
                 again"
            );
        }
    }

    /// Serves until the first signal, then drains. A second signal ends the drain.
    pub(super) async fn serve(&mut self, server: Server) -> Result<Ended, Failure> {
        let (end, ended) = tokio::sync::oneshot::channel();
        let mut serving = std::pin::pin!(server.serve(async {
            // An error means that the sender was dropped, which ends the server too.
            let _result = ended.await;
        }));
        tokio::select! {
            ended = &mut serving => return Ok(ended),
            () = self.next() => {}
        }
        let _sent = end.send(());
        tokio::select! {
            ended = &mut serving => Ok(ended),
            () = self.next() => {
                Err(Failure::Other("ended at once by a second signal; open requests were cut".to_owned()))
            }
        }
    }
}

/// Receives the signal, or waits forever if it is not handled.
async fn recv_or_pending(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
