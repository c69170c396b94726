//! The proxy between a gateway and its database does exactly the harm that it is told to do.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::fault_proxy::FaultProxy;
use crate::support::within;

/// Loopback needs microseconds: who has not answered by then was stopped.
const SILENCE: Duration = Duration::from_millis(100);

/// Answers every byte with that byte after its own name; gone when dropped.
struct Echo {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Echo {
    async fn start(name: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, name));
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }
}

async fn answer(mut stream: TcpStream, name: u8) {
    let mut read = vec![0; 64 * 1024];
    if stream.write_all(&[name]).await.is_err() {
        return;
    }
    while let Ok(length @ 1..) = stream.read(&mut read).await {
        if stream.write_all(&read[..length]).await.is_err() {
            return;
        }
    }
}

/// A client that was greeted.
async fn client(proxy: &FaultProxy) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let name = within("a greeting", stream.read_u8()).await.unwrap();
    (stream, name)
}

async fn echoed(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    within("an echo", stream.read_exact(&mut back))
        .await
        .unwrap();
    assert_eq!(back, bytes);
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read_u8()).await.is_err()
}

/// The connection ends without an orderly end.
async fn is_reset(stream: &mut TcpStream) -> bool {
    let end = within("the connection ends", stream.read_u8()).await;
    end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn connections_are_cut_refused_and_aimed_elsewhere() {
    let (first, second) = (Echo::start(b'1').await, Echo::start(b'2').await);
    let proxy = FaultProxy::before(first.address).await;
    let (mut one, name) = client(&proxy).await;
    assert_eq!(name, b'1');
    echoed(&mut one, b"hello").await;

    proxy.aim(second.address);
    let (mut two, name) = client(&proxy).await;
    assert_eq!(name, b'2');
    echoed(&mut one, b"still there").await;

    proxy.refuse();
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(is_reset(&mut refused).await);
    echoed(&mut two, b"still there").await;

    proxy.cut();
    assert!(is_reset(&mut one).await && is_reset(&mut two).await);
    proxy.welcome();
    let (mut anew, _) = client(&proxy).await;
    echoed(&mut anew, b"hello again").await;
    assert_eq!(proxy.connections(), 4);
}

#[tokio::test]
async fn a_frozen_connection_stays_open_and_loses_nothing() {
    let echo = Echo::start(b'1').await;
    let proxy = FaultProxy::before(echo.address).await;
    let (mut before, _) = client(&proxy).await;
    proxy.freeze();
    before.write_all(b"abc").await.unwrap();
    let mut during = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(is_silent(&mut before).await && is_silent(&mut during).await);

    proxy.thaw();
    let mut back = [0; 3];
    within("the echo", before.read_exact(&mut back))
        .await
        .unwrap();
    assert_eq!(&back, b"abc");
    assert_eq!(within("a greeting", during.read_u8()).await.unwrap(), b'1');

    proxy.freeze();
    proxy.cut();
    assert!(is_reset(&mut before).await, "frozen is not safe from a cut");
}

#[tokio::test]
async fn an_end_is_passed_on() {
    let echo = Echo::start(b'1').await;
    let proxy = FaultProxy::before(echo.address).await;
    let (mut stream, _) = client(&proxy).await;
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("the end", stream.read_to_end(&mut rest))
        .await
        .unwrap();
    assert_eq!(rest, b"last words");
}

#[tokio::test]
async fn bytes_are_held_and_throttled_in_both_directions() {
    let echo = Echo::start(b'1').await;
    let proxy = FaultProxy::before(echo.address).await;
    let (mut stream, _) = client(&proxy).await;

    let delay = Duration::from_millis(60);
    proxy.delay(delay);
    let begun = Instant::now();
    echoed(&mut stream, b"slow").await;
    assert!(begun.elapsed() >= delay * 2, "{:?}", begun.elapsed());
    proxy.delay(Duration::ZERO);

    let bytes = vec![7; 20_000];
    proxy.throttle(50_000);
    let begun = Instant::now();
    echoed(&mut stream, &bytes).await;
    // The last piece has arrived before its share of time is over; what was under way in big pieces
    // when the throttle came is not held.
    assert!(begun.elapsed() >= SILENCE * 3, "{:?}", begun.elapsed());
    proxy.throttle(0);
    echoed(&mut stream, &bytes).await;
}
