//! Accepting: one task for each listener, on the control plane's runtime, that hands connections to
//! the worker with the fewest.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::per_address::{ConnectionsPerAddress, Counted};

/// Connections that wait for a worker to take them up. A worker that is this far behind is not given
/// more; the kernel's queue holds the rest.
pub const WORKER_QUEUE_MAX: usize = 128;
/// After running out of descriptors: how long until accepting is tried again. It neither spins nor
/// sleeps through the recovery.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A connection on its way to a worker.
pub struct Accepted {
    /// The socket, not yet bound to a runtime.
    pub socket: std::net::TcpStream,
    /// Who is at the other end of it.
    pub peer: SocketAddr,
    /// Which listener it came to.
    pub listener: usize,
    /// Its places among all connections and among its worker's; free again when dropped.
    pub place: Place,
}

/// A connection's places: among all, of its address, and of its worker; given back when it ends.
pub struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_address: Counted,
    of_worker: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of_worker.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The way to one worker.
#[derive(Clone)]
pub struct WorkerQueue {
    queue: mpsc::Sender<Accepted>,
    connections: Arc<AtomicUsize>,
}

impl WorkerQueue {
    /// The way, and its end at the worker.
    pub fn new() -> (Self, mpsc::Receiver<Accepted>) {
        let (queue, worker) = mpsc::channel(WORKER_QUEUE_MAX);
        (
            Self {
                queue,
                connections: Arc::default(),
            },
            worker,
        )
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The worker's number of connections, for metrics. It does not keep the queue open.
    pub fn counter(&self) -> ConnectionCount {
        ConnectionCount(Arc::clone(&self.connections))
    }
}

/// How many connections a worker has.
#[derive(Debug, Clone)]
pub struct ConnectionCount(Arc<AtomicUsize>);

impl ConnectionCount {
    /// At this moment.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A socket and who is at the other end of it.
type Connection = (std::net::TcpStream, SocketAddr);
/// A connection's places among all, and of its address.
type Places = (OwnedSemaphorePermit, Counted);

/// Accepts the connections of one listener.
pub struct Acceptor {
    /// Its number in the configuration.
    pub listener: usize,
    /// The socket.
    pub socket: TcpListener,
    /// The bound on all connections of the process.
    pub places: Arc<Semaphore>,
    /// The bound on those of one client network.
    pub per_address: Arc<ConnectionsPerAddress>,
    /// The workers; at least one.
    pub workers: Vec<WorkerQueue>,
}

impl Acceptor {
    /// Accepts until `stop` says so; then takes up what waits in the kernel's queue, and closes.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut starved = false;
        loop {
            let next = tokio::select! {
                next = self.next() => next,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match next {
                // Outside the select: what was accepted is not dropped when the end comes.
                Ok(Some((connection, places))) => {
                    starved = false;
                    hand_over(&self.workers, self.listener, connection, places).await;
                }
                // Closed: its address has enough of them.
                Ok(None) => starved = false,
                // The client gave up while it waited: nothing of ours is short.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !starved {
                        tracing::warn!(%error, "cannot accept connections; trying again");
                    }
                    starved = true;
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
        if let Err(error) = self.empty_queue().await {
            tracing::warn!(%error, "could not take up the connections that were waiting");
        }
    }

    /// `None`: one that was closed at once.
    async fn next(&self) -> io::Result<Option<(Connection, Places)>> {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return std::future::pending().await;
        };
        let (socket, peer) = self.socket.accept().await?;
        let Some(counted) = self.per_address.enter(peer.ip()) else {
            return Ok(None);
        };
        Ok(Some(((socket.into_std()?, peer), (place, counted))))
    }

    /// What the kernel has accepted was promised service: none of it may be reset.
    async fn empty_queue(self) -> io::Result<()> {
        let Self {
            listener,
            socket,
            places,
            per_address,
            workers,
        } = self;
        let socket = socket.into_std()?;
        while let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            match socket.accept() {
                Ok((stream, peer)) => {
                    let Some(counted) = per_address.enter(peer.ip()) else {
                        continue;
                    };
                    stream.set_nonblocking(true)?;
                    hand_over(&workers, listener, (stream, peer), (place, counted)).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

async fn hand_over(
    workers: &[WorkerQueue],
    listener: usize,
    (socket, peer): Connection,
    (of_all, of_address): Places,
) {
    let Some(worker) = workers.iter().min_by_key(|worker| worker.connections()) else {
        return;
    };
    worker.connections.fetch_add(1, Ordering::Relaxed);
    let of_worker = Arc::clone(&worker.connections);
    let place = Place {
        _of_all: of_all,
        _of_address: of_address,
        of_worker,
    };
    let accepted = Accepted {
        socket,
        peer,
        listener,
        place,
    };
    if worker.queue.send(accepted).await.is_err() {
        tracing::error!("a worker has ended before its time; a connection was closed");
    }
}
