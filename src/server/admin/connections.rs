//! The connections of the admin listener: few, each with its deadlines, and none that can keep others out.
//!
//! Where there is no place left, a connection goes that waits for its client: that has sent nothing yet, or
//! half a request, or is idle between two. Of the address that has the most of them the oldest goes, so
//! whoever opens many loses their own, and nobody one to an address that has as many. Where nobody has to go, the
//! new one is closed: accepting never waits, so whoever is refused keeps nobody behind them waiting. What is being
//! worked on is never ended for another.

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

use super::request_ids::{Names, REQUEST_ID};
use crate::config::limits::Limits;
use crate::listen::forwarded::{ClientAddress, is_trusted};
use crate::listen::stream::{Protocol, Stream};
use crate::listen::watch::{Call, SWEEP_EVERY, Ticks, Watch};
use crate::server::protocols::http1_builder;

/// After running out of descriptors: how long until accepting is tried again.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Nobody has to make room before this time, in which a client that is there sends its request: who opens many in
/// a row does not take away the places of those who came a moment before. Except for an address that has fewer.
const GRACE: Duration = Duration::from_millis(100);
/// One address has at most one of so many places.
const ADDRESS_SHARE: usize = 4;
/// Connections that were told to end and have not ended yet. Above, nobody new is let in.
const LEAVING_MAX: usize = 16;

/// What the connections are served with.
pub(super) struct Reception {
    pub router: Router,
    pub limits: Limits,
    pub trusted_proxies: Arc<[IpNet]>,
    pub crowd: Arc<Crowd>,
}

/// How many there are, for `/metrics`.
#[derive(Debug, Default)]
pub(in crate::server) struct Crowd {
    open: AtomicU64,
    displaced: AtomicU64,
    refused: AtomicU64,
}

impl Crowd {
    /// Connections at this moment.
    pub(in crate::server) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that were ended to make room.
    pub(in crate::server) fn displaced(&self) -> u64 {
        self.displaced.load(Ordering::Relaxed)
    }

    /// Connections that were closed at once, as there was no place for them.
    pub(in crate::server) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Reception {
    /// Accepts and serves for as long as it is polled; dropped, every connection is too.
    pub(super) async fn serve(self, listener: TcpListener) -> Infallible {
        let seats = Arc::new(Seats {
            table: Mutex::default(),
            connections_max: self.limits.admin_connections_max,
            per_address_max: per_address_max(&self.limits),
            grace: GRACE,
            crowd: self.crowd,
        });
        let desk = Desk::new(self.router, self.limits, self.trusted_proxies);
        let desk = Arc::new(desk);
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
                    let is_proxy = is_trusted(peer.ip, &desk.trusted_proxies);
                    if let Some(seat) = seats.take((peer.ip, is_proxy)).await {
                        connections.spawn(Arc::clone(&desk).connection(socket, peer, seat));
                    }
                    // Whoever was let in is heard before many others are, who could take the place again.
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

/// How many connections an address may have: with less than that of all, it takes several to fill every place.
fn per_address_max(limits: &Limits) -> usize {
    let share = limits.admin_connections_max / ADDRESS_SHARE;
    limits.admin_connections_per_address_max.min(share).max(1)
}

/// What all connections share.
struct Desk {
    http1: http1::Builder,
    service: TowerToHyperService<Router>,
    limits: Limits,
    trusted_proxies: Arc<[IpNet]>,
    names: Names,
}

impl Desk {
    fn new(router: Router, limits: Limits, trusted_proxies: Arc<[IpNet]>) -> Self {
        let mut http1 = http1_builder(&limits);
        http1.title_case_headers(false);
        Self {
            http1,
            service: TowerToHyperService::new(router),
            limits,
            trusted_proxies,
            names: Names::new(),
        }
    }

    /// Serves a connection to its end.
    async fn connection(self: Arc<Self>, socket: TcpStream, peer: ClientAddress, seat: Seat) {
        let watch = Arc::clone(&seat.watch);
        let serving = self.opened(socket, peer, &watch);
        let mut serving = pin!(serving);
        let mut clock = interval(SWEEP_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // First: whoever has to make room begins no work that would be broken off.
                call = watch.called() => match call {
                    Call::Reset => return,
                    Call::Expired => {
                        // A request that has come in this very moment is served.
                        if serving.as_mut().now_or_never().is_some() {
                            return;
                        }
                        watch.sweep(&self.limits);
                        if watch.called().now_or_never().is_some() {
                            return;
                        }
                    }
                    Call::Drain => {}
                },
                ended = &mut serving => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection of the admin listener ended");
                    }
                    return;
                }
                _turn = clock.tick() => {
                    seat.ticks.advance();
                    watch.sweep(&self.limits);
                }
            }
        }
    }

