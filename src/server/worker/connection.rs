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
        drive(connection, shut_down, watch, linger).await;
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
        drive(connection, shut_down, watch, Duration::ZERO).await;
    }
}

/// Runs a connection to its end: its own, its deadline's, or the server's. `linger`: from the server's
/// end to the connection's, so that requests that are on their way find it open.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    shut_down: fn(Pin<&mut C>),
    watch: &Watch,
    linger: Duration,
) {
    let mut lingering = pin!(tokio::time::sleep(Duration::ZERO));
    let mut is_lingering = false;
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
                // A head that does not come is not waited for; between requests both sides agree.
                Call::Expired if watch.phase() != Phase::Idle => return,
                Call::Expired => shut_down(connection.as_mut()),
                Call::Drain => {
                    is_lingering = true;
                    lingering.as_mut().reset(Instant::now() + linger);
                }
            },
            () = &mut lingering, if is_lingering => {
                is_lingering = false;
                shut_down(connection.as_mut());
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
