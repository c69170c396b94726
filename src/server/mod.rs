//! Builds the gateway from its configuration and runs it: bind every socket, serve, drain.
//!
//! Two planes. The *control plane* is the runtime that calls [`Server::serve`]: it accepts connections,
//! follows the revocation log, uses the database and serves the admin listener. The *data plane* is one
//! thread for each worker, with its own runtime (`worker`); no task that waits for the database runs
//! there.

mod accepting;
mod admin;
mod descriptors;
mod ending;
mod marks;
mod metrics;
mod protocols;
mod usage;
mod waiting;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::auth::Authenticator;
use crate::config::Config;
use crate::console::{self, Public};
use crate::invalidation::Invalidate;
use crate::invalidation::follower::{Follower, Registration};
use crate::invalidation::lease::Lease;
use crate::invalidation::progress::Progress;
use crate::listen::accept::{Accepted, WorkerQueue};
use crate::listen::socket::{BindError, bind};
use crate::listen::tls::{TlsError, server_config};
use crate::manage::{self, Gate};
use crate::model::clock::Clock;
use crate::model::random::{Entropy as _, SystemEntropy};
use crate::oidc::{OidcError, Provider};
use crate::proxy::upstream::UpstreamSockets;
use crate::proxy::upstream::tls::Connectors;
use crate::proxy::{KnownAddresses, Sessions, Shared};
use crate::record::metrics::{Metrics, WorkerMetrics};
use crate::route::Routes;
use crate::service::Service;
use crate::store::{Management, SharedSecret, Store, StoreError};
use usage::{UsageFlusher, UsageSender};
pub use waiting::open_when_reachable;
use worker::{Plan, Stages, Worker};

/// Why a gateway did not start. Nothing was served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A certificate, key or root could not be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store did not register this instance.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client of the identity provider could not be set up.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// Another system call failed.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// The addresses that a server listens on, with the ports that the system chose.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Name and address of each listener for clients.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The listener for operators.
    pub admin: SocketAddr,
}

/// The result of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Requests that were in flight when the shutdown began, and were answered.
    pub finished: u64,
    /// Requests that were still in flight when the time limit passed, and were cut.
    pub cut: u64,
}

/// A gateway that is bound and registered, and does not serve yet.
pub struct Server {
    config: Config,
    store: Arc<dyn Management>,
    clock: Arc<dyn Clock>,
    provider: Option<Provider>,
    follower: Follower,
    registration: Registration,
    authenticator: Arc<Authenticator>,
    sessions: Arc<Sessions>,
    sockets: Vec<TcpListener>,
    tls: Vec<Option<TlsAcceptor>>,
    connectors: Vec<Option<Connectors>>,
    admin: TcpListener,
    addresses: Addresses,
}

impl Server {
    /// Binds every socket, reads every certificate and registers with the store. Call it on the runtime
    /// that will serve.
    ///
    /// # Errors
    /// The first step that failed, with what to do about it.
    pub async fn bind(
        mut config: Config,
        store: Arc<dyn Management>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let (sockets, addresses, admin) = bind_all(&config)?;
        let mut tls = Vec::new();
        for listener in &config.listeners {
            tls.push(
                listener
                    .tls
                    .as_ref()
                    .map(server_config)
                    .transpose()?
                    .map(TlsAcceptor::from),
            );
        }
        let connectors = config
            .upstreams
            .iter()
            .map(Connectors::new)
            .collect::<Result<_, TlsError>>()?;
        let plain = Arc::clone(&store) as Arc<dyn Store>;
        let provider = config.oidc.clone();
        let provider = provider.map(|oidc| Provider::new(oidc, Arc::clone(&clock)));
        let provider = provider.transpose()?;
        let (follower, authenticator) =
            follower_with_authenticator(&config, &plain, Arc::clone(&clock));
        store.check_gateway().await?;
        let sessions = Arc::new(mcp_sessions(&*store).await?);
        let registration = follower.register().await?;
        // Last, so that a gateway that does not start logs only the reason, without this warning.
        descriptors::fit(&mut config);
        Ok(Self {
            config,
            store,
            clock,
            provider,
            follower,
            registration,
            authenticator,
            sessions,
            sockets,
            tls,
            connectors,
            admin,
            addresses,
        })
    }

    /// The addresses that the server listens on.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until `shutdown` is ready, then drains: it accepts no more connections, lets requests in flight finish
    /// within the configured time, and cuts the others.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Ended {
        let bound = self.addresses.listeners.iter();
        let bound: Vec<_> = bound.map(|(_name, address)| *address).collect();
        let routes = Arc::new(Routes::new(&self.config, &bound));
        let names = routes.iter().map(|route| route.config.name.clone());
        let names = names.collect();
        let (metrics, handles) = Metrics::new(names, self.config.workers);
        let metrics = Arc::new(metrics);
        let stages = Stages::default();
        let service = self.service();
        let marks = marks::write_marked_rows(service.clone(), stages.end.subscribe());
        drop(tokio::spawn(marks));
        let (usage_sender, usage_flusher) = UsageFlusher::new(
            Arc::clone(&self.store),
            service.clone(),
            Arc::clone(&self.clock),
            &SystemEntropy,
        );
        let (workers, queues) = self.start_workers(routes, handles, usage_sender, &stages);
        let public = self.public();
        let connections_max = self.config.limits.admin_connections_max;
        let ready = Arc::new(AtomicBool::new(true));
        let admin_counts = Arc::default();
        let per_address = accepting::per_address(&self.config);
        let collector = metrics::ProcessCollector {
            authenticator: Arc::clone(&self.authenticator),
            workers: queues.iter().map(WorkerQueue::counter).collect(),
            per_address: Arc::clone(&per_address),
            admin: Arc::clone(&admin_counts),
        };
        let readiness = admin::Readiness {
            serving: Arc::clone(&ready),
            authenticator: Arc::clone(&self.authenticator),
            store: Arc::clone(&self.store) as _,
        };
        let admin = admin::Admin {
            registry: collector.registry(&metrics),
            readiness,
            management: management_router(service, public, self.provider, connections_max),
            counts: admin_counts,
        };
        let end = stages.end.subscribe();
        let admin = tokio::spawn(admin.serve(self.admin, self.config.clone(), end));
        let usage_flusher = tokio::spawn(usage_flusher.run(stages.end.subscribe()));
        let follower = tokio::spawn(self.follower.run(self.registration, stages.end.subscribe()));
        let acceptors =
            accepting::accept(self.sockets, &self.config, &per_address, &queues, &stages);
        // Only the acceptors keep senders: when they end, the workers' queues are closed.
        drop(queues);