    /// Its requests, one after the other.
    async fn opened(
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
        let id = self.names.name(request.headers_mut(), is_from_proxy);
        let span = tracing::warn_span!("admin", request_id = id.to_str().unwrap_or_default());
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(Arc::clone(watch));
        // The head has come, and its deadline is over. Until the gate says that work begins, the client is waited
        // for, or its turn; a connection that only waits may have to make room.
        drop(watch.begin());
        // Requests of one connection come one a turn, with everything else on this thread in between.
        yield_now().await;
        let mut answer = self.service.call(request).instrument(span).await;
        watch.idle();
        if let Ok(response) = &mut answer {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        answer
    }
}

/// Every place, and who has it.
struct Seats {
    table: Mutex<Table>,
    connections_max: usize,
    per_address_max: usize,
    grace: Duration,
    crowd: Arc<Crowd>,
}

#[derive(Default)]
struct Table {
    taken: HashMap<u64, Taken>,
    /// Numbers rise: a smaller one came before.
    next: u64,
    /// Those who have lost their place, and are about to notice it.
    leaving: usize,
}

struct Taken {
    address: IpAddr,
    is_proxy: bool,
    since: Instant,
    watch: Arc<Watch>,
}

impl Seats {
    /// A place for a connection from an address, which is that of a trusted proxy or not. None: it is to be closed.
    async fn take(self: &Arc<Self>, who: (IpAddr, bool)) -> Option<Seat> {
        if let Some(seat) = self.offer(who) {
            return Some(seat);
        }
        // Perhaps one has been closed by its client a moment ago: in a turn of the thread that is seen.
        yield_now().await;
        let seat = self.offer(who);
        if seat.is_none() {
            self.crowd.refused.fetch_add(1, Ordering::Relaxed);
        }
        seat
    }

    fn offer(self: &Arc<Self>, (address, is_proxy): (IpAddr, bool)) -> Option<Seat> {
        let mut table = self.table();
        if table.leaving >= LEAVING_MAX {
            return None;
        }
        let own = table.taken.values().filter(|it| it.address == address);
        // A proxy connects for many: each of them as if it had none.
        let own = if is_proxy { 0 } else { own.count() };
        let is_full = table.taken.len() >= self.connections_max;
        let has_room = if own >= self.per_address_max {
            self.displace(&mut table, |taken, _crowd| {
                taken.address == address && self.has_stayed(taken)
            })
        } else if is_full {
            self.displace(&mut table, |taken, crowd| {
                if taken.address == address {
                    self.has_stayed(taken)
                } else {
                    // An address that has more even after it has lost one needs no time.
                    crowd > own && (self.has_stayed(taken) || crowd - own > 1)
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
        let taken = Taken {
            address,
            is_proxy,
            since: Instant::now(),
            watch: Arc::clone(&watch),
        };
        table.taken.insert(number, taken);
        self.crowd.open.fetch_add(1, Ordering::Relaxed);
        Some(Seat {
            seats: Arc::clone(self),
            number,
            watch,
            ticks,
        })
    }

    fn has_stayed(&self, taken: &Taken) -> bool {
        taken.since.elapsed() >= self.grace
    }

    /// Ends one connection of these that waits for its client: no proxy's if it can be helped, of the address with
    /// the most, the oldest. `may_go` is told how many its address has. Whether there was one.
    fn displace(&self, table: &mut Table, may_go: impl Fn(&Taken, usize) -> bool) -> bool {
        let mut crowds: HashMap<IpAddr, usize> = HashMap::new();
        for taken in table.taken.values() {
            *crowds.entry(taken.address).or_default() += 1;
        }
        let crowd_of = |taken: &Taken| crowds.get(&taken.address).copied().unwrap_or(0);
        let waiting = table.taken.iter().filter(|(_number, taken)| {
            // The client's turn: nothing of it is being worked on.
            taken.watch.in_flight() == 0 && may_go(taken, crowd_of(taken))
        });
        let chosen = waiting
            .min_by_key(|(number, taken)| (taken.is_proxy, Reverse(crowd_of(taken)), **number));
        let chosen = chosen.map(|(number, _taken)| *number);
        let Some(taken) = chosen.and_then(|number| table.taken.remove(&number)) else {
            return false;
        };
        table.leaving += 1;
        taken.watch.end_now();
        self.crowd.displaced.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place, free again when dropped.
struct Seat {
    seats: Arc<Seats>,
    number: u64,
    watch: Arc<Watch>,
    ticks: Ticks,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.table();
        if table.taken.remove(&self.number).is_none() {
            table.leaving = table.leaving.saturating_sub(1);
        }
        drop(table);
        self.watch.leave();
        self.seats.crowd.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const NEAR: (IpAddr, bool) = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), false);
    const FAR: (IpAddr, bool) = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), false);
    const PROXY: (IpAddr, bool) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), true);

