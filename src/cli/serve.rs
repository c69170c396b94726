//! `genkan serve`: the gateway.

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

/// Run the gateway until SIGTERM or Ctrl+C; a second one ends it at once.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration; `genkan config example` writes one with every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// End with exit code 4 when PostgreSQL cannot be reached, rather than wait for it.
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

/// Says where the gateway listens, and that it does.
fn announce(addresses: &Addresses) {
    for (listener, address) in &addresses.listeners {
        tracing::info!(listener, %address, "listening");
    }
    tracing::info!(listener = "admin", address = %addresses.admin, "listening");
    tracing::info!("ready");
}

/// The signals that a process gets: two ask it to end. The others would end it at once if nobody listened.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None where it is ignored, as `nohup` has it.
    hangup: Option<Signal>,
    user1: Signal,
    user2: Signal,
    /// Whether the process was started from a terminal.
    had_terminal: bool,
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
            hangup: terminal::hangup_is_heeded()
                .then(|| listen(SignalKind::hangup()))
                .transpose()?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
            had_terminal: terminal::is_there(),
        })
    }

    /// Returns when the process is to end: at SIGTERM, at SIGINT, and when its terminal was closed.
    pub(super) async fn next(&mut self) {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                () = received(self.hangup.as_mut()) => {
                    if self.had_terminal && !terminal::is_there() {
                        return;
                    }
                    "SIGHUP"
                }
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            tracing::warn!(
                signal = ignored,
                "a signal is ignored: the configuration is read at the start only; restart the gateway to have it \
                 read anew"
            );
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

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
