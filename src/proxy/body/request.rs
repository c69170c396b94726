//! A client's body on its way to an upstream.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::{BodyError, IdleTimeout, filter_trailers};
use crate::auth::{Direction, OpenRequest};
use crate::model::header::fold;
use crate::model::key;
use crate::model::refusal::{BadRequest, Refusal};
use crate::proxy::jsonrpc::PendingCalls;

/// How the client's body is getting on, for the one who waits for the answer.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Upload {
    moved_at: Cell<Option<Instant>>,
    waits_for_client: Cell<bool>,
    failure: Cell<Option<Refusal>>,
}

impl Upload {
    /// When a part was last passed on. `None`: there was none yet.
    pub(in crate::proxy) fn moved_at(&self) -> Option<Instant> {
        self.moved_at.get()
    }

    /// Whether it is the client whose next part is waited for. That has a bound of its own.
    pub(in crate::proxy) fn waits_for_client(&self) -> bool {
        self.waits_for_client.get()
    }

    /// Why it will not come to its end, if that is the client's doing.
    pub(in crate::proxy) fn failure(&self) -> Option<Refusal> {
        self.failure.get()
    }
}

/// A client's body on its way to an upstream.
pub struct RequestBody {
    inner: Incoming,
    bytes_left: u64,
    idle_timeout: IdleTimeout,
    upload: Rc<Upload>,
    open: Option<Rc<OpenRequest>>,
    /// The header of the platform's own credential.
    own: Option<HeaderName>,
    /// Of an MCP request: the JSON-RPC requests in it.
    calls: Option<Rc<PendingCalls>>,
}

impl RequestBody {
    pub(in crate::proxy) fn new(inner: Incoming, bytes_max: u64, idle: Duration) -> Self {
        let idle_timeout = IdleTimeout::new(idle);
        Self {
            inner,
            bytes_left: bytes_max,
            idle_timeout,
            upload: Rc::default(),
            open: None,
            own: None,
            calls: None,
        }
    }

    /// Notes the JSON-RPC requests that pass.
    pub(in crate::proxy) fn note_calls(&mut self, calls: Option<Rc<PendingCalls>>) {
        self.calls = calls;
    }

    /// Every chunk passes only while the request may go on.
    pub(in crate::proxy) fn gate_by(&mut self, open: Option<Rc<OpenRequest>>) {
        self.open = open;
    }

    /// No trailer has this name, or one that folds onto it: the platform's own credential is in it.
    pub(in crate::proxy) fn reserve(&mut self, own: Option<HeaderName>) {
        self.own = own;
    }

    /// Whether a trailer passes beyond what is never safe: no key of ours, and no other credential in the
    /// place of the platform's.
    fn passes(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        let is_own = |own: &HeaderName| fold(own.as_str()) == fold(name.as_str());
        !self.own.as_ref().is_some_and(is_own)
            && !key::is_in(value.as_bytes())
            && !key::is_in(name.as_str().as_bytes())
    }

    pub(in crate::proxy) fn upload(&self) -> Rc<Upload> {
        Rc::clone(&self.upload)
    }

    fn fail(&self, refusal: Refusal, error: BodyError) -> BodyError {
        self.upload.failure.set(Some(refusal));
        error
    }

    /// Ready when a chunk may pass.
    fn poll_gate(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(open) = &self.open else {
            return Poll::Ready(Ok(()));
        };
        match open.poll_pass(Direction::Upload, cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(refusal)) => {
                Poll::Ready(Err(self.fail(refusal, BodyError::Cut(refusal))))
            }
            Poll::Pending => {
                self.idle_timeout.renew();
                Poll::Pending
            }
        }
    }

    /// Counts a chunk against the limit.
    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.bytes_left.checked_sub(length) {
            Some(left) => {
                self.bytes_left = left;
                self.upload.moved_at.set(Some(Instant::now()));
                if let (Some(calls), Some(data)) = (&self.calls, frame.data_ref()) {
                    calls.read_body(data);
                }
                Ok(filter_trailers(frame, |name, value| {
                    self.passes(name, value)
                }))
            }
            None => Err(self.fail(Refusal::BodyTooLarge, BodyError::TooLarge)),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Err(error) = ready!(self.poll_gate(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        self.upload.waits_for_client.set(polled.is_pending());
        Poll::Ready(match polled {
            Poll::Ready(None) => None,
            Poll::Ready(Some(Err(error))) => {
                let malformed = Refusal::BadRequest(BadRequest::Body);
                Some(Err(self.fail(malformed, error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.idle_timeout.renew();
                Some(self.pass(frame))
            }
            Poll::Pending => {
                if let Some(open) = &self.open {
                    open.watch(Direction::Upload, cx);
                }
                ready!(self.idle_timeout.poll_over(cx));
                Some(Err(self.fail(Refusal::BodyTimeout, BodyError::Idle)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
