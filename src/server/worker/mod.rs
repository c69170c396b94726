//! A worker: one thread, one runtime, its own upstream connections. A connection stays on the worker
//! that took it up.

mod connection;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use futures_util::FutureExt as _;
use hyper::server::conn::{http1, http2};
use ipnet::IpNet;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::protocols::{http1_builder, http2_builder};
use super::usage::Telling;
use crate::config;
use crate::listen::accept::Accepted;
use crate::listen::watch::{SWEEP_EVERY, Ticks, Watch};
use crate::model::clock::Clock;
use crate::model::random::SystemEntropy;
use crate::proxy::upstream::tls::Connectors;
use crate::proxy::upstream::{LocalExecutor, Upstream, UpstreamSockets};
use crate::proxy::{Proxy, Shared};
use crate::record::metrics::WorkerMetrics;
use crate::record::refusals::{self, LeftOut, RefusalLog};
use crate::record::usage::TOLD_EVERY;

/// Turns of the worker's clock between two tellings of what was noted of keys.
const TURNS_PER_TELLING: u128 = TOLD_EVERY.as_millis() / SWEEP_EVERY.as_millis();

/// Turns of the worker's clock between two summaries of refusals that were not logged.
const TURNS_PER_SUMMARY: u128 = refusals::WINDOW.as_millis() / SWEEP_EVERY.as_millis();

/// The stages of the end, each told once.
pub(super) struct Stages {
    /// Close the listening sockets.
    pub accept_no_more: watch::Sender<bool>,
    /// Finish what is in flight.
    pub drain: watch::Sender<bool>,
    /// Stop everything.
    pub end: watch::Sender<bool>,
}

impl Default for Stages {
    fn default() -> Self {
        Self {
            accept_no_more: super::stage(),
            drain: super::stage(),
            end: super::stage(),
        }
    }
}

/// What every worker is built from.
pub(super) struct Plan {
    pub shared: Shared,
    pub upstreams: Vec<config::Upstream>,
    pub connectors: Vec<Option<Connectors>>,
    pub upstream_sockets: UpstreamSockets,
    pub tls: Vec<Option<TlsAcceptor>>,
    pub trusted_proxies: Arc<[IpNet]>,
    /// Where it tells what was noted of keys.
    pub usage: Telling,
    pub clock: Arc<dyn Clock>,
}

/// A worker, from outside.
pub(super) struct Worker {
    cut: oneshot::Receiver<u64>,
}

impl Worker {
    /// Starts a thread that serves what comes through `queue`.
    pub(super) fn start(
        number: usize,
        plan: Arc<Plan>,
        metrics: WorkerMetrics,
        queue: mpsc::Receiver<Accepted>,
        stages: &Stages,
    ) -> Self {
        let (tell, cut) = oneshot::channel();
        let drain = stages.drain.subscribe();
        let run = move || {
            let cut = run(number, plan, metrics, queue, drain).unwrap_or_else(|error| {
                tracing::error!(%error, "a worker could not start");
                0
            });
            // An error says that the server itself was dropped before.
            let _nobody_waits = tell.send(cut);
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(run);
        if let Err(error) = thread {
            tracing::error!(%error, "the system gave no thread for a worker");
        }
        Self { cut }
    }

    /// Waits for its end; how many requests it cut.
    pub(super) async fn ended(self) -> u64 {
        self.cut.await.unwrap_or(0)
    }
}

fn run(
    number: usize,
    plan: Arc<Plan>,
    metrics: WorkerMetrics,
    queue: mpsc::Receiver<Accepted>,
    drain: watch::Receiver<bool>,
) -> io::Result<u64> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let cut = runtime.block_on(async move {
        let floor = Rc::new(Floor::new(number, plan, Rc::new(metrics), drain));
        floor.work(queue).await
    });
    // A name look-up that still blocks a thread keeps no worker from its end.
    runtime.shutdown_background();
    Ok(cut)
}

/// What the connections of one worker share.
struct Floor {
    plan: Arc<Plan>,
    proxy: Rc<Proxy>,
    metrics: Rc<WorkerMetrics>,
    http1: http1::Builder,
    http2: http2::Builder<LocalExecutor>,
    ticks: Ticks,
    watches: RefCell<HashMap<u64, Arc<Watch>, RandomState>>,
    next_watch: Cell<u64>,
    number: usize,
    turns_until_telling: Cell<u128>,
    turns_until_summary: Cell<u128>,
    tasks: TaskTracker,
    drain: watch::Receiver<bool>,
    /// Whether `drain` was passed on.
    is_draining: Cell<bool>,
}

