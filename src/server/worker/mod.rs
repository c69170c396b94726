//! Runs a worker: one thread with one runtime and its own upstream connections. A client connection stays on the
//! worker that accepted it.

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
use super::usage::UsageSender;
use crate::config;
use crate::listen::accept::Accepted;
use crate::listen::watch::{TICK_EVERY, Ticks, Watch};
use crate::model::clock::Clock;
use crate::model::random::SystemEntropy;
use crate::proxy::upstream::tls::Connectors;
use crate::proxy::upstream::{LocalExecutor, Upstream, UpstreamSockets};
use crate::proxy::{Proxy, Shared};
use crate::record::metrics::WorkerMetrics;
use crate::record::refusals::{self, LeftOut, RefusalLog};
use crate::record::usage::USAGE_REPORTED_EVERY;

/// Ticks of the worker's clock between two reports of key usage.
const TICKS_PER_USAGE_REPORT: u128 = USAGE_REPORTED_EVERY.as_millis() / TICK_EVERY.as_millis();

/// Ticks of the worker's clock between two summaries of refusals that were not logged.
const TICKS_PER_SUMMARY: u128 = refusals::WINDOW.as_millis() / TICK_EVERY.as_millis();

/// The stages of a shutdown. Each is set to true once.
pub(super) struct Stages {
    /// Close the listening sockets.
    pub accept_no_more: watch::Sender<bool>,
    /// Finish requests in flight.
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
    /// Where workers report key usage.
    pub usage: UsageSender,
    pub clock: Arc<dyn Clock>,
}

/// A handle to a running worker.
pub(super) struct Worker {
    cut: oneshot::Receiver<u64>,
}

impl Worker {
    /// Starts a thread that serves the connections that arrive through `queue`.
    pub(super) fn start(
        number: usize,
        plan: Arc<Plan>,
        metrics: WorkerMetrics,
        queue: mpsc::Receiver<Accepted>,
        stages: &Stages,
    ) -> Self {
        let (sender, cut) = oneshot::channel();
        let drain = stages.drain.subscribe();
        let run = move || {
            let cut = run(number, plan, metrics, queue, drain).unwrap_or_else(|error| {
                tracing::error!(%error, "a worker could not start");
                0
            });
            // Fails if the server itself has been dropped.
            let _sent = sender.send(cut);
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(run);
        if let Err(error) = thread {
            tracing::error!(%error, "cannot start a thread for a worker");
        }
        Self { cut }
    }

    /// Waits until the worker has ended, and returns how many requests it cut.
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
        let state = Rc::new(WorkerState::new(number, plan, Rc::new(metrics), drain));
        state.serve_connections(queue).await
    });
    // Does not wait for a name look-up that still blocks a thread.
    runtime.shutdown_background();
    Ok(cut)
}

/// What the connections of one worker share.
struct WorkerState {
    plan: Arc<Plan>,
    proxy: Rc<Proxy>,
    metrics: Rc<WorkerMetrics>,
    http1: http1::Builder,
    http2: http2::Builder<LocalExecutor>,
    ticks: Ticks,
    watches: RefCell<HashMap<u64, Arc<Watch>, RandomState>>,
    next_watch: Cell<u64>,
    number: usize,
    ticks_until_usage_report: Cell<u128>,
    ticks_until_summary: Cell<u128>,
    tasks: TaskTracker,
    drain: watch::Receiver<bool>,
    /// Whether the connections have been told to drain.
    is_draining: Cell<bool>,
}

impl WorkerState {
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
            ticks_until_usage_report: Cell::new(TICKS_PER_USAGE_REPORT),
            ticks_until_summary: Cell::new(TICKS_PER_SUMMARY),
            tasks,
            drain,
            is_draining: Cell::new(false),
        }
    }

    /// Serves connections until the queue is closed, then waits for them to end, within the configured time limit.
    /// Returns how many requests were cut.
    async fn serve_connections(self: Rc<Self>, mut queue: mpsc::Receiver<Accepted>) -> u64 {
        // Not tracked in `tasks`, which the shutdown waits for: it runs until the worker ends.
        drop(spawn_local(self.proxy.answer_sweeps()));
        let mut maintenance = pin!(self.maintain());
        loop {
            tokio::select! {
                accepted = queue.recv() => match accepted {
                    Some(accepted) => {
                        let connection = Rc::clone(&self).connection(accepted);
                        drop(self.tasks.spawn_local(connection));
                    }
                    None => break,
                },
                never = &mut maintenance => match never {},
            }
        }
        self.tasks.close();
        let limits = &self.plan.shared.limits;
        let mut cut = 0;
        if !self
            .end_within(limits.shutdown_timeout_ms, maintenance.as_mut())
            .await
        {
            cut = self.metrics.active();
            self.proxy.cut_all();
            // Clients that have not read the error by then are disconnected without it.
            self.end_within(limits.shutdown_notice_ms, maintenance)
                .await;
        }
        self.report_usage();
        cut
    }

    /// Waits for every connection and tunnel to end. Returns false if the time limit passed first.
    async fn end_within(
        &self,
        limit_ms: u64,
        maintenance: Pin<&mut impl Future<Output = Infallible>>,
    ) -> bool {
        let ended = async {
            tokio::select! {
                () = self.tasks.wait() => {}
                never = maintenance => match never {},
            }
        };
        timeout(Duration::from_millis(limit_ms), ended)
            .await
            .is_ok()
    }

    /// Sweeps on each tick, and tells every connection when the server drains.
    async fn maintain(&self) -> Infallible {
        let mut sweep = tokio::time::interval(TICK_EVERY);
        let mut drain = self.drain.clone();
        // An error means that the server was dropped; that ends the worker too.
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
        let ticks = self.ticks_until_usage_report.get();
        self.ticks_until_usage_report.set(ticks.saturating_sub(1));
        if ticks == 0 {
            self.ticks_until_usage_report.set(TICKS_PER_USAGE_REPORT);
            self.report_usage();
        }
        let ticks = self.ticks_until_summary.get();
        self.ticks_until_summary.set(ticks.saturating_sub(1));
        if ticks == 0 {
            self.ticks_until_summary.set(TICKS_PER_SUMMARY);
            self.summarize_refusals();
        }
    }

    /// Logs how many refusals were not logged individually.
    fn summarize_refusals(&self) {
        let logs = [false, true].map(|known| self.metrics.refusal_log(known));
        for LeftOut { client, count } in logs.into_iter().flat_map(RefusalLog::end_window) {
            tracing::info!(
                client = client.map(tracing::field::display),
                count,
                "more requests of this client were refused and not logged individually"
            );
        }
    }

    /// Reports key usage since the last report. Does nothing if the receiver is gone.
    fn report_usage(&self) {
        let (uses, dropped) = self.proxy.take_usage(self.plan.clock.now());
        self.plan.usage.report(self.number, uses, dropped);
    }
}
