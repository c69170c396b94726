//! Serves the connections of the admin listener: a limited number, each with deadlines.
//!
//! When no slot is free, a connection that waits for its client is closed: one that has sent nothing yet or half a
//! request, or that is idle between two requests. The oldest connection of the address with the most of them is
//! chosen, so a client that opens many connections loses its own, and no address loses one to an address that has
//! as many. If no connection may be closed, the new one is: accepting never waits, so a refused client does not
//! delay those behind it. A connection whose request is being processed is never closed for another.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::Instrument as _;

use super::request_ids::{AdminRequestIds, REQUEST_ID};
use crate::config::limits::Limits;
use crate::listen::forwarded::{ClientAddress, is_trusted};
use crate::listen::stream::{Protocol, Stream};
use crate::listen::watch::{CloseReason, TICK_EVERY, Ticks, Watch};
use crate::server::protocols::http1_builder;

/// How long to wait before accepting again after running out of descriptors.
const BACK_OFF: Duration = Duration::from_millis(50);
/// A connection is not closed to make room before it is this old, so that its client can send its request: a client
/// that opens many in a row does not take the slots of clients that have just connected. Exception: room for an
/// address that has fewer connections.
const GRACE: Duration = Duration::from_millis(100);
/// One address has at most one in this many slots.
const ADDRESS_SHARE: usize = 4;
/// Connections that have been displaced and have not ended yet. Above this number, new ones are refused.
const CLOSING_MAX: usize = 16;

/// Accepts and serves the connections of the admin listener.
pub(super) struct AdminListener {
    pub router: Router,
    pub limits: Limits,
    pub trusted_proxies: Arc<[IpNet]>,
    pub counts: Arc<ConnectionCounts>,
}

/// Counts of the connections, for `/metrics`.
#[derive(Debug, Default)]
pub(in crate::server) struct ConnectionCounts {
    open: AtomicU64,
    displaced: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionCounts {
    /// Connections that are open now.
    pub(in crate::server) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that were closed to make room for others.
    pub(in crate::server) fn displaced(&self) -> u64 {
        self.displaced.load(Ordering::Relaxed)
    }

    /// Connections that were closed at once because no slot was free for them.
    pub(in crate::server) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl AdminListener {
    /// Accepts and serves connections. Dropping the future drops every connection.
    pub(super) async fn serve(self, listener: TcpListener) -> Infallible {
        let table = Arc::new(ConnectionTable {
            table: Mutex::default(),
            connections_max: self.limits.admin_connections_max,
            per_address_max: per_address_max(&self.limits),
            grace: GRACE,
            counts: self.counts,
        });
        let server = ConnectionServer::new(self.router, self.limits, self.trusted_proxies);
        let server = Arc::new(server);
        let mut connections = JoinSet::new();
        let mut starved = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_ended) = connections.join_next() => continue,
            };
            match accepted {
                Ok((socket, peer)) => {
                    starved = false;
                    let peer = ClientAddress::of_peer(peer);
                    let is_proxy = is_trusted(peer.ip, &server.trusted_proxies);
                    if let Some(guard) = table.take((peer.ip, is_proxy)).await {
                        connections.spawn(Arc::clone(&server).connection(socket, peer, guard));
                    }
                    // Let the new connection read its request before others that could displace it are accepted.
                    yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !starved {
                        tracing::warn!(%error, "cannot accept on the admin listener; trying again");
                    }
                    starved = true;
                    sleep(BACK_OFF).await;
                }
            }
        }
    }
}

/// How many connections an address may have: a fraction of all, so that one address cannot use every slot.
fn per_address_max(limits: &Limits) -> usize {
    let share = limits.admin_connections_max / ADDRESS_SHARE;
    limits.admin_connections_per_address_max.min(share).max(1)
}

/// What all connections of the listener share.
struct ConnectionServer {
    http1: http1::Builder,
    service: TowerToHyperService<Router>,
    limits: Limits,
    trusted_proxies: Arc<[IpNet]>,
    request_ids: AdminRequestIds,
}

