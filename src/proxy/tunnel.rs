//! Connections that change their protocol: WebSocket and other upgrades over HTTP/1.1.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Cursor};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::{Frame, FrameHeader};

use super::sse_error::message;
use crate::auth::{Direction, OpenRequest};
use crate::listen::watch::InFlight;
use crate::model::key;
use crate::model::refusal::{BadRequest, Refusal};
use crate::record::request::Record;

/// How long the client of a WebSocket has to answer the close frame, where nobody's key ended.
const AWAY_CLOSE_TIME: Duration = Duration::from_secs(1);
/// What one direction holds in memory.
const BUFFER_BYTES: usize = 8 * 1024;
/// How long a client has to take the last frame, well within the 100 ms in which a revoked key's
/// streams end.
const CLOSE_TIME: Duration = Duration::from_millis(40);

/// A client's wish to change the protocol.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// What it wants to speak.
    pub protocol: HeaderValue,
    /// Its side, once the answer `101` has been written.
    pub client: OnUpgrade,
}

/// The upgrade that a request asks for. `h2c` is never forwarded: it would open a second, unread way to
/// the upstream (RFC 9113 §3.1 dropped it). Ignoring an upgrade is always right (RFC 9110 §7.8), so
/// what is not asked for properly is left out rather than refused, except with a body: then an
/// upstream that switches and one that does not would read it differently.
pub(super) fn requested_upgrade<B>(request: &mut Request<B>) -> Result<Option<Upgrade>, Refusal> {
    let client = request.extensions_mut().remove::<OnUpgrade>();
    let headers = request.headers();
    let Some(protocol) = protocol(headers) else {
        return Ok(None);
    };
    let has_body = headers.contains_key(http::header::TRANSFER_ENCODING)
        || headers
            .get(http::header::CONTENT_LENGTH)
            .is_some_and(|length| length != "0");
    match client {
        Some(_) if has_body => Err(Refusal::BadRequest(BadRequest::Upgrade)),
        Some(client) if request.version() == Version::HTTP_11 => {
            Ok(Some(Upgrade { protocol, client }))
        }
        _ => Ok(None),
    }
}

fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut wanted = headers.get_all(UPGRADE).iter();
    let (only, None) = (wanted.next()?, wanted.next()) else {
        return None;
    };
    let nominated = headers.get_all(CONNECTION).iter().any(|value| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let is_h2c = only
        .as_bytes()
        .to_ascii_lowercase()
        .windows(3)
        .any(|part| part == b"h2c");
    let holds_key = key::is_in(only.as_bytes());
    (nominated && !is_h2c && !holds_key).then(|| only.clone())
}

/// An upgraded connection, while it is carried.
pub(super) struct Tunnel {
    open: Option<Rc<OpenRequest>>,
    /// Where the upstream's frames end, of a WebSocket.
    frames: Option<Frames>,
    /// How long nothing may move.
    idle: Duration,
    /// The server cuts what is still open.
    cut: CancellationToken,
    record: Record,
    _in_flight: InFlight,
}

