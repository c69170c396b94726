//! The whole gateway, built from its configuration in floor order: bind everything, then serve, then
//! drain.
//!
//! Two planes. The *control plane* is the runtime that [`Server::serve`] is called on: it accepts,
//! follows the revocation log, speaks to the database and answers operators. The *data plane* is one
//! thread for each worker with a runtime of its own (`worker`); nothing that waits for the database
//! runs there.

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
use crate::invalidation::follower::{Follower, Standing};
use crate::invalidation::lease::Lease;
use crate::invalidation::progress::Progress;
use crate::listen::accept::{Accepted, Handover};
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
use usage::{Bookkeeper, Telling};
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
    /// The identity provider cannot be spoken to at all.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// The system refused something else.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// Where a server listens, with the ports that the system chose.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Name and address of each listener for clients.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The listener for operators.
    pub admin: SocketAddr,
}

/// How the end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Requests that were in flight when the end began, and were answered.
    pub finished: u64,
    /// Requests that were still in flight when the time was over, and were cut.
    pub cut: u64,
}

/// A gateway that is bound and registered, and serves nobody yet.
pub struct Server {
    config: Config,
    store: Arc<dyn Management>,
    clock: Arc<dyn Clock>,
    provider: Option<Provider>,
    follower: Follower,
    standing: Standing,
    authenticator: Arc<Authenticator>,
    sessions: Arc<Sessions>,
    sockets: Vec<TcpListener>,
    tls: Vec<Option<TlsAcceptor>>,
    connectors: Vec<Option<Connectors>>,
    admin: TcpListener,
    addresses: Addresses,
}

impl Server {
    /// Binds every socket, reads every certificate, registers with the store. Call it on the runtime
    /// that will serve.
    ///
    /// # Errors
    /// The first thing that does not work, with what to do about it.
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
        let (follower, authenticator) = identify_with(&config, &plain, Arc::clone(&clock));
        store.check_gateway().await?;
        let sessions = Arc::new(mcp_sessions(&*store).await?);
        let standing = follower.register().await?;
        // Last: what keeps a gateway from starting is said alone.
        descriptors::fit(&mut config);
        Ok(Self {
            config,
            store,
            clock,
            provider,
            follower,
            standing,
            authenticator,
            sessions,
            sockets,
            tls,
            connectors,
            admin,
            addresses,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until `shutdown` is ready, then drains: no more connections, requests in flight are
    /// finished within the configured time, and what is left is cut.
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
        let (telling, bookkeeper) = Bookkeeper::new(
            Arc::clone(&self.store),
            service.clone(),
            Arc::clone(&self.clock),
            &SystemEntropy,
        );
        let (workers, handovers) = self.start_workers(routes, handles, telling, &stages);
        let public = self.public();
        let seats = self.config.limits.admin_connections_max;
        let ready = Arc::new(AtomicBool::new(true));
        let crowd = Arc::default();
        let per_address = accepting::per_address(&self.config);
        let counted = metrics::Counted {
            authenticator: Arc::clone(&self.authenticator),
            workers: handovers.iter().map(Handover::counter).collect(),
            per_address: Arc::clone(&per_address),
            admin: Arc::clone(&crowd),
        };
        let readiness = admin::Readiness {
            serving: Arc::clone(&ready),
            authenticator: Arc::clone(&self.authenticator),
            store: Arc::clone(&self.store) as _,
        };
        let admin = admin::Admin {
            registry: counted.registry(&metrics),
            readiness,
            management: pages(service, public, self.provider, seats),
            crowd,
        };
        let end = stages.end.subscribe();
        let admin = tokio::spawn(admin.serve(self.admin, self.config.clone(), end));
        let bookkeeper = tokio::spawn(bookkeeper.run(stages.end.subscribe()));
        let follower = tokio::spawn(self.follower.run(self.standing, stages.end.subscribe()));
        let acceptors = accepting::accept(
            self.sockets,
            &self.config,
            &per_address,
            &handovers,
            &stages,
        );
        // The acceptors alone keep the ways to the workers open: when they end, the workers' queues do.
        drop(handovers);

        shutdown.await;
        let steps = [
            ("closing the admin listener", admin),
            ("writing the last uses of keys", bookkeeper),
            ("leaving the database's list of gateways", follower),
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

    /// The management rules over its store.
    fn service(&self) -> Service {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Service::new(store, clock, Arc::new(SystemEntropy))
    }

    /// Where people and clients reach this process.
    fn public(&self) -> Public {
        let admin = &self.config.admin;
        let of = |url: &Option<String>, address: String| url.clone().unwrap_or(address);
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
            url: of(&admin.url, format!("http://{}", self.addresses.admin)),
            gateway_url: of(&admin.gateway_url, gateway),
            mcp_path: mcp.map(|route| route.path_prefix.clone()),
        }
    }

    fn start_workers(
        &self,
        routes: Arc<Routes>,
        handles: Vec<WorkerMetrics>,
        usage: Telling,
        stages: &Stages,
    ) -> (Vec<Worker>, Vec<Handover>) {
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
            let (handover, queue): (Handover, mpsc::Receiver<Accepted>) = Handover::new();
            (
                Worker::start(number, Arc::clone(&plan), metrics, queue, stages),
                handover,
            )
        };
        handles.into_iter().enumerate().map(start).unzip()
    }
}

/// The management API and the console.
fn pages(
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

/// What tells whose an MCP session is: the same in every gateway of the database, and after a restart.
async fn mcp_sessions(store: &dyn Management) -> Result<Sessions, StoreError> {
    let mut fresh = SharedSecret::default();
    SystemEntropy.fill(&mut *fresh);
    let secret = store.shared_secret("mcp_session", &fresh).await?;
    Ok(Sessions::new(&secret))
}

/// Ties the follower to what it makes forget.
fn identify_with(
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

/// A watch that nobody has turned yet.
fn stage() -> watch::Sender<bool> {
    watch::Sender::new(false)
}
