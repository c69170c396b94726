//! A worker: one thread, one runtime, its own upstream connections. A connection stays on the worker
//! that took it up.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::protocols::{http1_builder, http2_builder};
use super::usage::Telling;
use crate::config;
use crate::listen::accept::Accepted;
use crate::listen::stream::{Protocol, Stream};
use crate::listen::watch::{Phase, SWEEP_EVERY, Ticks, Watch};
use crate::model::clock::Clock;
use crate::model::random::SystemEntropy;
use crate::proxy::upstream::tls::Connectors;
use crate::proxy::upstream::{LocalExecutor, Upstream};
use crate::proxy::{Client, Proxy, Shared};
use crate::record::metrics::WorkerMetrics;
use crate::record::usage::TOLD_EVERY;

/// Turns of the worker's clock between two tellings of what was noted of keys.
const TURNS_PER_TELLING: u128 = TOLD_EVERY.as_millis() / SWEEP_EVERY.as_millis();

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
    pub tls: Vec<Option<TlsAcceptor>>,
    pub trusted_proxies: Vec<IpNet>,
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
    Ok(runtime.block_on(async move {
        let floor = Rc::new(Floor::new(number, plan, Rc::new(metrics), drain));
        floor.work(queue).await
    }))
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
    tasks: TaskTracker,
    drain: watch::Receiver<bool>,
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
                Upstream::new(upstream, tls.clone(), limits, Rc::clone(&metrics))
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
            tasks,
            drain,
        }
    }

    /// Takes connections up until no more can come, then waits for them to end, for as long as they
    /// may. Returns how many requests were cut.
    async fn work(self: Rc<Self>, mut queue: mpsc::Receiver<Accepted>) -> u64 {
        // Not among the tasks that the end waits for: it goes on until the worker does.
        drop(spawn_local(self.proxy.answer_sweeps()));
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            tokio::select! {
                accepted = queue.recv() => match accepted {
                    Some(accepted) => {
                        let connection = Rc::clone(&self).connection(accepted);
                        drop(self.tasks.spawn_local(connection));
                    }
                    None => break,
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
        self.tasks.close();
        let time = Duration::from_millis(self.plan.shared.limits.shutdown_timeout_ms);
        let ended = async {
            loop {
                tokio::select! {
                    () = self.tasks.wait() => break,
                    _ = sweep.tick() => self.sweep(),
                }
            }
        };
        let ended = tokio::time::timeout(time, ended).await;
        self.tell_usage();
        match ended {
            Ok(()) => 0,
            Err(_elapsed) => self.metrics.active(),
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
    }

    /// Tells what was noted of keys. Where nobody listens any more there is nobody to tell.
    fn tell_usage(&self) {
        let (uses, dropped) = self.proxy.take_usage(self.plan.clock.now());
        self.plan.usage.tell(self.number, uses, dropped);
    }

    async fn connection(self: Rc<Self>, accepted: Accepted) {
        let Accepted {
            socket,
            peer,
            listener,
            place,
        } = accepted;
        let watch = Arc::new(Watch::new(self.ticks.clone()));
        let _seat = Seat::take(&self, &watch);
        let tls = self.plan.tls.get(listener).and_then(Option::as_ref);
        let opened = tokio::select! {
            opened = open(socket, tls, &watch) => opened,
            () = watch.expired() => return,
        };
        let (stream, protocol) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(%error, "a connection ended before its first request");
                return;
            }
        };
        let trusted = &self.plan.trusted_proxies;
        let client = Rc::new(Client::new(
            peer,
            tls.is_some(),
            trusted,
            Arc::clone(&watch),
        ));
        match protocol {
            Protocol::Http1 => self.serve_http1(stream, client, &watch).await,
            Protocol::Http2 => self.serve_http2(stream, client, &watch).await,
        }
        drop(place);
    }

    async fn serve_http1(&self, stream: Stream, client: Rc<Client>, watch: &Watch) {
        let service = service_fn(|request| {
            let serving = Rc::clone(&self.proxy).serve(Rc::clone(&client), request);
            let last = *self.drain.borrow();
            async move {
                let mut response = serving.await;
                if last {
                    let close = http::HeaderValue::from_static("close");
                    response
                        .headers_mut()
                        .insert(http::header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let io = TokioIo::new(stream);
        let connection = pin!(self.http1.serve_connection(io, service).with_upgrades());
        let linger = Duration::from_millis(self.plan.shared.limits.shutdown_linger_ms);
        let shut_down = http1::UpgradeableConnection::graceful_shutdown;
        self.drive(connection, shut_down, watch, linger).await;
    }

    async fn serve_http2(&self, stream: Stream, client: Rc<Client>, watch: &Watch) {
        watch.idle();
        let service = service_fn(|request| {
            let serving = Rc::clone(&self.proxy).serve(Rc::clone(&client), request);
            async move { Ok::<_, Infallible>(serving.await) }
        });
        let io = TokioIo::new(stream);
        let connection = pin!(self.http2.serve_connection(io, service));
        // GOAWAY names the last stream that will be answered: nothing is lost by saying it at once.
        let shut_down = http2::Connection::graceful_shutdown;
        self.drive(connection, shut_down, watch, Duration::ZERO)
            .await;
    }

    /// Runs a connection to its end: its own, its deadline's, or the server's.
    async fn drive<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        shut_down: fn(Pin<&mut C>),
        watch: &Watch,
        linger: Duration,
    ) {
        let mut drain = self.drain.clone();
        let mut draining = pin!(async move {
            // An error says that the server is gone; then it is the end all the more.
            drop(drain.wait_for(|drain| *drain).await);
            tokio::time::sleep(linger).await;
        });
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                ended = &mut connection => return tell(ended),
                () = &mut draining, if !told => {
                    told = true;
                    shut_down(connection.as_mut());
                }
                () = watch.reset() => return,
                () = watch.expired() => {
                    // A head that does not come is not waited for; between requests both sides agree.
                    if watch.phase() != Phase::Idle {
                        return;
                    }
                    shut_down(connection.as_mut());
                }
            }
        }
    }
}

async fn open(
    socket: std::net::TcpStream,
    tls: Option<&TlsAcceptor>,
    watch: &Arc<Watch>,
) -> io::Result<(Stream, Protocol)> {
    let socket = TcpStream::from_std(socket)?;
    socket.set_nodelay(true)?;
    Stream::open(socket, tls, Arc::clone(watch)).await
}

fn tell(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client connection ended");
    }
}

/// A connection's place in the sweep.
struct Seat {
    floor: Rc<Floor>,
    number: u64,
}

impl Seat {
    fn take(floor: &Rc<Floor>, watch: &Arc<Watch>) -> Self {
        let number = floor.next_watch.get();
        floor.next_watch.set(number.wrapping_add(1));
        floor.watches.borrow_mut().insert(number, Arc::clone(watch));
        Self {
            floor: Rc::clone(floor),
            number,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.floor.watches.borrow_mut().remove(&self.number);
    }
}
