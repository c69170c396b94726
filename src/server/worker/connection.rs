//! Serves one client connection on a worker, from its registration for the sweep until it closes.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::WorkerState;
use crate::listen::accept::Accepted;
use crate::listen::stream::{Protocol, Stream};
use crate::listen::watch::{CloseReason, Phase, Watch};
use crate::proxy::Client;

impl WorkerState {
    /// Serves a connection to its end.
    pub(super) async fn connection(self: Rc<Self>, accepted: Accepted) {
        let Accepted {
            socket,
            peer,
            listener,
            place,
        } = accepted;
        let watch = Arc::new(Watch::new(self.ticks.clone()));
        let _guard = ConnectionGuard::register(&self, &watch);
        let tls = self.plan.tls.get(listener).and_then(Option::as_ref);
        let opened = tokio::select! {
            opened = open(socket, tls, &watch) => opened,
            () = watch.close_requested_while_opening() => return,
        };
        let (stream, protocol) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(%error, "a connection ended before its first request");
                return;
            }
        };
        let trusted = &self.plan.trusted_proxies;
        let client = Rc::new(Client::new(
            peer,
            tls.is_some(),
            trusted,
            Arc::clone(&watch),
        ));
        match protocol {
            Protocol::Http1 => self.serve_http1(stream, client, &watch).await,
            Protocol::Http2 => self.serve_http2(stream, client, &watch).await,
        }
        drop(place);
    }

    async fn serve_http1(&self, stream: Stream, client: Rc<Client>, watch: &Watch) {
        let service = service_fn(|request| {
            let last = watch.is_draining();
            // No async block around it: that would store the future twice, and hyper moves it.
            let serving = Rc::clone(&self.proxy).serve(Rc::clone(&client), request);
            serving.map(move |mut response| {
                // The response of a tunnel has `Connection: upgrade`, and a tunnel closes by itself.
                if last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            })
        });
        let io = TokioIo::new(stream);
        let connection = pin!(self.http1.serve_connection(io, service).with_upgrades());
        let linger = Duration::from_millis(self.plan.shared.limits.shutdown_linger_ms);
        let shut_down = http1::UpgradeableConnection::graceful_shutdown;
        drive(
            connection,
            shut_down,
            watch,
            CloseTimes {
                linger,
                close: None,
            },
        )
        .await;
    }

    async fn serve_http2(&self, stream: Stream, client: Rc<Client>, watch: &Watch) {
        watch.idle();
        let service = service_fn(|request| {
            let serving = Rc::clone(&self.proxy).serve(Rc::clone(&client), request);
            serving.map(Ok::<_, Infallible>)
        });
        let io = TokioIo::new(stream);
        let connection = pin!(self.http2.serve_connection(io, service));
        // GOAWAY names the last stream that will be answered, so no request is lost if it is sent at once.
        let shut_down = http2::Connection::graceful_shutdown;
        let close_times = CloseTimes {
            linger: Duration::ZERO,
            close: Some(GOAWAY_TIME),
        };
        drive(connection, shut_down, watch, close_times).await;
    }
}

/// How long an HTTP/2 client has to close its connection after GOAWAY: a few round trips, in which requests that it
/// had already sent arrive.
const GOAWAY_TIME: Duration = Duration::from_secs(2);

/// How long a connection may stay open while it is being closed.
struct CloseTimes {
    /// From the start of the server's drain to the connection's shutdown, so that requests on their way are served.
    linger: Duration,
    /// From the connection's shutdown until it is dropped, if its protocol announces the shutdown (GOAWAY).
    close: Option<Duration>,
}

/// What the timer of a connection measures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Timer {
    Off,
    /// The server drains; this connection is shut down after `linger`.
    Linger,
    /// This connection is being shut down; it is dropped after `close`.
    Close,
}

/// Runs a connection until it ends by itself, passes a deadline, or the server shuts down.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    shut_down: fn(Pin<&mut C>),
    watch: &Watch,
    close_times: CloseTimes,
) {
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    let mut set_for = Timer::Off;
    // The notice of the drain was consumed while the connection was opened; its linger time begins now.
    if watch.is_draining() {
        watch.drain();
    }
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => return log_end(ended),
            reason = watch.close_requested() => match reason {
                CloseReason::Reset => return,
                CloseReason::Expired => match close_times.close {
                    // No wait for a head that is late. Between two requests, shut down cleanly.
                    None if watch.phase() != Phase::Idle => return,
                    None => shut_down(connection.as_mut()),
                    // The sweep reports the same deadline again while the connection shuts down.
                    Some(_close) if set_for == Timer::Close => {}
                    Some(close) => {
                        shut_down(connection.as_mut());
                        set_for = Timer::Close;
                        timer.as_mut().reset(Instant::now() + close);
                    }
                },
                CloseReason::Drain => {
                    set_for = Timer::Linger;
                    timer.as_mut().reset(Instant::now() + close_times.linger);
                }
            },
            () = &mut timer, if set_for != Timer::Off => match set_for {
                // Another request has arrived; the connection closes after it.
                Timer::Close if watch.in_flight() > 0 => set_for = Timer::Off,
                Timer::Close => return,
                Timer::Linger | Timer::Off => {
                    set_for = Timer::Off;
                    shut_down(connection.as_mut());
                }
            }
        }
    }
}

async fn open(
    socket: std::net::TcpStream,
    tls: Option<&TlsAcceptor>,
    watch: &Arc<Watch>,
) -> io::Result<(Stream, Protocol)> {
    let socket = TcpStream::from_std(socket)?;
    socket.set_nodelay(true)?;
    Stream::open(socket, tls, Arc::clone(watch)).await
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client connection ended");
    }
}

/// A connection's registration for the sweep; removed on drop.
struct ConnectionGuard {
    state: Rc<WorkerState>,
    number: u64,
}

impl ConnectionGuard {
    fn register(state: &Rc<WorkerState>, watch: &Arc<Watch>) -> Self {
        let number = state.next_watch.get();
        state.next_watch.set(number.wrapping_add(1));
        state.watches.borrow_mut().insert(number, Arc::clone(watch));
        if state.is_draining.get() {
            watch.drain();
        }
        Self {
            state: Rc::clone(state),
            number,
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let watch = self.state.watches.borrow_mut().remove(&self.number);
        if let Some(watch) = watch {
            watch.leave();
        }
    }
}
