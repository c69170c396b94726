//! One client's connection, from its place in the sweep to its end.

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

use super::Floor;
use crate::listen::accept::Accepted;
use crate::listen::stream::{Protocol, Stream};
use crate::listen::watch::{Call, Phase, Watch};
use crate::proxy::Client;

impl Floor {
    /// Serves a connection to its end.
    pub(super) async fn connection(self: Rc<Self>, accepted: Accepted) {
        let Accepted {
            socket,
            peer,
            listener,
            place,
        } = accepted;
        let watch = Arc::new(Watch::new(self.ticks.clone()));
        let _seat = Seat::take(&self, &watch);
        let tls = self.plan.tls.get(listener).and_then(Option::as_ref);
        let opened = tokio::select! {
            opened = open(socket, tls, &watch) => opened,
            () = watch.called_off() => return,
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
            // Not an async block around it: that would hold the future twice, and hyper moves it.
            let serving = Rc::clone(&self.proxy).serve(Rc::clone(&client), request);
            serving.map(move |mut response| {
                // A tunnel has its own word in this place, and its own end.
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
            Times {
                linger,
                leave: None,
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
        // GOAWAY names the last stream that will be answered: nothing is lost by saying it at once.
        let shut_down = http2::Connection::graceful_shutdown;
        let times = Times {
            linger: Duration::ZERO,
            leave: Some(GOAWAY_TIME),
        };
        drive(connection, shut_down, watch, times).await;
    }
}

/// How long an HTTP/2 client that was sent GOAWAY has to end its connection: a few round trips, in which the requests
/// that it had sent before arrive.
const GOAWAY_TIME: Duration = Duration::from_secs(2);

/// What a connection is given at its end.
struct Times {
    /// From the server's end to the connection's, so that requests that are on their way find it open.
    linger: Duration,
    /// From the connection's own end until it is dropped, where its protocol has a word for that.
    leave: Option<Duration>,
}

/// What the timer of a connection is set for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Timer {
    Off,
    /// The server ends, and this connection soon.
    Linger,
    /// This connection was asked to end.
    Leave,
}

/// Runs a connection to its end: its own, its deadline's, or the server's.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    shut_down: fn(Pin<&mut C>),
    watch: &Watch,
    times: Times,
) {
    let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
    let mut set_for = Timer::Off;
    // While it was opened the call was taken and passed over; its time to linger begins now.
    if watch.is_draining() {
        watch.drain();
    }
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => return tell(ended),
            call = watch.called() => match call {
                Call::Reset => return,
                Call::Expired => match times.leave {
                    // A head that does not come is not waited for; between requests both sides agree.
                    None if watch.phase() != Phase::Idle => return,
                    None => shut_down(connection.as_mut()),
                    // The sweep calls again while it leaves.
                    Some(_leave) if set_for == Timer::Leave => {}
                    Some(leave) => {
                        shut_down(connection.as_mut());
                        set_for = Timer::Leave;
                        alarm.as_mut().reset(Instant::now() + leave);
                    }
                },
                Call::Drain => {
                    set_for = Timer::Linger;
                    alarm.as_mut().reset(Instant::now() + times.linger);
                }
            },
            () = &mut alarm, if set_for != Timer::Off => match set_for {
                // A request came after all; the connection ends with it.
                Timer::Leave if watch.in_flight() > 0 => set_for = Timer::Off,
                Timer::Leave => return,
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

fn tell(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client connection ended");
    }
}

/// A connection's place in the sweep.
struct Seat {
    floor: Rc<Floor>,
    number: u64,
}

impl Seat {
    fn take(floor: &Rc<Floor>, watch: &Arc<Watch>) -> Self {
        let number = floor.next_watch.get();
        floor.next_watch.set(number.wrapping_add(1));
        floor.watches.borrow_mut().insert(number, Arc::clone(watch));
        if floor.is_draining.get() {
            watch.drain();
        }
        Self {
            floor: Rc::clone(floor),
            number,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let watch = self.floor.watches.borrow_mut().remove(&self.number);
        if let Some(watch) = watch {
            watch.leave();
        }
    }
}
