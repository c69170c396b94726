//! Bodies on their way through: chunk by chunk, each with a bound on silence, none kept.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::headers::is_safe_trailer;
use super::upstream::Returning;
use crate::listen::watch::InFlight;
use crate::model::refusal::{BadRequest, Refusal};
use crate::record::request::Record;

/// Why a body did not come to its end. Ends the connection (HTTP/1) or the stream (HTTP/2), so that
/// the other side never takes a part for the whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The side it comes from broke off.
    #[error("the body broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// Nothing came for the time that a body may be silent.
    #[error("the body stood still for too long")]
    Idle,
    /// More came than a request's body may have.
    #[error("the body is larger than its limit")]
    TooLarge,
}

/// How long a body may be silent, counted from when it first made its reader wait. The timer is made
/// then: most bodies never wait. A reader who is slow himself does not use up the sender's time.
struct Patience {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            timer: None,
            waiting: false,
        }
    }

    /// Something moved.
    fn renew(&mut self) {
        self.waiting = false;
    }

    /// Nothing moves; ready when that has lasted too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if !self.waiting {
            self.waiting = true;
            timer.as_mut().reset(Instant::now() + self.limit);
        }
        timer.as_mut().poll(cx)
    }
}

/// How the client's body is getting on, for the one who waits for the answer.
#[derive(Debug, Default)]
pub(super) struct Upload {
    moved: Cell<u64>,
    failure: Cell<Option<Refusal>>,
}

impl Upload {
    /// Bytes that were passed on so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved.get()
    }

    /// Why it will not come to its end, if that is the client's doing.
    pub(super) fn failure(&self) -> Option<Refusal> {
        self.failure.get()
    }
}

/// A client's body on its way to an upstream.
pub struct RequestBody {
    inner: Incoming,
    bytes_left: u64,
    patience: Patience,
    upload: Rc<Upload>,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, bytes_max: u64, idle: Duration) -> Self {
        let patience = Patience::new(idle);
        Self {
            inner,
            bytes_left: bytes_max,
            patience,
            upload: Rc::default(),
        }
    }

    pub(super) fn upload(&self) -> Rc<Upload> {
        Rc::clone(&self.upload)
    }

    fn fail(&self, refusal: Refusal, error: BodyError) -> BodyError {
        self.upload.failure.set(Some(refusal));
        error
    }

    /// Counts a chunk against the limit.
    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.bytes_left.checked_sub(length) {
            Some(left) => {
                self.bytes_left = left;
                self.upload.moved.set(self.upload.moved.get() + length);
                Ok(filter_trailers(frame))
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
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        Poll::Ready(match polled {
            Poll::Ready(None) => None,
            Poll::Ready(Some(Err(error))) => {
                let malformed = Refusal::BadRequest(BadRequest::Body);
                Some(Err(self.fail(malformed, error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.patience.renew();
                Some(self.pass(frame))
            }
            Poll::Pending => {
                ready!(self.patience.poll_over(cx));
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
    inner: Incoming,
    /// None for event streams: they may be silent.
    patience: Option<Patience>,
    connection: Option<Returning>,
    finish: Option<Finish>,
}

impl ResponseBody {
    /// No body: the answer's last byte is its head, and what ends it is elsewhere.
    pub(super) fn nothing() -> Self {
        Self(Kind::Own {
            text: None,
            finish: None,
        })
    }

    /// A text of ours.
    pub(super) fn own(text: Bytes, record: Record, in_flight: InFlight) -> Self {
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

    /// What an upstream sends; its connection is given back when all of it was read.
    pub(super) fn relay(
        inner: Incoming,
        idle: Option<Duration>,
        connection: Option<Returning>,
        record: Record,
        in_flight: InFlight,
    ) -> Self {
        let mut relay = Relay {
            inner,
            patience: idle.map(Patience::new),
            connection,
            finish: Some(Finish {
                record,
                _in_flight: in_flight,
            }),
        };
        relay.end_if_complete();
        Self(Kind::Relay(Box::new(relay)))
    }
}

impl Relay {
    /// The server stops asking once the announced length is there, so the end is looked for after
    /// every chunk.
    fn end_if_complete(&mut self) {
        if self.inner.is_end_stream() {
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

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(Some(Ok(frame))) => {
                self.end_if_complete();
                self.patience.iter_mut().for_each(Patience::renew);
                Poll::Ready(Some(Ok(filter_trailers(frame))))
            }
            Poll::Pending => {
                let Some(patience) = &mut self.patience else {
                    return Poll::Pending;
                };
                ready!(patience.poll_over(cx));
                Poll::Ready(Some(Err(BodyError::Idle)))
            }
        }
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
            Kind::Relay(relay) => relay.inner.is_end_stream(),
            Kind::Own { text, .. } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Relay(relay) => relay.inner.size_hint(),
            Kind::Own { text, .. } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
        }
    }
}

fn filter_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => {
            let safe: HeaderMap = trailers
                .iter()
                .filter(|(name, _)| is_safe_trailer(name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            Frame::trailers(safe)
        }
        Err(data) => data,
    }
}
