//! The data plane. [`Proxy::serve`] and `Proxy::walk` are a request's whole way: every branch is
//! there, and what they call runs straight.
//!
//! **Invariants.** What is forwarded has a permit (`forward`). What may have reached an upstream is
//! never sent again ([`upstream`]). Only `respond` and `problem` know what a
//! refusal looks like on the wire.

mod addressing;
mod body;
mod client;
mod cookies;
mod cors;
mod forward;
mod headers;
mod jsonrpc;
mod location;
mod mcp;
mod mcp_sessions;
mod problem;
mod respond;
mod sse_error;
mod target;
mod tunnel;
pub mod upstream;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use hyper::body::{Body as _, Incoming};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use body::{RequestBody, ResponseBody};
pub use client::Client;
pub use location::KnownAddresses;
pub use mcp_sessions::Sessions;

use crate::auth::{Authenticator, OpenRequest, OpenRequests, credential};
use crate::config::LogRequests;
use crate::config::limits::Limits;
use crate::model::clock::Timestamp;
use crate::model::random::Entropy;
use crate::model::refusal::Refusal;
use crate::model::usage::KeyUse;
use crate::record::metrics::WorkerMetrics;
use crate::record::request::Record;
use crate::record::request_id::{RequestId, RequestIds};
use crate::record::usage::UsageNotes;
use crate::route::{Found, Permit, Route, Routes};
use addressing::Addressing;
use forward::{Answer, Forwarding};
use target::Target;
use upstream::Upstream;

/// What the workers have in common.
#[derive(Clone)]
pub struct Shared {
    /// Authenticates keys.
    pub authenticator: Arc<Authenticator>,
    /// The routes.
    pub routes: Arc<Routes>,
    /// The upstreams' addresses, which are replaced in answers.
    pub addresses: Arc<KnownAddresses>,
    /// Binds MCP sessions to keys.
    pub sessions: Arc<Sessions>,
    /// The limits.
    pub limits: Arc<Limits>,
    /// Which requests are logged.
    pub log: LogRequests,
}

/// One worker's data plane: its own upstream connections, its own counters, no locks.
pub struct Proxy {
    shared: Shared,
    upstreams: Vec<Upstream>,
    metrics: Rc<WorkerMetrics>,
    ids: RefCell<RequestIds>,
    open: Rc<OpenRequests>,
    usage: UsageNotes,
    tunnels: TaskTracker,
    /// What is still open is cut.
    cut: CancellationToken,
}

/// A request on its way: written once, and then handed on as a pointer until it is sent.
type BoxedRequest = Box<Request<RequestBody>>;

/// What a request that is not refused is answered with.
#[expect(
    clippy::large_enum_variant,
    reason = "few requests are preflights, and the others shall not allocate for them"
)]
enum Passed {
    /// What the upstream said.
    Forwarded(Answer),
    /// A preflight request is answered here, with these headers.
    Preflight(Box<HeaderMap>),
}

/// What is known of a request so far, for the code that answers it.
struct RequestContext<'a> {
    record: Record,
    uri: Uri,
    method: Method,
    route: Option<&'a Route>,
    /// The client asked in JSON-RPC: it reads an error in JSON-RPC.
    is_jsonrpc: bool,
    /// The origin of a page that may read the answer.
    cors_origin: Option<HeaderValue>,
    /// Its place among the open requests, from its admission on.
    open: Option<Rc<OpenRequest>>,
    /// A body is on its way. If nobody reads it, the connection cannot be used again.
    body_expected: bool,
}

impl Proxy {
    /// For one worker. Tunnels (upgraded connections) are tracked by `tunnels`.
    pub fn new(
        shared: Shared,
        upstreams: Vec<Upstream>,
        metrics: Rc<WorkerMetrics>,
        entropy: &dyn Entropy,
        tunnels: TaskTracker,
    ) -> Self {
        let ids = RefCell::new(RequestIds::new(entropy));
        let freeze = Duration::from_millis(shared.limits.freeze_timeout_ms);
        let open = OpenRequests::new(Arc::clone(&shared.authenticator), freeze);
        Self {
            shared,
            upstreams,
            metrics,
            ids,
            open,
            usage: UsageNotes::default(),
            tunnels,
            cut: CancellationToken::new(),
        }
    }

    /// Looks after open requests when something was revoked, for as long as the worker lives.
    pub fn answer_sweeps(&self) -> impl Future<Output = ()> + use<> {
        Rc::clone(&self.open).answer_sweeps()
    }

    /// What was noted of keys since the last time, and how many found no place.
    pub fn take_usage(&self, now: Timestamp) -> (Vec<KeyUse>, u64) {
        self.usage.take(self.open.keys().into_iter(), now)
    }

    /// A turn of the worker's clock: requests and idle upstream connections that are over their time
    /// are ended.
    pub fn sweep(&self) {
        self.open.tick();
        self.upstreams.iter().for_each(Upstream::sweep);
    }

    /// Cuts every request and tunnel that is open, each with its reason, as the server ends.
    pub fn cut_all(&self) {
        self.open.end_all(Refusal::ShuttingDown);
        self.cut.cancel();
    }