/// Why a direction of a tunnel ended before both sides had closed it.
enum Broken {
    /// One side broke off.
    Io(io::Error),
    /// The request may not go on.
    Cut(Refusal),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Tunnel {
    pub(super) fn new(
        protocol: &HeaderValue,
        open: Option<Rc<OpenRequest>>,
        (idle, cut): (Duration, CancellationToken),
        (record, in_flight): (Record, InFlight),
    ) -> Self {
        let is_web_socket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        Self {
            open,
            frames: is_web_socket.then(Frames::default),
            idle,
            cut,
            record,
            _in_flight: in_flight,
        }
    }

    /// Carries bytes both ways until both sides have ended, one breaks off, or the request may not go
    /// on.
    pub(super) async fn run(mut self, client: OnUpgrade, upstream: OnUpgrade) {
        let (client, upstream) = match tokio::try_join!(client, upstream) {
            Ok((client, upstream)) => (TokioIo::new(client), TokioIo::new(upstream)),
            Err(error) => {
                tracing::debug!(%error, "an upgrade was agreed on but not carried out");
                return;
            }
        };
        let (mut from_client, mut to_client) = split(client);
        let (from_upstream, to_upstream) = split(upstream);
        let open = self.open.clone();
        let tunnel_context = TunnelContext {
            open: open.as_deref(),
            moved: Cell::new(Instant::now()),
        };
        let frames = self.frames.as_mut();
        let down = tunnel_context.carry(from_upstream, &mut to_client, frames);
        let up = tunnel_context.carry(&mut from_client, to_upstream, None);
        let both = async { tokio::try_join!(down, up).map(drop) };
        let ended = tokio::select! {
            ended = both => ended,
            () = tunnel_context.idle(self.idle) => Err(Broken::Cut(Refusal::TunnelIdle)),
            () = self.cut.cancelled() => Err(Broken::Cut(Refusal::ShuttingDown)),
        };
        match ended {
            Ok(()) => self.record.finish(),
            Err(Broken::Io(error)) => {
                tracing::debug!(%error, request_id = %self.record.id(), "a tunnel broke off");
                self.record.finish();
            }
            Err(Broken::Cut(refusal)) => {
                self.record.cut(refusal);
                let time = if is_going_away(refusal) {
                    AWAY_CLOSE_TIME
                } else {
                    CLOSE_TIME
                };
                let last = close_frame(refusal);
                let closed = self.close_web_socket(&last, &mut from_client, &mut to_client);
                if timeout(time, closed).await.is_err()
                    && let Some(open) = &self.open
                {
                    open.reset_connection_at_end();
                }
            }
        }
    }

    /// Tells a WebSocket's client why it ends, if the upstream's last frame is whole; else there is no
    /// place where a frame could begin. What the client still sends is read: a socket that is closed
    /// with unread bytes is reset, and the frame lost.
    async fn close_web_socket(
        &self,
        last: &[u8],
        from_client: &mut (impl AsyncRead + Unpin),
        to_client: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        if self.frames.as_ref().is_some_and(Frames::is_between_frames) {
            to_client.write_all(last).await?;
            to_client.shutdown().await?;
            let mut buffer = [0; 1_024];
            while from_client.read(&mut buffer).await? > 0 {}
        } else if let Some(open) = &self.open {
            open.reset_connection_at_end();
        }
        Ok(())
    }
}

/// What both directions of a tunnel have in common.
struct TunnelContext<'a> {
    open: Option<&'a OpenRequest>,
    /// When something last passed, either way.
    moved: Cell<Instant>,
}

impl TunnelContext<'_> {
    /// Carries one direction to its end.
    async fn carry(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        mut frames: Option<&mut Frames>,
    ) -> Result<(), Broken> {
        let open = self.open;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = passing(open, from.read(&mut buffer)).await?;
            self.moved.set(Instant::now());
            let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
                return Ok(to.shutdown().await?);
            };
            if let Some(open) = open {
                let passes = poll_fn(|cx| open.poll_pass(Direction::Download, cx)).await;
                passes.map_err(Broken::Cut)?;
            }
            if let Some(frames) = &mut frames {
                frames.begin(chunk);
            }
            passing(open, to.write_all(chunk)).await?;
            passing(open, to.flush()).await?;
            self.moved.set(Instant::now());
            if let Some(frames) = &mut frames {
                frames.written();
            }
        }
    }

    /// Ready when nothing has moved for as long as it may.
    async fn idle(&self, limit: Duration) {
        loop {
            let over = self.moved.get() + limit;
            if Instant::now() >= over {
                return;
            }
            sleep_until(over).await;
        }
    }
}

/// Waits for one step, unless the request is ended before.
async fn passing<T>(
    open: Option<&OpenRequest>,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, Broken> {
    let Some(open) = open else {
        return Ok(step.await?);
    };
    let mut step = pin!(step);
    poll_fn(|cx| {
        if let Some(refusal) = open.ended() {
            return Poll::Ready(Err(Broken::Cut(refusal)));
        }
        let polled = step.as_mut().poll(cx).map_err(Broken::Io);
        if polled.is_pending() {
            open.watch(Direction::Download, cx);
        }
        polled
    })
    .await
}

/// Whether this side leaves, whatever the key is.
fn is_going_away(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::TunnelIdle | Refusal::ShuttingDown)
}

