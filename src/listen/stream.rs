//! A client's connection, plain or TLS, as a stream of bytes that the connection's watch sees.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::frames::Frames;
use super::watch::Watch;

/// How an HTTP/2 connection begins (RFC 9113 §3.4); no HTTP/1 method does.
const HTTP2_PREFACE_START: &[u8] = b"PRI";

/// Which HTTP the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2, agreed on by ALPN or known beforehand.
    Http2,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The bytes of one connection.
pub struct Stream {
    transport: Transport,
    watch: Arc<Watch>,
    /// Of HTTP/2.
    frames: Option<Frames>,
}

impl Stream {
    /// Takes up a connection: TLS handshake where the listener has a certificate, then the question
    /// which HTTP it is. The caller sets the deadline.
    pub async fn open(
        socket: TcpStream,
        tls: Option<&TlsAcceptor>,
        watch: Arc<Watch>,
    ) -> io::Result<(Self, Protocol)> {
        let (transport, protocol) = if let Some(tls) = tls {
            let stream = tls.accept(socket).await?;
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            (Transport::Tls(Box::new(stream)), protocol)
        } else {
            let protocol = sniff(&socket).await?;
            (Transport::Plain(socket), protocol)
        };
        let frames = (protocol == Protocol::Http2).then(Frames::default);
        let stream = Self {
            transport,
            watch,
            frames,
        };
        Ok((stream, protocol))
    }
}

impl Stream {
    /// Tells the watch what came. Of HTTP/2 only what is unfinished has a deadline: a PING and its like are no request.
    fn note(&mut self, came: &[u8]) {
        let Some(frames) = &mut self.frames else {
            return self.watch.bytes_came();
        };
        frames.read(came);
        if frames.is_unfinished() {
            self.watch.bytes_came();
        } else {
            self.watch.frame_ended();
        }
    }
}

impl Drop for Stream {
    /// A socket without linger is reset by its close: what the kernel holds for the client is dropped.
    fn drop(&mut self) {
        if self.watch.is_reset_at_end() {
            let socket = match &self.transport {
                Transport::Plain(socket) => socket,
                Transport::Tls(stream) => stream.get_ref().0,
            };
            // One that is gone already needs no reset.
            drop(SockRef::from(socket).set_linger(Some(Duration::ZERO)));
        }
    }
}

/// Looks at the first bytes without taking them. A client that knows HTTP/2 beforehand sends its
/// preface of 24 bytes at once; one that sends it byte by byte is taken for HTTP/1 and refused.
async fn sniff(socket: &TcpStream) -> io::Result<Protocol> {
    let mut start = [0; HTTP2_PREFACE_START.len()];
    match socket.peek(&mut start).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ if start == HTTP2_PREFACE_START => Ok(Protocol::Http2),
        _ => Ok(Protocol::Http1),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        let came = buffer.filled().get(before..).unwrap_or_default();
        if !came.is_empty() {
            self.note(came);
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
