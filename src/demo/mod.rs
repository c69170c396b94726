//! The demo upstream of `genkan dev`: a small imitation of the Genesis API and of an MCP server.
//!
//! It lets a newcomer, and the tests, send real requests through the gateway without an account
//! anywhere. It asks for no credential and looks for none: recognising callers is the gateway's
//! work, and `genesis` answers `GET /api/identity` with what the gateway said about the caller.
//!
//! Everything it remembers is bounded, and all of it is forgotten when it stops.
//!
//! Invariant: no request, however wrong, ends in a panic or grows memory without a bound.

mod answer;
mod bounded;
mod genesis;
mod jsonrpc;
mod mcp;
mod tools;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use genesis::Genesis;
use mcp::Mcp;

/// Largest request body in bytes; a longer one is answered with 413.
pub const REQUEST_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Connections at once; the next one waits in the accept queue.
const CONNECTIONS_MAX: usize = 1_024;
/// Time for the head of a request, from its first byte or from the end of the request before.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// Time between two steps of a workflow run: slow enough to be seen arriving one by one.
const STEP_INTERVAL: Duration = Duration::from_millis(200);
/// Wait after a failed accept, most likely for want of file descriptors.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// The body of every answer. It never fails: the demo makes all of it up.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// When a workflow run that is being watched takes its next step.
#[derive(Debug, Clone)]
pub enum Pace {
    /// After this long.
    Every(Duration),
    /// When somebody adds a permit: a test can see that a step arrived before it allows the next.
    Permits(Arc<Semaphore>),
}

impl Pace {
    /// Returns when the next step may be taken.
    async fn step(&self) {
        match self {
            Self::Every(interval) => tokio::time::sleep(*interval).await,
            // Nobody closes the semaphore; a closed one would only mean that nothing is held back.
            Self::Permits(permits) => {
                if let Ok(permit) = permits.acquire().await {
                    permit.forget();
                }
            }
        }
    }
}

/// The demo's memory, and the answer to every request.
#[derive(Debug)]
pub struct Demo {
    genesis: Arc<Genesis>,
    mcp: Mcp,
}

impl Default for Demo {
    fn default() -> Self {
        Self::with_pace(Pace::Every(STEP_INTERVAL))
    }
}

impl Demo {
    /// A demo whose watched runs go at this pace.
    pub fn with_pace(pace: Pace) -> Self {
        let genesis = Arc::new(Genesis::default());
        Self {
            mcp: Mcp::new(Arc::clone(&genesis), pace),
            genesis,
        }
    }

    /// Answers one request: `/mcp` speaks MCP, everything else is the Genesis API.
    pub async fn respond<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let body = match Limited::new(pin!(body), REQUEST_BODY_BYTES_MAX)
            .collect()
            .await
        {
            Ok(body) => body.to_bytes(),
            Err(error) => return unreadable(error.as_ref()),
        };
        match head.uri.path() {
            "/mcp" => self.mcp.respond(&head, &body),
            _ => self.genesis.respond(&head, &body),
        }
    }
}

/// A body that is too long, or that ended before its length.
fn unreadable(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Response<Body> {
    if error.is::<LengthLimitError>() {
        answer::failure(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The body is longer than 1 MiB",
        )
    } else {
        answer::failure(
            StatusCode::BAD_REQUEST,
            "The body ended before it was complete",
        )
    }
}

/// Serves the demo over HTTP/1.1 on `listener` until `shutdown` completes, then closes every
/// connection at once: there is nothing here worth waiting for.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) {
    let demo = Arc::new(Demo::default());
    // Dropped with this function, which ends every connection.
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&demo)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_BACK_OFF).await,
            },
        }
    }
}

async fn serve_connection(stream: TcpStream, demo: Arc<Demo>) {
    // Without it a progress event could wait for the acknowledgement of the one before. Where the
    // option cannot be set the connection is already gone, and serving it will say so.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request: Request<Incoming>| {
        let demo = Arc::clone(&demo);
        async move { Ok::<_, Infallible>(demo.respond(request).await) }
    });
    // An error means that the client left or sent no HTTP: no answer is possible.
    drop(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}