impl ConnectionServer {
    fn new(router: Router, limits: Limits, trusted_proxies: Arc<[IpNet]>) -> Self {
        let mut http1 = http1_builder(&limits);
        http1.title_case_headers(false);
        Self {
            http1,
            service: TowerToHyperService::new(router),
            limits,
            trusted_proxies,
            request_ids: AdminRequestIds::new(),
        }
    }

    /// Serves a connection to its end.
    async fn connection(
        self: Arc<Self>,
        socket: TcpStream,
        peer: ClientAddress,
        guard: ConnectionGuard,
    ) {
        let watch = Arc::clone(&guard.watch);
        let serving = self.serve_requests(socket, peer, &watch);
        let mut serving = pin!(serving);
        let mut clock = interval(TICK_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // Checked first: a displaced connection must not begin work that would be aborted.
                reason = watch.close_requested() => match reason {
                    CloseReason::Reset => return,
                    CloseReason::Expired => {
                        // A request that has just arrived is still served.
                        if serving.as_mut().now_or_never().is_some() {
                            return;
                        }
                        watch.sweep(&self.limits);
                        if watch.close_requested().now_or_never().is_some() {
                            return;
                        }
                    }
                    CloseReason::Drain => {}
                },
                ended = &mut serving => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection of the admin listener ended");
                    }
                    return;
                }
                _turn = clock.tick() => {
                    guard.ticks.advance();
                    watch.sweep(&self.limits);
                }
            }
        }
    }

    /// Serves the requests of a connection, one after the other.
    async fn serve_requests(
        &self,
        socket: TcpStream,
        peer: ClientAddress,
        watch: &Arc<Watch>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        socket.set_nodelay(true)?;
        let (stream, protocol) = Stream::open(socket, None, Arc::clone(watch)).await?;
        if protocol != Protocol::Http1 {
            return Ok(());
        }
        let service = service_fn(|request| self.answer(request, peer, watch));
        let io = TokioIo::new(stream);
        self.http1.serve_connection(io, service).await?;
        Ok(())
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: ClientAddress,
        watch: &Arc<Watch>,
    ) -> Result<axum::response::Response, Infallible> {
        let mut request = request.map(Body::new);
        let is_from_proxy = is_trusted(peer.ip, &self.trusted_proxies);
        let client = if is_from_proxy {
            peer.before(request.headers(), &self.trusted_proxies)
        } else {
            peer
        };
        let id = self
            .request_ids
            .assign(request.headers_mut(), is_from_proxy);
        let span = tracing::warn_span!("admin", request_id = id.to_str().unwrap_or_default());
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(Arc::clone(watch));
        // The head has arrived, so its deadline no longer applies. Until the gate begins the work, the request waits
        // for its body or for its turn, and the connection may be closed to make room.
        drop(watch.begin());
        // Yields between two requests of a connection, so that the other tasks of this thread can run.
        yield_now().await;
        let mut answer = self.service.call(request).instrument(span).await;
        watch.idle();
        if let Ok(response) = &mut answer {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        answer
    }
}

/// Limits the connections of the listener, and keeps those that are open.
struct ConnectionTable {
    table: Mutex<Table>,
    connections_max: usize,
    per_address_max: usize,
    grace: Duration,
    counts: Arc<ConnectionCounts>,
}

#[derive(Default)]
struct Table {
    open: HashMap<u64, OpenConnection>,
    /// The number of the next connection. Numbers increase: an older connection has a smaller one.
    next: u64,
    /// Connections that were displaced and have not ended yet.
    closing: usize,
}

struct OpenConnection {
    address: IpAddr,
    is_proxy: bool,
    since: Instant,
    watch: Arc<Watch>,
}

