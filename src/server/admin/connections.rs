//! The connections of the admin listener: few, each with its deadlines, and none that can keep others out.
//!
//! Where there is no place left, a connection goes that waits for its client: that has sent nothing yet, or
//! half a request, or is idle between two. Of the address that has the most of them the oldest goes, so
//! whoever opens many loses their own. What is being worked on is never ended for another.

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
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::config::limits::Limits;
use crate::listen::forwarded::{ClientAddress, is_trusted};
use crate::listen::stream::{Protocol, Stream};
use crate::listen::watch::{Call, SWEEP_EVERY, Ticks, Watch};
use crate::server::protocols::http1_builder;

/// After running out of descriptors: how long until accepting is tried again.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Nobody has to make room before this time, in which a client that is there sends its request: who opens many in
/// a row does not take away the places of those who came a moment before.
const GRACE: Duration = Duration::from_millis(100);
/// Where there is no place: how long until it is looked again, whether somebody left or not.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
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
}

impl Reception {
    /// Accepts and serves for as long as it is polled; dropped, every connection is too.
    pub(super) async fn serve(self, listener: TcpListener) -> Infallible {
        let seats = Arc::new(Seats {
            table: Mutex::default(),
            left: Notify::new(),
            connections_max: self.limits.admin_connections_max,
            per_address_max: self.limits.admin_connections_per_address_max,
            grace: GRACE,
            crowd: self.crowd,
        });
        let mut http1 = http1_builder(&self.limits);
        http1.title_case_headers(false);
        let desk = Arc::new(Desk {
            http1,
            service: TowerToHyperService::new(self.router),
            limits: self.limits,
            trusted_proxies: self.trusted_proxies,
        });
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
                    let seat = seats.take((peer.ip, is_proxy)).await;
                    connections.spawn(Arc::clone(&desk).connection(socket, peer, seat));
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

/// What all connections share.
struct Desk {
    http1: http1::Builder,
    service: TowerToHyperService<Router>,
    limits: Limits,
    trusted_proxies: Arc<[IpNet]>,
}

impl Desk {
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
                call = watch.called() => match call {
                    Call::Reset | Call::Expired => return,
                    Call::Drain => {}
                },
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
        let client = if is_trusted(peer.ip, &self.trusted_proxies) {
            peer.before(request.headers(), &self.trusted_proxies)
        } else {
            peer
        };
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(Arc::clone(watch));
        // The head has come, and its deadline is over. Until the gate says that work begins, the client is waited
        // for, or its turn; a connection that only waits may have to make room.
        drop(watch.begin());
        let answer = self.service.call(request).await;
        watch.idle();
        answer
    }
}

/// Every place, and who has it.
struct Seats {
    table: Mutex<Table>,
    /// Somebody left.
    left: Notify,
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
    /// A place for a connection from an address, which is that of a trusted proxy or not; waits until there is one.
    async fn take(self: &Arc<Self>, who: (IpAddr, bool)) -> Seat {
        loop {
            if let Some(seat) = self.offer(who) {
                return seat;
            }
            // Also when somebody's grace is over.
            let _either = timeout(LOOK_AGAIN, self.left.notified()).await;
        }
    }

    /// None: when somebody leaves, or has been here for long enough.
    fn offer(self: &Arc<Self>, (address, is_proxy): (IpAddr, bool)) -> Option<Seat> {
        let mut table = self.table();
        if table.leaving >= LEAVING_MAX {
            return None;
        }
        let others = table.taken.values().filter(|it| it.address == address);
        if !is_proxy && others.count() >= self.per_address_max {
            // Where all of them are at work or have just come, the bound on all holds.
            self.displace(&mut table, |it| it.address == address);
        }
        let is_full = table.taken.len() >= self.connections_max;
        if is_full && !self.displace(&mut table, |_any| true) {
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

    /// Ends one connection of these that waits for its client: no proxy's if it can be helped, of the address with
    /// the most, the oldest. Whether there was one.
    fn displace(&self, table: &mut Table, of: impl Fn(&Taken) -> bool) -> bool {
        let mut crowds: HashMap<IpAddr, usize> = HashMap::new();
        for taken in table.taken.values() {
            *crowds.entry(taken.address).or_default() += 1;
        }
        let waiting = table.taken.iter().filter(|(_number, taken)| {
            // The client's turn: nothing of it is being worked on.
            let is_waiting = taken.watch.in_flight() == 0;
            of(taken) && is_waiting && taken.since.elapsed() >= self.grace
        });
        let chosen = waiting.min_by_key(|(number, taken)| {
            let crowd = crowds.get(&taken.address).copied().unwrap_or(0);
            (taken.is_proxy, Reverse(crowd), **number)
        });
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
        self.seats.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const NEAR: (IpAddr, bool) = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), false);
    const FAR: (IpAddr, bool) = (IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), false);
    const PROXY: (IpAddr, bool) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), true);

    fn seats(connections_max: usize, per_address_max: usize) -> Arc<Seats> {
        Arc::new(Seats {
            table: Mutex::default(),
            left: Notify::new(),
            connections_max,
            per_address_max,
            grace: Duration::ZERO,
            crowd: Arc::default(),
        })
    }

    fn take(seats: &Arc<Seats>, who: (IpAddr, bool)) -> Seat {
        let taken = seats.take(who).now_or_never();
        taken.expect("nobody is waited for")
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
        // What is at work stays, and keeps nobody out.
        let _work = [&crowd[1], &crowd[2]].map(|seat| seat.watch.begin());
        let _next = take(&seats, NEAR);
        assert!(!was_ended(&crowd[1]) && !was_ended(&crowd[2]));
    }

    #[tokio::test]
    async fn who_has_just_come_makes_no_room() {
        let mut seats = seats(1, 1);
        Arc::get_mut(&mut seats).unwrap().grace = Duration::from_hours(1);
        let first = take(&seats, NEAR);
        assert!(seats.take(NEAR).now_or_never().is_none());
        assert!(seats.take(FAR).now_or_never().is_none());
        assert!(!was_ended(&first));
    }

    #[tokio::test]
    async fn where_all_are_at_work_the_next_waits_until_one_leaves() {
        let seats = seats(1, 2);
        let first = take(&seats, NEAR);
        let work = first.watch.begin();
        let mut next = pin!(seats.take(FAR));
        assert!(next.as_mut().now_or_never().is_none());
        drop((work, first));
        next.await;
    }
}
