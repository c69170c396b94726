//! Bodies on their way through: chunk by chunk, each with a bound on silence, none kept. Before each
//! chunk the request's standing is asked for: revoked, the body breaks off; frozen, it stands still.

mod request;
mod response;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Frame;
use tokio::time::{Instant, Sleep, sleep};

pub use request::RequestBody;
pub(super) use request::Upload;
pub(super) use response::Passing;
pub use response::ResponseBody;

use super::headers::is_safe_trailer;
use crate::model::refusal::Refusal;

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
    /// The request may not go on: its key was revoked, say.
    #[error("the request was cut: {}", .0.reason())]
    Cut(Refusal),
}

/// How long a body may be silent, counted from when it first made its reader wait. The timer is made
/// then: most bodies never wait. A reader who is slow himself does not use up the sender's time.
struct IdleTimeout {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl IdleTimeout {
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

/// Leaves of trailers what is safe, and what `passes`.
fn filter_trailers(
    frame: Frame<Bytes>,
    passes: impl Fn(&HeaderName, &HeaderValue) -> bool,
) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => {
            let safe: HeaderMap = trailers
                .iter()
                .filter(|(name, value)| is_safe_trailer(name.as_str()) && passes(name, value))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            Frame::trailers(safe)
        }
        Err(data) => data,
    }
}
