//! One worker's connections to one upstream.
//!
//! **Invariant.** A request is handed to a second connection only when the first gave it back
//! *unsent*: it had closed while idle, and hyper returned the request untouched. Everything else that
//! goes wrong after that is reported to the client: a workflow that is triggered twice cancels itself.

mod connect;
mod endpoint;
mod sockets;
pub mod tls;

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response};
use hyper::body::Incoming;
use rustix::io::Errno;

pub use connect::LocalExecutor;
pub use endpoint::PooledConnection;
pub use sockets::UpstreamSockets;

use super::BoxedRequest;
use super::addressing::Addressing;
use super::body::RequestBody;
use super::forward::await_head;
use crate::auth::OpenRequest;
use crate::config;
use crate::config::limits::Limits;
use crate::model::refusal::Refusal;
use crate::record::metrics::WorkerMetrics;
use endpoint::{Connection, Endpoint, SendError};
use tls::Connectors;

/// A request that an idle connection gave back unsent is tried once more, on a new connection.
const RESENDS_MAX: u32 = 1;

/// A server for a name, and how to reach it.
pub struct Upstream {
    config: config::Upstream,
    endpoints: Vec<Rc<Endpoint>>,
    next: Cell<usize>,
    tls: Option<Connectors>,
    sockets: UpstreamSockets,
    metrics: Rc<WorkerMetrics>,
}

/// An answer's head, and the connection it came on.
pub(super) struct Sent {
    pub response: Response<Incoming>,
    pub connection: Option<PooledConnection>,
}

impl Upstream {
    /// For one worker; connects when first used.
    pub fn new(
        config: &config::Upstream,
        (tls, sockets): (Option<Connectors>, UpstreamSockets),
        limits: &Limits,
        metrics: Rc<WorkerMetrics>,
    ) -> Self {
        let idle_max = limits.upstream_idle_connections_max;
        let idle_timeout = Duration::from_millis(config.idle_timeout_ms);
        let endpoint = |it: &config::Address| {
            let endpoint = Endpoint::new(it, sockets.clone(), idle_max, idle_timeout);
            Rc::new(endpoint)
        };
        Self {
            endpoints: config.addresses.iter().map(endpoint).collect(),
            config: config.clone(),
            next: Cell::new(0),
            tls,
            sockets,
            metrics,
        }
    }

    /// Sends a request and waits for the head of its answer. `exclusive`: on a connection that can
    /// become a tunnel, so HTTP/1.1. `open` is asked right before: connecting may have taken a while.
    pub(super) async fn send(
        &self,
        mut request: BoxedRequest,
        addressing: &Addressing,
        exclusive: bool,
        open: Option<&OpenRequest>,
    ) -> Result<Sent, Refusal> {
        let upload = request.body().upload();
        let first_byte = Duration::from_millis(self.config.first_byte_timeout_ms);
        for attempt in 0..=RESENDS_MAX {
            let (endpoint, connection) = self.connection(exclusive, attempt > 0).await?;
            self.address(&mut request, addressing, &endpoint, &connection)?;
            open.map_or(Ok(()), OpenRequest::check)?;
            let head = pin!(endpoint.send(connection, request));
            match await_head(head, &upload, first_byte).await? {
                Ok(sent) => return Ok(sent),
                Err(SendError::Unsent(returned)) => request = returned,
                Err(SendError::Failed(error)) => {
                    // A client's broken body is not the upstream's fault, and no line for anybody.
                    if let Some(refusal) = upload.failure() {
                        return Err(refusal);
                    }
                    tracing::warn!(upstream = %self.config.name, %error, "a request failed");
                    return Err(Refusal::UpstreamFailed);
                }
            }
        }
        Err(Refusal::UpstreamUnreachable)
    }

    /// Closes what has been idle for too long.
    pub fn sweep(&self) {
        self.endpoints.iter().for_each(|endpoint| endpoint.sweep());
    }

    /// A connection that is ready, or a new one to the first address, from the next in turn on, that
    /// can be reached.
    async fn connection(
        &self,
        exclusive: bool,
        fresh: bool,
    ) -> Result<(Rc<Endpoint>, Connection), Refusal> {
        let first = self.next.get();
        self.next
            .set(first.wrapping_add(1) % self.endpoints.len().max(1));
        let in_turn = || {
            self.endpoints
                .iter()
                .cycle()
                .skip(first)
                .take(self.endpoints.len())
        };
        if !fresh
            && let Some(endpoint) = in_turn().next()
            && let Some(connection) = endpoint.idle(exclusive)
        {
            return Ok((Rc::clone(endpoint), connection));
        }
        let mut refusal = Refusal::UpstreamUnreachable;
        for endpoint in in_turn() {
            match self.connect(endpoint, exclusive).await {
                Ok(connection) => return Ok((Rc::clone(endpoint), connection)),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }

    async fn connect(&self, endpoint: &Endpoint, exclusive: bool) -> Result<Connection, Refusal> {
        let Some(place) = self.sockets.place() else {
            return Err(Refusal::DescriptorsExhausted);
        };
        let limit = Duration::from_millis(self.config.connect_timeout_ms);
        // On the heap: TLS and both protocols take 8 KiB, which every request would carry about with it,
        // though hardly any has to connect.
        let connecting = connect::connect(&endpoint.address, self.tls.as_ref(), exclusive, place);
        let connecting = Box::pin(connecting);
        let (why, refusal) = match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(connection)) => {
                self.metrics.upstream_connected();
                endpoint.keep_shared(&connection);
                return Ok(connection);
            }
            Ok(Err(error)) => (error.to_string(), refusal_of(&error)),
            Err(_elapsed) => (
                format!("no connection in {} ms", limit.as_millis()),
                Refusal::UpstreamTimeout,
            ),
        };
        let (upstream, address) = (&self.config.name, &endpoint.address);
        tracing::warn!(%upstream, %address, why, "cannot connect to an upstream");
        Err(refusal)
    }

    /// Addresses a request as the connection wants it.
    fn address(
        &self,
        request: &mut Request<RequestBody>,
        addressing: &Addressing,
        endpoint: &Endpoint,
        connection: &Connection,
    ) -> Result<(), Refusal> {
        let own = &endpoint.authority;
        let host = match self.config.host {
            config::UpstreamHost::Preserve => addressing.host().unwrap_or(own),
            config::UpstreamHost::Upstream => own,
        };
        match connection {
            Connection::Http1(_) => {
                addressing.write_http1(request, host);
                Ok(())
            }
            Connection::Http2(_) => {
                let scheme = match self.config.scheme {
                    config::Scheme::Http => Scheme::HTTP,
                    config::Scheme::Https => Scheme::HTTPS,
                };
                addressing.write_http2(request, host, scheme)
            }
        }
    }
}

/// Whose fault it is that there is no connection: without a descriptor nobody was asked.
fn refusal_of(error: &io::Error) -> Refusal {
    let is_ours = |code| {
        [Errno::MFILE, Errno::NFILE]
            .map(Errno::raw_os_error)
            .contains(&code)
    };
    if error.raw_os_error().is_some_and(is_ours) {
        Refusal::DescriptorsExhausted
    } else {
        Refusal::UpstreamUnreachable
    }
}
