//! One address of an upstream, and one worker's connections to it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Request};
use hyper::client::conn::{http1, http2};

use super::sockets::IdlePlace;
use super::{Sent, UpstreamSockets};
use crate::config::Address;
use crate::listen::watch::TICK_EVERY;
use crate::proxy::BoxedRequest;
use crate::proxy::body::RequestBody;

/// A connection that can take a request now.
pub(super) enum Connection {
    /// For one request at a time.
    Http1(http1::SendRequest<RequestBody>),
    /// Shared.
    Http2(http2::SendRequest<RequestBody>),
}

/// Why a request has no answer.
pub(super) enum SendError {
    /// No byte of it was written: it may be sent on another connection.
    Unsent(BoxedRequest),
    /// It may have been read, in part or in whole.
    Failed(hyper::Error),
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    /// The number of the sweep before it: a request reads no clock for it.
    since: u32,
    _place: IdlePlace,
}

pub(super) struct Endpoint {
    pub address: Address,
    /// Host and port, as a `Host` header would have it.
    pub authority: HeaderValue,
    /// The last used is used first, so that a quiet hour lets the others time out.
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Option<http2::SendRequest<RequestBody>>>,
    idle_max: usize,
    sockets: UpstreamSockets,
    /// How many sweeps a connection may be idle for.
    idle_sweeps_max: u32,
    sweeps: Cell<u32>,
}

impl Endpoint {
    /// `idle_max`: connections that are kept while nobody uses them.
    pub(super) fn new(
        address: &Address,
        sockets: UpstreamSockets,
        idle_max: usize,
        idle_timeout: Duration,
    ) -> Self {
        let named = match address.port {
            80 | 443 => address.host.clone(),
            _ => address.to_string(),
        };
        let authority = HeaderValue::try_from(named)
            .unwrap_or_else(|_invalid| HeaderValue::from_static("upstream"));
        Self {
            address: address.clone(),
            authority,
            idle: RefCell::default(),
            shared: RefCell::default(),
            idle_max,
            sockets,
            idle_sweeps_max: sweeps_within(idle_timeout),
            sweeps: Cell::new(0),
        }
    }

    /// A connection that is there already and ready. One that still ends its last answer is not, and
    /// one that has closed is not either; the sweep takes it out.
    pub(super) fn idle(&self, exclusive: bool) -> Option<Connection> {
        if !exclusive
            && let Some(sender) = &*self.shared.borrow()
            && sender.is_ready()
        {
            return Some(Connection::Http2(sender.clone()));
        }
        let mut idle = self.idle.borrow_mut();
        let ready = idle.iter().rposition(|it| it.sender.is_ready())?;
        Some(Connection::Http1(idle.remove(ready).sender))
    }

    /// An HTTP/2 connection is there for everybody.
    pub(super) fn keep_shared(&self, connection: &Connection) {
        if let Connection::Http2(sender) = connection {
            *self.shared.borrow_mut() = Some(sender.clone());
        }
    }

    /// A turn of the worker's clock, each [`TICK_EVERY`]: closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        let now = self.sweeps.get().wrapping_add(1);
        self.sweeps.set(now);
        self.idle.borrow_mut().retain(|it| {
            !it.sender.is_closed() && now.wrapping_sub(it.since) <= self.idle_sweeps_max
        });
    }

    pub(super) async fn send(
        self: Rc<Self>,
        connection: Connection,
        request: BoxedRequest,
    ) -> Result<Sent, SendError> {
        match connection {
            Connection::Http1(mut sender) => match sender.try_send_request(*request).await {
                Ok(response) => {
                    let connection = Some(PooledConnection {
                        endpoint: self,
                        sender,
                    });
                    Ok(Sent {
                        response,
                        connection,
                    })
                }
                Err(error) => Err(send_error(error)),
            },
            Connection::Http2(mut sender) => match sender.try_send_request(*request).await {
                Ok(response) => Ok(Sent {
                    response,
                    connection: None,
                }),
                Err(error) => Err(send_error(error)),
            },
        }
    }
}

/// At least one: a connection that is idle for less than the time until the next sweep is kept.
fn sweeps_within(time: Duration) -> u32 {
    let sweeps = time.as_millis() / TICK_EVERY.as_millis();
    u32::try_from(sweeps).unwrap_or(u32::MAX).max(1)
}

fn send_error(mut error: hyper::client::conn::TrySendError<Request<RequestBody>>) -> SendError {
    match error.take_message() {
        Some(request) => SendError::Unsent(Box::new(request)),
        None => SendError::Failed(error.into_error()),
    }
}

/// A connection whose answer is being read.
pub struct PooledConnection {
    endpoint: Rc<Endpoint>,
    sender: http1::SendRequest<RequestBody>,
}

impl PooledConnection {
    /// The answer was read to its end: the next request may have the connection.
    pub(crate) fn give_back(self) {
        let Self { endpoint, sender } = self;
        if sender.is_closed() {
            return;
        }
        let mut idle = endpoint.idle.borrow_mut();
        if idle.len() < endpoint.idle_max
            && let Some(place) = endpoint.sockets.idle_place()
        {
            idle.push(Idle {
                sender,
                since: endpoint.sweeps.get(),
                _place: place,
            });
        }
    }
}
