//! An answer's body on its way to the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use super::{BodyError, IdleTimeout, filter_trailers};
use crate::auth::{Direction, OpenRequest};
use crate::listen::watch::InFlight;
use crate::model::refusal::Refusal;
use crate::proxy::jsonrpc::PendingCalls;
use crate::proxy::sse_error::McpEvents;
use crate::proxy::upstream::PooledConnection;
use crate::record::request::Record;

/// From a last event to the break: time for it to be written, well within the 100 ms in which a revoked
/// key's streams end.
const LAST_EVENT_TIME: Duration = Duration::from_millis(20);

/// What ends with an answer's last byte.
struct Finish {
    record: Record,
    _in_flight: InFlight,
}

/// An answer's body on its way to the client.
pub struct ResponseBody(Kind);

enum Kind {
    /// Ours, short, at once.
    Own {
        text: Option<Bytes>,
        finish: Option<Finish>,
    },
    /// An upstream's.
    Relay(Box<Relay>),
}

struct Relay {
    /// None once it was cut: then the upstream's side is gone already.
    inner: Option<Incoming>,
    /// None for event streams: they may be silent.
    idle_timeout: Option<IdleTimeout>,
    connection: Option<PooledConnection>,
    finish: Option<Finish>,
    open: Option<Rc<OpenRequest>>,
    /// An MCP event stream, which may have last events.
    events: Option<McpEvents>,
    /// After a last event: what for, and the time it has to leave.
    parting: Option<(Refusal, Pin<Box<Sleep>>)>,
}

/// How an upstream's body is passed on.
pub(in crate::proxy) struct Passing {
    /// How long it may be silent.
    pub idle: Option<Duration>,
    /// Given back when all of it was read.
    pub connection: Option<PooledConnection>,
    /// Asked before every chunk.
    pub open: Option<Rc<OpenRequest>>,
    /// The requests that it answers, where it is an event stream of MCP in plain text.
    pub calls: Option<Rc<PendingCalls>>,
}

impl ResponseBody {
    /// No body: the answer's last byte is its head, and what ends it is elsewhere.
    pub(in crate::proxy) fn nothing() -> Self {
        Self(Kind::Own {
            text: None,
            finish: None,
        })
    }

    /// A text of ours.
    pub(in crate::proxy) fn own(text: Bytes, record: Record, in_flight: InFlight) -> Self {
        let finish = Finish {
            record,
            _in_flight: in_flight,
        };
        if text.is_empty() {
            finish.record.finish();
            return Self(Kind::Own {
                text: None,
                finish: None,
            });
        }
        Self(Kind::Own {
            text: Some(text),
            finish: Some(finish),
        })
    }

    /// What an upstream sends.
    pub(in crate::proxy) fn relay(
        inner: Incoming,
        passing: Passing,
        record: Record,
        in_flight: InFlight,
    ) -> Self {
        let mut relay = Relay {
            inner: Some(inner),
            idle_timeout: passing.idle.map(IdleTimeout::new),
            connection: passing.connection,
            finish: Some(Finish {
                record,
                _in_flight: in_flight,
            }),
            open: passing.open,
            events: passing.calls.map(McpEvents::new),
            parting: None,
        };
        relay.end_if_complete();
        Self(Kind::Relay(Box::new(relay)))
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl Relay {
    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_some_and(Body::is_end_stream)
    }

    /// The server stops asking once the announced length is there, so the end is looked for after
    /// every chunk.
    fn end_if_complete(&mut self) {
        if self.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.give_back();
        }
        if let Some(finish) = self.finish.take() {
            finish.record.finish();
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        if let Some((refusal, time)) = &mut self.parting {
            ready!(time.as_mut().poll(cx));
            return Poll::Ready(Some(Err(BodyError::Cut(*refusal))));
        }
        if let Some(open) = &self.open {
            match open.poll_pass(Direction::Download, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(refusal)) => return self.cut(refusal),
                Poll::Pending => {
                    self.idle_timeout.iter_mut().for_each(IdleTimeout::renew);
                    return Poll::Pending;
                }
            }
        }
        self.poll_inner(cx)
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Polled {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(Some(Ok(frame))) => {
                self.end_if_complete();
                self.idle_timeout.iter_mut().for_each(IdleTimeout::renew);
                if let (Some(events), Some(data)) = (&mut self.events, frame.data_ref()) {
                    events.passed(data);
                }
                Poll::Ready(Some(Ok(filter_trailers(frame, |_name, _value| true))))
            }
            Poll::Pending => {
                if let Some(open) = &self.open {
                    open.watch(Direction::Download, cx);
                }
                let Some(idle_timeout) = &mut self.idle_timeout else {
                    return Poll::Pending;
                };
                ready!(idle_timeout.poll_over(cx));
                Poll::Ready(Some(Err(BodyError::Idle)))
            }
        }
    }

    /// Breaks off. The upstream's side is dropped at once; the client's ends without a clean end, an MCP
    /// client's after a last event.
    fn cut(&mut self, refusal: Refusal) -> Polled {
        self.inner = None;
        self.connection = None;
        if let Some(finish) = &mut self.finish {
            finish.record.cut(refusal);
        }
        let events = self.events.as_ref();
        if let Some(last) = events.and_then(|events| events.last_events(refusal)) {
            self.parting = Some((refusal, Box::pin(sleep(LAST_EVENT_TIME))));
            return Poll::Ready(Some(Ok(Frame::data(last))));
        }
        if let Some(open) = &self.open {
            open.reset_connection_at_end();
        }
        Poll::Ready(Some(Err(BodyError::Cut(refusal))))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Relay(relay) => relay.poll_frame(cx),
            Kind::Own { text, finish } => {
                if let Some(finish) = finish.take() {
                    finish.record.finish();
                }
                Poll::Ready(text.take().map(|text| Ok(Frame::data(text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Relay(relay) => relay.is_end_stream(),
            Kind::Own { text, .. } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Relay(relay) => relay
                .inner
                .as_ref()
                .map(Body::size_hint)
                .unwrap_or_default(),
            Kind::Own { text, .. } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
        }
    }
}
