//! Opening a connection to an upstream.

use std::io;

use hyper::client::conn::{http1, http2};
use hyper::rt::{Executor, Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_local;

use super::endpoint::Connection;
use super::sockets::CountedSocket;
use super::tls::Connectors;
use crate::config::Address;

/// Buffer of one connection, in bytes: a bound on what a fast upstream can hold in memory.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Runs hyper's tasks on this worker's own thread.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F> Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        drop(spawn_local(task));
    }
}

/// Connects, with TLS where there are connectors; HTTP/2 where ALPN agrees on it.
pub(super) async fn connect(
    address: &Address,
    tls: Option<&Connectors>,
    exclusive: bool,
    place: OwnedSemaphorePermit,
) -> io::Result<Connection> {
    let socket = TcpStream::connect((address.host.as_str(), address.port)).await?;
    socket.set_nodelay(true)?;
    let socket = CountedSocket {
        socket,
        _place: place,
    };
    let Some(tls) = tls else {
        return http1(TokioIo::new(socket)).await;
    };
    let stream = tls.connect(&address.host, socket, exclusive).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    if is_http2 {
        http2(io).await
    } else {
        http1(io).await
    }
}

async fn http1(io: impl Read + Write + Unpin + Send + 'static) -> io::Result<Connection> {
    let (sender, connection) = http1::Builder::new()
        // Head and body in one buffer and one system call: for small messages faster than a vector.
        .writev(false)
        .max_buf_size(BUFFER_BYTES_MAX)
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to an upstream broke off");
        }
    });
    Ok(Connection::Http1(sender))
}

async fn http2(io: impl Read + Write + Unpin + Send + 'static) -> io::Result<Connection> {
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an upstream broke off");
        }
    });
    Ok(Connection::Http2(sender))
}
