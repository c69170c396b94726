//! Forwarding: with a permit, once.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Method, Response};
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout, timeout_at};

use super::addressing::Addressing;
use super::body::Upload;
use super::jsonrpc::PendingCalls;
use super::tunnel::Upgrade;
use super::upstream::{PooledConnection, Sent};
use super::{BoxedRequest, Proxy, headers, location, mcp};
use crate::auth::{Direction, OpenRequest};
use crate::model::refusal::Refusal;
use crate::route::Permit;

/// A request's leave to be forwarded, and what is to become of it. Lent, so that nobody on the way holds it twice.
pub(super) struct Forwarding<'a> {
    /// The route, and who may take it.
    pub permit: Permit<'a>,
    /// How it was addressed.
    pub addressing: Addressing,
    /// The change of protocol that it asks for.
    pub upgrade: Option<Upgrade>,
    /// Its place among the open requests.
    pub open: Option<Rc<OpenRequest>>,
}

/// What an upstream answered.
pub(super) struct Answer {
    /// Head and body, the head cleaned of what belongs to the hop behind us.
    pub response: Response<Incoming>,
    /// Its connection, to be given back when the body was read. `None`: not to be used again.
    pub connection: Option<PooledConnection>,
    /// The client's side of a tunnel, if the upstream agreed to one.
    pub upgrade: Option<Upgrade>,
    /// The JSON-RPC requests that it answers, of an MCP request with a body.
    pub calls: Option<Rc<PendingCalls>>,
}

impl Proxy {
    /// Sends a request to the upstream of the permit's route and waits for the head of the answer.
    pub(super) async fn forward(
        &self,
        forwarding: &mut Forwarding<'_>,
        mut request: BoxedRequest,
    ) -> Result<Answer, Refusal> {
        let limits = &self.shared.limits;
        if request.body().size_hint().lower() > limits.body_bytes_max {
            return Err(Refusal::BodyTooLarge);
        }
        let route = forwarding.permit.route();
        let upstream = self
            .upstreams
            .get(route.config.upstream)
            .ok_or(Refusal::NoRoute)?;
        let own = route.config.upstream_credential.as_ref();
        request.body_mut().gate_by(forwarding.open.clone());
        request
            .body_mut()
            .reserve(own.map(|own| own.header.clone()));
        if let Some(upgrade) = &forwarding.upgrade {
            headers::set_upgrade(request.headers_mut(), upgrade.protocol.clone());
        }
        let is_call = route.config.mcp && request.method() == Method::POST;
        let calls = is_call.then(Rc::<PendingCalls>::default);
        request.body_mut().note_calls(calls.clone());
        let open = forwarding.open.as_deref();
        let is_upgrade = forwarding.upgrade.is_some();
        let sending = pin!(upstream.send(request, &forwarding.addressing, is_upgrade, open));
        let store_wait = Duration::from_millis(limits.lookup_timeout_ms);
        let sent = until_ended(open, store_wait, sending).await?;
        let mut answer = accept(sent, forwarding.upgrade.take())?;
        answer.calls = calls;
        let headers = answer.response.headers_mut();
        if location::is_there_any(headers)
            && let Some(client) = forwarding.addressing.client_address()
        {
            location::rewrite(headers, &self.shared.addresses, client);
        }
        if route.config.mcp {
            self.shared.sessions.seal(&forwarding.permit, headers)?;
            mcp::remove_foreign_metadata(headers);
        }
        Ok(answer)
    }
}

/// Waits for an answer's head, unless the request is ended before: its key revoked, say. A head that
/// comes while the lease is out waits for that no longer than any request waits for the store.
async fn until_ended<T>(
    open: Option<&OpenRequest>,
    store_wait: Duration,
    mut work: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
) -> Result<T, Refusal> {
    let Some(open) = open else {
        return work.await;
    };
    let done = poll_fn(|cx| {
        if let Some(refusal) = open.ended() {
            return Poll::Ready(Err(refusal));
        }
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            open.watch(Direction::Head, cx);
        }
        polled
    });
    let done = done.await?;
    if open.check().is_ok() {
        return Ok(done);
    }
    let passes = poll_fn(|cx| open.poll_pass(Direction::Head, cx));
    timeout(store_wait, passes)
        .await
        .map_err(|_elapsed| Refusal::AnswerWithheld)??;
    Ok(done)
}

/// Takes up an answer, or finds that it is none.
fn accept(sent: Sent, upgrade: Option<Upgrade>) -> Result<Answer, Refusal> {
    let Sent {
        mut response,
        connection,
    } = sent;
    // One reader would end the body by its length, the other by its chunks. Dropping the connection
    // here closes it.
    if headers::is_framed_twice(response.headers()) {
        return Err(Refusal::UpstreamFailed);
    }
    let switched = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
    let protocol = response.headers().get(http::header::UPGRADE).cloned();
    headers::prepare_answer(response.headers_mut());
    match (switched, upgrade) {
        (false, _) => Ok(Answer {
            response,
            connection,
            upgrade: None,
            calls: None,
        }),
        (true, Some(mut upgrade)) => {
            upgrade.protocol = protocol.unwrap_or_else(|| HeaderValue::from_static("websocket"));
            headers::set_upgrade(response.headers_mut(), upgrade.protocol.clone());
            Ok(Answer {
                response,
                connection: None,
                upgrade: Some(upgrade),
                calls: None,
            })
        }
        // Nobody asked for it.
        (true, None) => Err(Refusal::UpstreamFailed),
    }
}

/// Waits for the head of an answer, at most `limit`: counted from now, or from when a part of the client's body was
/// last passed on, so that a long upload is no late answer. While the client owes a part of its body, that is waited
/// for instead. Zero: for as long as it takes.
pub(super) async fn await_head<T>(
    mut head: Pin<&mut impl Future<Output = T>>,
    upload: &Upload,
    limit: Duration,
) -> Result<T, Refusal> {
    if limit.is_zero() {
        return Ok(head.await);
    }
    let mut deadline = Instant::now() + limit;
    loop {
        if let Ok(answered) = timeout_at(deadline, head.as_mut()).await {
            return Ok(answered);
        }
        match upload.moved_at().map(|moved| moved + limit) {
            _ if upload.waits_for_client() => deadline = Instant::now() + limit,
            Some(later) if later > deadline => deadline = later,
            _ => return Err(Refusal::UpstreamTimeout),
        }
    }
}
