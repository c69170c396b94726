//! One request by hand, to see whether a contender is up and whether it refuses whom it should.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// The longest that a contender may take from its start to its first answer.
const START_MAX: Duration = Duration::from_secs(20);
/// Between two tries while a port is closed: the resolution of "start to first answer".
const PAUSE: Duration = Duration::from_millis(1);
/// The longest that one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Status of one request; the connection is kept and returned.
pub(crate) async fn request(port: u16, key: &str) -> anyhow::Result<(u16, TcpStream)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let head = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nx-api-key: {key}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = [0; 4096];
    let length = timeout(ANSWER_MAX, stream.read(&mut answer)).await??;
    let status = answer
        .get(..length)
        .and_then(status_of)
        .context("the answer is not HTTP/1.1")?;
    Ok((status, stream))
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let digits = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Asks until the answer is 200.
pub(crate) async fn until_served(port: u16, key: &str) -> anyhow::Result<()> {
    let mut last = String::from("it was not asked yet");
    let served = async {
        loop {
            match request(port, key).await {
                Ok((200, _)) => break,
                Ok((status, _)) => last = format!("it answers {status}"),
                Err(error) => last = format!("{error:#}"),
            }
            sleep(PAUSE).await;
        }
    };
    if timeout(START_MAX, served).await.is_err() {
        bail!(
            "no 200 on port {port} within {} s: {last}",
            START_MAX.as_secs()
        );
    }
    Ok(())
}

/// Waits until somebody listens.
pub(crate) async fn until_open(port: u16) -> anyhow::Result<()> {
    let open = async {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .is_err()
        {
            sleep(PAUSE).await;
        }
    };
    timeout(START_MAX, open)
        .await
        .with_context(|| format!("port {port} stays closed"))
}