impl ConnectionTable {
    /// Takes a slot for a connection from `peer`: its address, and whether it is a trusted proxy. Returns None if the
    /// connection must be closed.
    async fn take(self: &Arc<Self>, peer: (IpAddr, bool)) -> Option<ConnectionGuard> {
        if let Some(guard) = self.try_take(peer) {
            return Some(guard);
        }
        // A client may have just closed its connection: after yielding, its slot is free.
        yield_now().await;
        let guard = self.try_take(peer);
        if guard.is_none() {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        guard
    }

    fn try_take(self: &Arc<Self>, (address, is_proxy): (IpAddr, bool)) -> Option<ConnectionGuard> {
        let mut table = self.table();
        if table.closing >= CLOSING_MAX {
            return None;
        }
        let own = table.open.values().filter(|it| it.address == address);
        // A proxy connects for many clients: its own connections do not count.
        let own = if is_proxy { 0 } else { own.count() };
        let is_full = table.open.len() >= self.connections_max;
        let has_room = if own >= self.per_address_max {
            self.displace(&mut table, |open, _count| {
                open.address == address && self.is_past_grace(open)
            })
        } else if is_full {
            self.displace(&mut table, |open, count| {
                if open.address == address {
                    self.is_past_grace(open)
                } else {
                    // No grace period for an address that has more even after losing one.
                    count > own && (self.is_past_grace(open) || count - own > 1)
                }
            })
        } else {
            true
        };
        if !has_room {
            return None;
        }
        let ticks = Ticks::default();
        let watch = Arc::new(Watch::new(ticks.clone()));
        let number = table.next;
        table.next = table.next.wrapping_add(1);
        let open = OpenConnection {
            address,
            is_proxy,
            since: Instant::now(),
            watch: Arc::clone(&watch),
        };
        table.open.insert(number, open);
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        Some(ConnectionGuard {
            table: Arc::clone(self),
            number,
            watch,
            ticks,
        })
    }

    fn is_past_grace(&self, open: &OpenConnection) -> bool {
        open.since.elapsed() >= self.grace
    }

    /// Closes one connection that waits for its client and for which `is_eligible` returns true, given the number of
    /// connections of its address. Prefers connections that are not a proxy's, then the address with the most, then
    /// the oldest. Returns whether one was closed.
    fn displace(
        &self,
        table: &mut Table,
        is_eligible: impl Fn(&OpenConnection, usize) -> bool,
    ) -> bool {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for open in table.open.values() {
            *counts.entry(open.address).or_default() += 1;
        }
        let count_of = |open: &OpenConnection| counts.get(&open.address).copied().unwrap_or(0);
        let waiting = table.open.iter().filter(|(_number, open)| {
            // It waits for its client: no request of it is being processed.
            open.watch.in_flight() == 0 && is_eligible(open, count_of(open))
        });
        let chosen =
            waiting.min_by_key(|(number, open)| (open.is_proxy, Reverse(count_of(open)), **number));
        let chosen = chosen.map(|(number, _open)| *number);
        let Some(displaced) = chosen.and_then(|number| table.open.remove(&number)) else {
            return false;
        };
        table.closing += 1;
        displaced.watch.end_now();
        self.counts.displaced.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's slot, which is free again when this is dropped.
struct ConnectionGuard {
    table: Arc<ConnectionTable>,
    number: u64,
    watch: Arc<Watch>,
    ticks: Ticks,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let mut table = self.table.table();
        if table.open.remove(&self.number).is_none() {
            table.closing = table.closing.saturating_sub(1);
        }
        drop(table);
        self.watch.leave();
        self.table.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const NEAR: (IpAddr, bool) = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), false);
    const FAR: (IpAddr, bool) = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), false);
    const PROXY: (IpAddr, bool) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), true);

    fn table(connections_max: usize, per_address_max: usize) -> Arc<ConnectionTable> {
        Arc::new(ConnectionTable {
            table: Mutex::default(),
            connections_max,
            per_address_max,
            grace: Duration::ZERO,
            counts: Arc::default(),
        })
    }

    fn take(table: &Arc<ConnectionTable>, peer: (IpAddr, bool)) -> ConnectionGuard {
        table.try_take(peer).expect("a slot")
    }

    fn was_ended(guard: &ConnectionGuard) -> bool {
        guard.watch.close_requested().now_or_never() == Some(CloseReason::Reset)
    }

    #[test]
    fn the_oldest_idle_connection_of_the_address_with_the_most_is_closed() {
        let table = table(4, 4);
        let single = take(&table, FAR);
        let many = [(); 3].map(|()| take(&table, NEAR));
        let at_work = many[0].watch.begin();
        let _fifth = take(&table, FAR);
        assert!(
            !was_ended(&single) && !was_ended(&many[0]),
            "a connection at work is not closed"
        );
        assert!(was_ended(&many[1]) && !was_ended(&many[2]));
        drop(at_work);
        assert_eq!((table.counts.open(), table.counts.displaced()), (5, 1));
        drop(many);
        assert_eq!(table.counts.open(), 2);
        assert_eq!(table.table().closing, 0);
    }

    #[test]
    fn an_address_loses_its_own_and_a_proxy_may_have_many() {
        let table = table(100, 2);
        let proxies: Vec<ConnectionGuard> = (0..10).map(|_| take(&table, PROXY)).collect();
        let many = [(); 3].map(|()| take(&table, NEAR));
        assert!(was_ended(&many[0]) && !was_ended(&many[1]));
        assert!(!proxies.iter().any(was_ended));
        // Connections at work are not closed, so a further one is refused.
        let _work = [&many[1], &many[2]].map(|guard| guard.watch.begin());
        assert!(table.try_take(NEAR).is_none());
        assert!(!was_ended(&many[1]) && !was_ended(&many[2]));
        let _other = take(&table, FAR);
    }

    #[test]
    fn an_address_has_at_most_a_quarter() {
        for (connections_max, configured, most) in [
            (512, 64, 64),
            (44, 64, 11),
            (8, 64, 2),
            (3, 64, 1),
            (100, 7, 7),
        ] {
            let limits = Limits {
                admin_connections_max: connections_max,
                admin_connections_per_address_max: configured,
                ..Limits::default()
            };
            assert_eq!(per_address_max(&limits), most, "{connections_max}");
        }
    }

    #[test]
    fn an_address_with_many_makes_room_at_once_for_one_with_fewer() {
        let mut table = table(4, 4);
        Arc::get_mut(&mut table).unwrap().grace = Duration::from_hours(1);
        let many = [(); 4].map(|()| take(&table, NEAR));
        let others = [(); 2].map(|()| take(&table, FAR));
        assert!(was_ended(&many[0]) && was_ended(&many[1]));
        // Now both addresses have the same number.
        assert!(table.try_take(FAR).is_none() && table.try_take(NEAR).is_none());
        drop(many);
        let _two = [(); 2].map(|()| take(&table, NEAR));
        assert!(!others.iter().any(was_ended));
    }

    #[test]
    fn a_new_connection_is_not_displaced_within_the_grace_period() {
        let mut table = table(1, 1);
        Arc::get_mut(&mut table).unwrap().grace = Duration::from_hours(1);
        let first = take(&table, NEAR);
        assert!(table.try_take(NEAR).is_none());
        assert!(table.try_take(FAR).is_none());
        assert!(!was_ended(&first));
    }

    #[tokio::test]
    async fn where_all_are_at_work_the_next_is_closed_until_one_leaves() {
        let table = table(1, 2);
        let first = take(&table, NEAR);
        let work = first.watch.begin();
        assert!(table.take(FAR).await.is_none());
        assert_eq!(table.counts.refused(), 1);
        // A slot that is freed while the new connection yields goes to it.
        let leaves = tokio::spawn(async move { drop((work, first)) });
        assert!(table.take(FAR).await.is_some());
        leaves.await.unwrap();
    }

    #[tokio::test]
    async fn a_displaced_connection_begins_no_work() {
        for makes_room in [false, true] {
            let begun = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&begun);
            let router = Router::new().fallback(move || {
                count.fetch_add(1, Ordering::Relaxed);
                async {}
            });
            let server = Arc::new(ConnectionServer::new(router, Limits::default(), [].into()));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(address).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            client.write_all(request).await.unwrap();
            let (socket, peer) = listener.accept().await.unwrap();
            // The request has arrived before its connection is displaced.
            socket.readable().await.unwrap();
            let table = table(1, 1);
            let guard = take(&table, NEAR);
            let _next = makes_room.then(|| take(&table, FAR));
            let mut status = [0; 12];
            let is_answered = tokio::select! {
                biased;
                () = server.connection(socket, ClientAddress::of_peer(peer), guard) => false,
                read = client.read_exact(&mut status) => read.is_ok(),
            };
            assert_eq!(is_answered, !makes_room);
            assert_eq!(begun.load(Ordering::Relaxed), u64::from(!makes_room));
        }
    }
}
