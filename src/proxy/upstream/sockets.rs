//! Sockets to upstreams, counted for the whole process: those of HTTP/2 clients, who may have many requests on one
//! connection, must not take the descriptors with which health checks, the console and the database are answered.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many sockets to upstreams may be open, in all workers together.
#[derive(Debug, Clone)]
pub struct UpstreamSockets {
    places: Arc<Semaphore>,
    idle: Arc<AtomicUsize>,
    idle_max: usize,
}

/// One of the places of connections that nobody uses, until it is dropped.
pub(super) struct IdlePlace(Arc<AtomicUsize>);

impl Drop for IdlePlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl UpstreamSockets {
    /// At most `max`.
    pub fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(max)),
            idle: Arc::default(),
            idle_max: max / 2,
        }
    }

    /// A place for one more. `None`: there are as many as may be.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// A place for a connection that nobody uses. At most half of all may be such: the others are left to requests, to
    /// another upstream too. `None`: the connection is to be closed.
    pub(super) fn idle_place(&self) -> Option<IdlePlace> {
        let more = |idle| (idle < self.idle_max).then_some(idle + 1);
        let counted = self
            .idle
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.is_ok().then(|| IdlePlace(Arc::clone(&self.idle)))
    }
}

/// A socket with its place, which is free again when it is closed.
pub(super) struct CountedSocket {
    pub socket: TcpStream,
    pub _place: OwnedSemaphorePermit,
}

impl AsyncRead for CountedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CountedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
