//! A TCP proxy on loopback that misbehaves on command: what lies between a gateway and its database
//! on a bad day.
//!
//! Each connection holds at most one chunk for each direction; what does not move stays in the
//! kernel's buffers, so that the pressure reaches the sender as on a real network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CHUNK_BYTES: u64 = 16 * 1024;
/// A throttled direction moves in this many pieces a second, so that it flows and does not jump.
const PIECES_PER_SECOND: u64 = 20;

/// What is wrong at the moment.
#[derive(Debug, Clone, Copy)]
struct Faults {
    target: SocketAddr,
    /// How often everything was cut: a connection lives as long as this is what it was at its birth.
    cuts: u64,
    is_frozen: bool,
    is_refusing: bool,
    delay: Duration,
    bytes_per_second: Option<u64>,
}

/// A running proxy; dropped, it is gone with its connections.
pub struct FaultProxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    opened: Arc<AtomicU64>,
    _accept: JoinSet<()>,
}

impl FaultProxy {
    /// Stands before `target`, and passes everything on until it is told otherwise.
    pub async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let faults = watch::Sender::new(Faults {
            target,
            cuts: 0,
            is_frozen: false,
            is_refusing: false,
            delay: Duration::ZERO,
            bytes_per_second: None,
        });
        let opened = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, faults.subscribe(), Arc::clone(&opened)));
        Self {
            address,
            faults,
            opened,
            _accept: tasks,
        }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were ever opened, refused ones included.
    pub fn connections(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Resets every open connection; new ones work.
    pub fn cut(&self) {
        self.faults.send_modify(|faults| faults.cuts += 1);
    }

    /// Nothing moves from now on, either way: connections stay open, new ones are accepted and hang.
    pub fn freeze(&self) {
        self.faults.send_modify(|faults| faults.is_frozen = true);
    }

    /// What is frozen goes on.
    pub fn thaw(&self) {
        self.faults.send_modify(|faults| faults.is_frozen = false);
    }

    /// Holds each chunk for so long, in each direction; zero ends it.
    pub fn delay(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    /// At most so many bytes a second of each connection in each direction; zero ends it.
    pub fn throttle(&self, bytes_per_second: u64) {
        let limit = (bytes_per_second > 0).then_some(bytes_per_second);
        self.faults
            .send_modify(|faults| faults.bytes_per_second = limit);
    }

    /// New connections are reset at once; open ones live on.
    pub fn refuse(&self) {
        self.faults.send_modify(|faults| faults.is_refusing = true);
    }

    /// New connections are taken again.
    pub fn welcome(&self) {
        self.faults.send_modify(|faults| faults.is_refusing = false);
    }

    /// New connections go to another target; open ones stay where they are.
    pub fn aim(&self, target: SocketAddr) {
        self.faults.send_modify(|faults| faults.target = target);
    }
}

async fn accept(listener: TcpListener, faults: watch::Receiver<Faults>, opened: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        opened.fetch_add(1, Ordering::Relaxed);
        while connections.try_join_next().is_some() {}
        let born_in = *faults.borrow();
        if born_in.is_refusing {
            reset(&client);
            continue;
        }
        connections.spawn(connection(client, born_in.cuts, faults.clone()));
    }
}

/// One connection from its birth to its end, or to the next cut.
async fn connection(mut client: TcpStream, cuts: u64, mut faults: watch::Receiver<Faults>) {
    let mut cut = faults.clone();
    let cut = cut.wait_for(|now| now.cuts != cuts);
    tokio::pin!(cut);
    let reached = tokio::select! {
        _ = &mut cut => None,
        reached = reach(&mut faults) => reached,
    };
    let Some(mut target) = reached else {
        reset(&client);
        return;
    };
    let is_broken = {
        let (from_client, to_client) = client.split();
        let (from_target, to_target) = target.split();
        let up = pass(from_client, to_target, faults.clone());
        let down = pass(from_target, to_client, faults);
        tokio::select! {
            _ = &mut cut => true,
            ends = async { tokio::try_join!(up, down) } => ends.is_err(),
        }
    };
    if is_broken {
        reset(&client);
        reset(&target);
    }
}

/// A connection to whom the proxy stands before, once nothing is frozen.
async fn reach(faults: &mut watch::Receiver<Faults>) -> Option<TcpStream> {
    let target = faults.wait_for(|now| !now.is_frozen).await.ok()?.target;
    TcpStream::connect(target).await.ok()
}

/// Passes one direction on until its end, which is passed on too.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut faults: watch::Receiver<Faults>,
) -> std::io::Result<()> {
    let mut chunk = vec![0; usize::try_from(CHUNK_BYTES).unwrap()];
    loop {
        let now = moving(&mut faults).await;
        let piece = now.bytes_per_second.map_or(CHUNK_BYTES, |rate| {
            (rate / PIECES_PER_SECOND).clamp(1, CHUNK_BYTES)
        });
        let piece = &mut chunk[..usize::try_from(piece).unwrap()];
        // What is read although a freeze began meanwhile waits below.
        let length = from.read(piece).await?;
        let now = *faults.borrow();
        if !now.delay.is_zero() {
            tokio::time::sleep(now.delay).await;
        }
        if length == 0 {
            moving(&mut faults).await;
            return to.shutdown().await;
        }
        write(&mut to, &piece[..length], &mut faults).await?;
        if let Some(rate) = now.bytes_per_second {
            let share = length as u64 * 1_000_000 / rate;
            tokio::time::sleep(Duration::from_micros(share)).await;
        }
    }
}

/// Writes all of it, but nothing while frozen: not even what a full buffer had held back before.
async fn write(
    to: &mut WriteHalf<'_>,
    mut bytes: &[u8],
    faults: &mut watch::Receiver<Faults>,
) -> std::io::Result<()> {
    while !bytes.is_empty() {
        moving(faults).await;
        let mut frozen = faults.clone();
        tokio::select! {
            biased;
            _ = frozen.wait_for(|now| now.is_frozen) => {}
            written = to.write(bytes) => bytes = &bytes[written?..],
        }
    }
    Ok(())
}

/// Waits until nothing is frozen; what is wrong then.
async fn moving(faults: &mut watch::Receiver<Faults>) -> Faults {
    let now = faults.wait_for(|now| !now.is_frozen).await;
    let now = now.map(|now| *now).ok();
    match now {
        Some(now) => now,
        // The proxy is being dropped, and this task with it.
        None => std::future::pending().await,
    }
}

/// Lets the peer see a reset instead of an orderly end, once the stream is dropped.
fn reset(stream: &TcpStream) {
    drop(socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}