impl Floor {
    fn new(
        number: usize,
        plan: Arc<Plan>,
        metrics: Rc<WorkerMetrics>,
        drain: watch::Receiver<bool>,
    ) -> Self {
        let limits = &plan.shared.limits;
        let tasks = TaskTracker::new();
        let upstreams = plan
            .upstreams
            .iter()
            .zip(&plan.connectors)
            .map(|(upstream, tls)| {
                let network = (tls.clone(), plan.upstream_sockets.clone());
                Upstream::new(upstream, network, limits, Rc::clone(&metrics))
            })
            .collect();
        let proxy = Proxy::new(
            plan.shared.clone(),
            upstreams,
            Rc::clone(&metrics),
            &SystemEntropy,
            tasks.clone(),
        );
        Self {
            proxy: Rc::new(proxy),
            http1: http1_builder(limits),
            http2: http2_builder(limits),
            plan,
            metrics,
            ticks: Ticks::default(),
            watches: RefCell::default(),
            next_watch: Cell::new(0),
            number,
            turns_until_telling: Cell::new(TURNS_PER_TELLING),
            turns_until_summary: Cell::new(TURNS_PER_SUMMARY),
            tasks,
            drain,
            is_draining: Cell::new(false),
        }
    }

    /// Takes connections up until no more can come, then waits for them to end, for as long as they
    /// may. Returns how many requests were cut.
    async fn work(self: Rc<Self>, mut queue: mpsc::Receiver<Accepted>) -> u64 {
        // Not among the tasks that the end waits for: it goes on until the worker does.
        drop(spawn_local(self.proxy.answer_sweeps()));
        let mut tending = pin!(self.tend());
        loop {
            tokio::select! {
                accepted = queue.recv() => match accepted {
                    Some(accepted) => {
                        let connection = Rc::clone(&self).connection(accepted);
                        drop(self.tasks.spawn_local(connection));
                    }
                    None => break,
                },
                never = &mut tending => match never {},
            }
        }
        self.tasks.close();
        let limits = &self.plan.shared.limits;
        let mut cut = 0;
        if !self
            .end_within(limits.shutdown_timeout_ms, tending.as_mut())
            .await
        {
            cut = self.metrics.active();
            self.proxy.cut_all();
            // Who has not taken the reason by then ends without it.
            self.end_within(limits.shutdown_notice_ms, tending).await;
        }
        self.tell_usage();
        cut
    }

    /// Waits for every connection and tunnel to end. False: not all did.
    async fn end_within(
        &self,
        limit_ms: u64,
        tending: Pin<&mut impl Future<Output = Infallible>>,
    ) -> bool {
        let ended = async {
            tokio::select! {
                () = self.tasks.wait() => {}
                never = tending => match never {},
            }
        };
        timeout(Duration::from_millis(limit_ms), ended)
            .await
            .is_ok()
    }

    /// Sweeps; and when the server ends, tells every connection so.
    async fn tend(&self) -> Infallible {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut drain = self.drain.clone();
        // An error says that the server is gone; then it is the end all the more.
        let mut draining = pin!(drain.wait_for(|drain| *drain).map(drop));
        loop {
            tokio::select! {
                _ = sweep.tick() => self.sweep(),
                () = &mut draining, if !self.is_draining.get() => {
                    self.is_draining.set(true);
                    self.watches.borrow().values().for_each(|watch| watch.drain());
                }
            }
        }
    }

    fn sweep(&self) {
        self.ticks.advance();
        let limits = &self.plan.shared.limits;
        self.watches
            .borrow()
            .values()
            .for_each(|watch| watch.sweep(limits));
        self.proxy.sweep();
        let turns = self.turns_until_telling.get();
        self.turns_until_telling.set(turns.saturating_sub(1));
        if turns == 0 {
            self.turns_until_telling.set(TURNS_PER_TELLING);
            self.tell_usage();
        }
        let turns = self.turns_until_summary.get();
        self.turns_until_summary.set(turns.saturating_sub(1));
        if turns == 0 {
            self.turns_until_summary.set(TURNS_PER_SUMMARY);
            self.summarize_refusals();
        }
    }

    /// Says how many refusals got no line of their own.
    fn summarize_refusals(&self) {
        let logs = [false, true].map(|known| self.metrics.refusal_log(known));
        for LeftOut { client, count } in logs.into_iter().flat_map(RefusalLog::end_window) {
            tracing::info!(
                client = client.map(tracing::field::display),
                count,
                "more requests of this client were refused, and are not logged one by one"
            );
        }
    }

    /// Tells what was noted of keys. Where nobody listens any more there is nobody to tell.
    fn tell_usage(&self) {
        let (uses, dropped) = self.proxy.take_usage(self.plan.clock.now());
        self.plan.usage.tell(self.number, uses, dropped);
    }
}