    fn seats(connections_max: usize, per_address_max: usize) -> Arc<Seats> {
        Arc::new(Seats {
            table: Mutex::default(),
            connections_max,
            per_address_max,
            grace: Duration::ZERO,
            crowd: Arc::default(),
        })
    }

    fn take(seats: &Arc<Seats>, who: (IpAddr, bool)) -> Seat {
        seats.offer(who).expect("a place")
    }

    fn was_ended(seat: &Seat) -> bool {
        seat.watch.called().now_or_never() == Some(Call::Reset)
    }

    #[test]
    fn the_oldest_that_waits_of_the_largest_crowd_goes() {
        let seats = seats(4, 4);
        let single = take(&seats, FAR);
        let crowd = [(); 3].map(|()| take(&seats, NEAR));
        let at_work = crowd[0].watch.begin();
        let _fifth = take(&seats, FAR);
        assert!(
            !was_ended(&single) && !was_ended(&crowd[0]),
            "it is at work"
        );
        assert!(was_ended(&crowd[1]) && !was_ended(&crowd[2]));
        drop(at_work);
        assert_eq!((seats.crowd.open(), seats.crowd.displaced()), (5, 1));
        drop(crowd);
        assert_eq!(seats.crowd.open(), 2);
        assert_eq!(seats.table().leaving, 0);
    }

    #[test]
    fn an_address_loses_its_own_and_a_proxy_may_have_many() {
        let seats = seats(100, 2);
        let proxies: Vec<Seat> = (0..10).map(|_| take(&seats, PROXY)).collect();
        let crowd = [(); 3].map(|()| take(&seats, NEAR));
        assert!(was_ended(&crowd[0]) && !was_ended(&crowd[1]));
        assert!(!proxies.iter().any(was_ended));
        // What is at work stays, and no other comes beside it.
        let _work = [&crowd[1], &crowd[2]].map(|seat| seat.watch.begin());
        assert!(seats.offer(NEAR).is_none());
        assert!(!was_ended(&crowd[1]) && !was_ended(&crowd[2]));
        let _other = take(&seats, FAR);
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
    fn a_crowd_makes_room_at_once_for_who_has_fewer_and_takes_nothing_of_theirs() {
        let mut seats = seats(4, 4);
        Arc::get_mut(&mut seats).unwrap().grace = Duration::from_hours(1);
        let crowd = [(); 4].map(|()| take(&seats, NEAR));
        let others = [(); 2].map(|()| take(&seats, FAR));
        assert!(was_ended(&crowd[0]) && was_ended(&crowd[1]));
        // Now they have as many as each other.
        assert!(seats.offer(FAR).is_none() && seats.offer(NEAR).is_none());
        drop(crowd);
        let _two = [(); 2].map(|()| take(&seats, NEAR));
        assert!(!others.iter().any(was_ended));
    }

    #[test]
    fn who_has_just_come_makes_no_room() {
        let mut seats = seats(1, 1);
        Arc::get_mut(&mut seats).unwrap().grace = Duration::from_hours(1);
        let first = take(&seats, NEAR);
        assert!(seats.offer(NEAR).is_none());
        assert!(seats.offer(FAR).is_none());
        assert!(!was_ended(&first));
    }

    #[tokio::test]
    async fn where_all_are_at_work_the_next_is_closed_until_one_leaves() {
        let seats = seats(1, 2);
        let first = take(&seats, NEAR);
        let work = first.watch.begin();
        assert!(seats.take(FAR).await.is_none());
        assert_eq!(seats.crowd.refused(), 1);
        // One that leaves in the same turn leaves its place to the next.
        let leaves = tokio::spawn(async move { drop((work, first)) });
        assert!(seats.take(FAR).await.is_some());
        leaves.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_makes_room_begins_no_work() {
        for makes_room in [false, true] {
            let begun = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&begun);
            let router = Router::new().fallback(move || {
                count.fetch_add(1, Ordering::Relaxed);
                async {}
            });
            let desk = Arc::new(Desk::new(router, Limits::default(), [].into()));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(address).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            client.write_all(request).await.unwrap();
            let (socket, peer) = listener.accept().await.unwrap();
            // The request is there when its connection has to make room.
            socket.readable().await.unwrap();
            let seats = seats(1, 1);
            let seat = take(&seats, NEAR);
            let _next = makes_room.then(|| take(&seats, FAR));
            let mut status = [0; 12];
            let is_answered = tokio::select! {
                biased;
                () = desk.connection(socket, ClientAddress::of_peer(peer), seat) => false,
                read = client.read_exact(&mut status) => read.is_ok(),
            };
            assert_eq!(is_answered, !makes_room);
            assert_eq!(begun.load(Ordering::Relaxed), u64::from(!makes_room));
        }
    }
}