/// Close (RFC 6455 §7.4.1): 1008, a policy was violated, where the key no longer opens; 1001, going away,
/// where nothing was said for too long, or the server ends; 1013, try again later, where nobody can tell.
fn close_frame(refusal: Refusal) -> Vec<u8> {
    let code = if is_going_away(refusal) {
        CloseCode::Away
    } else if refusal.is_about_the_key() {
        CloseCode::Policy
    } else {
        CloseCode::Again
    };
    let mut reason = message(refusal).to_owned();
    if let Some(first) = reason.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let close = Frame::close(Some(CloseFrame {
        code,
        reason: reason.into(),
    }));
    let mut bytes = Vec::new();
    // Writing to a Vec does not fail.
    let _written = close.format(&mut bytes);
    bytes
}

/// Finds where WebSocket frames end, without looking into them (RFC 6455 §5.2).
#[derive(Debug, Default)]
struct Frames {
    /// A header of which not all bytes have come.
    header: Vec<u8>,
    /// Bytes of the present frame's payload that have not come.
    payload_left: u64,
    /// Something that is no frame came: no end is to be found any more.
    is_lost: bool,
    /// A chunk was begun and not written whole.
    is_writing: bool,
}

impl Frames {
    /// These bytes are about to be written.
    fn begin(&mut self, mut chunk: &[u8]) {
        self.is_writing = true;
        while !chunk.is_empty() && !self.is_lost {
            if self.payload_left > 0 {
                let length = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
                let (payload, rest) = chunk.split_at(length.min(chunk.len()));
                self.payload_left -= payload.len() as u64;
                chunk = rest;
            } else {
                let (byte, rest) = chunk.split_at(1);
                self.header.extend_from_slice(byte);
                chunk = rest;
                self.read_header();
            }
        }
    }

    fn read_header(&mut self) {
        match FrameHeader::parse(&mut Cursor::new(&self.header)) {
            Ok(Some((_header, length))) => {
                self.payload_left = length;
                self.header.clear();
            }
            Ok(None) => {}
            Err(_no_frame) => self.is_lost = true,
        }
    }

    /// All that was begun is written.
    fn written(&mut self) {
        self.is_writing = false;
    }

    fn is_between_frames(&self) -> bool {
        !self.is_lost && !self.is_writing && self.payload_left == 0 && self.header.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::scope::Scope;

    fn between_after(chunks: &[&[u8]]) -> bool {
        let mut frames = Frames::default();
        for chunk in chunks {
            frames.begin(chunk);
            frames.written();
        }
        frames.is_between_frames()
    }

    #[test]
    fn the_end_of_a_frame_is_found_however_it_is_chunked() {
        let hello = b"\x81\x05hello";
        assert!(between_after(&[]));
        assert!(between_after(&[hello, hello]));
        assert!(between_after(&[b"\x81", b"\x05he", b"llo"]));
        assert!(!between_after(&[b"\x81\x05hell"]));
        assert!(!between_after(&[hello, b"\x81"]));
        let mut long = vec![0x82, 126, 1, 0];
        long.extend([0; 256]);
        assert!(between_after(&[&long]));
        assert!(!between_after(&[&long[..200]]));
        // What is no frame is never taken for one.
        assert!(!between_after(&[b"\x83\x00", hello]));
    }

    #[test]
    fn a_close_frame_says_policy() {
        let frame = close_frame(Refusal::KeyRevoked);
        assert_eq!(frame[..4], [0x88, 25, 0x03, 0xf0]);
        assert_eq!(&frame[4..], b"the API key was revoked");
        let code = |refusal| u16::from_be_bytes(close_frame(refusal)[2..4].try_into().unwrap());
        assert_eq!(code(Refusal::KeyExpired), 1_008);
        assert_eq!(code(Refusal::ScopeMissing(Scope::Api)), 1_008);
        assert_eq!(code(Refusal::TunnelIdle), 1_001);
        assert_eq!(code(Refusal::ShuttingDown), 1_001);
        assert_eq!(code(Refusal::LeaseExpired), 1_013);
    }

    #[test]
    fn a_frame_that_is_not_written_whole_has_no_end() {
        let mut frames = Frames::default();
        frames.begin(b"\x81\x05hello");
        assert!(!frames.is_between_frames());
    }
}