        shutdown.await;
        let steps = [
            ("closing the admin listener", admin),
            ("writing the last key usage", usage_flusher),
            ("removing this instance from the database", follower),
        ];
        let running = ending::Running {
            ready,
            metrics,
            acceptors,
            workers,
            stages,
            steps,
            store: self.store,
        };
        running.end(&self.config.limits).await
    }

    /// The service layer on this server's store.
    fn service(&self) -> Service {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Service::new(store, clock, Arc::new(SystemEntropy))
    }

    /// The public URLs of the console and of the gateway.
    fn public(&self) -> Public {
        let admin = &self.config.admin;
        let url_or = |url: &Option<String>, default: String| url.clone().unwrap_or(default);
        let first = self
            .config
            .listeners
            .first()
            .zip(self.addresses.listeners.first());
        let gateway = first.map_or_else(String::new, |(config, (_name, address))| {
            let scheme = if config.tls.is_some() {
                "https"
            } else {
                "http"
            };
            format!("{scheme}://{address}")
        });
        let mcp = self.config.routes.iter().find(|route| route.mcp);
        Public {
            url: url_or(&admin.url, format!("http://{}", self.addresses.admin)),
            gateway_url: url_or(&admin.gateway_url, gateway),
            mcp_path: mcp.map(|route| route.path_prefix.clone()),
        }
    }

    fn start_workers(
        &self,
        routes: Arc<Routes>,
        handles: Vec<WorkerMetrics>,
        usage: UsageSender,
        stages: &Stages,
    ) -> (Vec<Worker>, Vec<WorkerQueue>) {
        let limits = Arc::new(self.config.limits.clone());
        let plan = Arc::new(Plan {
            shared: Shared {
                authenticator: Arc::clone(&self.authenticator),
                routes,
                addresses: Arc::new(KnownAddresses::new(&self.config)),
                sessions: Arc::clone(&self.sessions),
                limits,
                log: self.config.log.requests,
            },
            upstreams: self.config.upstreams.clone(),
            connectors: self.connectors.clone(),
            upstream_sockets: UpstreamSockets::new(self.config.limits.upstream_connections_max),
            tls: self.tls.clone(),
            trusted_proxies: self.config.trusted_proxies.as_slice().into(),
            usage,
            clock: Arc::clone(&self.clock),
        });
        let start = |(number, metrics)| {
            let (sender, queue): (WorkerQueue, mpsc::Receiver<Accepted>) = WorkerQueue::new();
            (
                Worker::start(number, Arc::clone(&plan), metrics, queue, stages),
                sender,
            )
        };
        handles.into_iter().enumerate().map(start).unzip()
    }
}

/// The routes of the management API and of the console.
fn management_router(
    service: Service,
    public: Public,
    provider: Option<Provider>,
    connections_max: usize,
) -> Router {
    let gate = || Gate::within(connections_max);
    let api = manage::router(service.clone(), &public.url, gate());
    api.merge(console::router(service, public, provider, gate()))
}

fn bind_all(config: &Config) -> Result<(Vec<TcpListener>, Addresses, TcpListener), StartError> {
    let mut sockets = Vec::new();
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let socket = TcpListener::from_std(bind(listener.address)?)?;
        listeners.push((listener.name.clone(), socket.local_addr()?));
        sockets.push(socket);
    }
    let admin = TcpListener::from_std(bind(config.admin.address)?)?;
    let addresses = Addresses {
        listeners,
        admin: admin.local_addr()?,
    };
    Ok((sockets, addresses, admin))
}

/// Binds MCP sessions to their callers with a secret that all instances of the database share, also after a restart.
async fn mcp_sessions(store: &dyn Management) -> Result<Sessions, StoreError> {
    let mut fresh = SharedSecret::default();
    SystemEntropy.fill(&mut *fresh);
    let secret = store.shared_secret("mcp_session", &fresh).await?;
    Ok(Sessions::new(&secret))
}

/// Builds the authenticator, and the follower that invalidates its cache.
fn follower_with_authenticator(
    config: &Config,
    store: &Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> (Follower, Arc<Authenticator>) {
    let lease = Arc::new(Lease::default());
    let progress = Arc::new(Progress::default());
    let authenticator = Arc::new(Authenticator::new(
        Arc::clone(store),
        Arc::clone(&clock),
        (Arc::clone(&lease), Arc::clone(&progress)),
        &config.limits,
        tokio::runtime::Handle::current(),
    ));
    let follower = Follower {
        store: Arc::clone(store),
        clock,
        entropy: Arc::new(SystemEntropy),
        target: Arc::clone(&authenticator) as Arc<dyn Invalidate>,
        lease,
        progress,
        duration: Duration::from_millis(config.limits.lease_ms),
    };
    (follower, authenticator)
}

/// A new stage of the shutdown, not reached yet.
fn stage() -> watch::Sender<bool> {
    watch::Sender::new(false)
}