    /// Walks a request through the house; whatever happens, there is an answer.
    pub fn serve(
        self: Rc<Self>,
        client: Rc<Client>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<ResponseBody>> {
        // Before the future, which would hold the request twice.
        let request = self.wrap_body(request);
        async move {
            let in_flight = client.watch.begin();
            let mut context = self.begin(&client, &request);
            match self.walk(&client, request, &mut context).await {
                Ok(Passed::Forwarded(answer)) => self.relay(answer, context, in_flight),
                Ok(Passed::Preflight(headers)) => respond::allow(*headers, context, in_flight),
                Err(refusal) => respond::refuse(refusal, context, in_flight),
            }
        }
    }

    /// listen → **find → answer a preflight, or identify → authenticate → authorise → forward** → record.
    async fn walk<'a>(
        &'a self,
        client: &Client,
        mut request: BoxedRequest,
        context: &mut RequestContext<'a>,
    ) -> Result<Passed, Refusal> {
        let target = Target::read(&request, &self.shared.limits)?;
        let found = self.shared.routes.find(target.host, &target.path);
        if let Some(route) = found.map(|found| found.route()) {
            context.takes(route, request.headers(), &target.path);
            if !route.config.cors_origins.is_empty() && cors::is_preflight(&request) {
                let headers = cors::answer_preflight(route, request.headers())?;
                return Ok(Passed::Preflight(Box::new(headers)));
            }
        }
        if mcp::is_discovery(&target, context.route, &self.shared.routes) {
            return Err(Refusal::OAuthAbsent);
        }
        let found = found.ok_or(Refusal::NoRoute)?;
        let route = found.route();
        if route.config.mcp && !cors::is_origin_allowed(route, request.headers()) {
            return Err(Refusal::OriginRefused);
        }
        let permit = self
            .permit(client, (found, &target), &request, context)
            .await?;
        if let Some(caller) = permit.admitted() {
            let is_alone = request.version() != Version::HTTP_2;
            let watch = Arc::clone(&client.watch);
            context.open = Some(self.open.open(caller, watch, is_alone));
        }
        let credential = permit.upstream_credential(&target.path);
        let changed_path = target.into_changed_path();
        if route.config.mcp {
            let headers = request.headers_mut();
            self.shared.sessions.unseal(&permit, headers)?;
        } else if route.is_beside_mcp {
            mcp_sessions::remove(request.headers_mut());
        }
        let upgrade = tunnel::requested_upgrade(&mut request)?;
        // First the headers: of an HTTP/2 request only the URI still knows the host.
        let id = context.record.id();
        headers::prepare(&mut request, client, &permit, credential, id);
        target::rewrite_uri(request.uri_mut(), changed_path);
        let mut forwarding = Forwarding {
            permit,
            addressing: Addressing::of(&request),
            upgrade,
            open: context.open.clone(),
        };
        self.forward(&mut forwarding, request)
            .await
            .map(Passed::Forwarded)
    }

    /// Leave to forward: because the path is public, or, always otherwise, because the key says so.
    async fn permit<'a>(
        &self,
        client: &Client,
        (found, target): (Found<'a>, &Target<'_>),
        request: &Request<RequestBody>,
        context: &mut RequestContext<'a>,
    ) -> Result<Permit<'a>, Refusal> {
        if let Some(permit) = found.authorize_public(&target.path)? {
            return Ok(permit);
        }
        let accepts = |source| found.route().accepts(source);
        let key = credential::find(request.headers(), accepts)?;
        match self
            .shared
            .authenticator
            .authenticate(key, client.origin(context.record.client()))
            .await
        {
            Ok(caller) => {
                context.record.set_key(caller.principal().key_id);
                let agent = request.headers().get(USER_AGENT).map(HeaderValue::as_bytes);
                let address = context.record.client().ip;
                self.usage.used(caller.principal().key_id, address, agent);
                found.authorize(caller)
            }
            Err(refused) => {
                if let Some(id) = refused.key_id {
                    context.record.set_key(id);
                }
                client.note(refused.refusal);
                Err(refused.refusal)
            }
        }
    }

    /// Puts a request where nobody has to move it.
    fn wrap_body(&self, request: Request<Incoming>) -> BoxedRequest {
        let limits = &self.shared.limits;
        let idle = Duration::from_millis(limits.body_idle_timeout_ms);
        Box::new(request.map(|body| RequestBody::new(body, limits.body_bytes_max, idle)))
    }

    fn begin(&self, client: &Client, request: &Request<RequestBody>) -> RequestContext<'static> {
        let kept = client
            .trusted
            .then(|| RequestId::of_proxy(request.headers()));
        let id = kept
            .flatten()
            .unwrap_or_else(|| self.ids.borrow_mut().issue());
        let method = request.method().clone();
        RequestContext {
            record: Record::begin(
                &self.metrics,
                self.shared.log,
                id,
                method.clone(),
                client.address(request.headers()),
            ),
            uri: request.uri().clone(),
            method,
            route: None,
            is_jsonrpc: false,
            cors_origin: None,
            open: None,
            body_expected: !request.body().is_end_stream(),
        }
    }
}

impl<'a> RequestContext<'a> {
    fn takes(&mut self, route: &'a Route, headers: &HeaderMap, path: &str) {
        self.route = Some(route);
        self.record.set_route(route.index, path);
        self.is_jsonrpc = route.config.mcp && mcp::is_jsonrpc(&self.method, headers);
        if !route.config.cors_origins.is_empty() {
            self.cors_origin = cors::accepted_origin(route, headers);
        }
    }

    fn speaks_mcp(&self) -> bool {
        self.route.is_some_and(|route| route.config.mcp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of the future that a method returns.
    fn bytes<A, B, C, F: Future>(_method: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// hyper moves it, and keeps room for one with every connection.
    #[test]
    fn a_request_on_its_way_takes_at_most_2_kib() {
        let size = bytes(Proxy::serve);
        assert!(size <= 2_048, "{size} bytes");
    }
}
