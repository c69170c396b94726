//! An upstream that keeps the very bytes of every request, and answers with the bytes of a script.
//!
//! It reads strictly: what it cannot read as one request framed in one way is a request of its own in
//! the record, with the name `UNREADABLE`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::raw::header;
use super::within;

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What the script says to a request.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    /// These bytes; the connection stays.
    Bytes(&'static str),
    /// These bytes, then the end of what is sent; the connection has ended when the peer has seen it
    /// and closed too.
    Last(&'static str),
    /// These bytes, and the connection is gone at once.
    Gone(&'static str),
    /// No word, and the connection stays.
    Silence,
}

/// A request as its bytes came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// From the request line to the last header, without the empty line.
    pub head: String,
    /// Without framing.
    pub body: Vec<u8>,
    /// What came in trailers.
    pub trailers: String,
    /// Whether the body came to its end.
    pub complete: bool,
    /// The how manieth connection it came on.
    pub connection: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Vec<&str> {
        header(&self.head, name)
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    closed: usize,
}

/// A running upstream; stopped when dropped.
pub struct Scripted {
    pub address: SocketAddr,
    state: watch::Sender<State>,
    _tasks: JoinSet<()>,
}

impl Scripted {
    pub async fn start(script: fn(&Seen) -> Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = watch::Sender::new(State::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, script, state.clone()));
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    /// Everything so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.borrow().seen.clone()
    }

    /// Waits for this many requests, and returns them.
    pub async fn wait_for(&self, requests: usize) -> Vec<Seen> {
        let mut state = self.state.subscribe();
        let came = state.wait_for(|state| state.seen.len() >= requests);
        within("requests reach the upstream", came)
            .await
            .unwrap()
            .seen
            .clone()
    }

    /// Waits until this many connections have ended.
    pub async fn wait_for_closed(&self, connections: usize) {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| state.closed >= connections);
        drop(
            within("connections to the upstream end", ended)
                .await
                .unwrap(),
        );
    }
}

async fn accept(listener: TcpListener, script: fn(&Seen) -> Reply, state: watch::Sender<State>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        number += 1;
        let (state, connection) = (state.clone(), number);
        connections.spawn(async move {
            serve(stream, connection, script, &state).await;
            state.send_modify(|state| state.closed += 1);
        });
    }
}

async fn serve(
    stream: TcpStream,
    connection: usize,
    script: fn(&Seen) -> Reply,
    state: &watch::Sender<State>,
) {
    let mut reader = Reader {
        stream,
        bytes: Vec::new(),
    };
    while let Some(seen) = reader.request(connection).await {
        let (complete, reply) = (seen.complete, script(&seen));
        state.send_modify(|state| state.seen.push(seen));
        let stream = &mut reader.stream;
        let sent = match reply {
            _ if !complete => return,
            Reply::Silence => Ok(()),
            Reply::Bytes(bytes) => stream.write_all(bytes.as_bytes()).await,
            Reply::Gone(bytes) => {
                let _gone = stream.write_all(bytes.as_bytes()).await;
                return;
            }
            Reply::Last(bytes) => {
                let _gone = stream.write_all(bytes.as_bytes()).await;
                let _gone = stream.shutdown().await;
                while reader.more().await.is_some() {}
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

struct Reader {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Reader {
    async fn request(&mut self, connection: usize) -> Option<Seen> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head[..head.len() - 4]).into_owned();
        let lengths = header(&head, "content-length");
        let encodings = header(&head, "transfer-encoding");
        let (mut body, mut trailers) = (Vec::new(), String::new());
        let complete = match (lengths.as_slice(), encodings.as_slice()) {
            ([], []) => Some(()),
            ([length], []) => match length.parse() {
                Ok(length) => self.take(length).await.map(|bytes| body = bytes),
                Err(_) => return Some(unreadable(&head, connection)),
            },
            ([], ["chunked"]) => self.chunks(&mut body, &mut trailers).await,
            _ => return Some(unreadable(&head, connection)),
        };
        let complete = complete.is_some();
        Some(Seen {
            head,
            body,
            trailers,
            complete,
            connection,
        })
    }

    async fn chunks(&mut self, body: &mut Vec<u8>, trailers: &mut String) -> Option<()> {
        loop {
            let line = self.until(b"\r\n").await?;
            let digits = str::from_utf8(&line[..line.len() - 2]).unwrap();
            let size = usize::from_str_radix(digits, 16).expect("a chunk size, and no extension");
            if size == 0 {
                break;
            }
            let chunk = self.take(size + 2).await?;
            body.extend_from_slice(&chunk[..size]);
        }
        loop {
            let line = self.until(b"\r\n").await?;
            if line == b"\r\n" {
                return Some(());
            }
            trailers.push_str(str::from_utf8(&line).unwrap());
        }
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|part| part == end) {
                return Some(self.bytes.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.bytes.len() < length {
            self.more().await?;
        }
        Some(self.bytes.drain(..length).collect())
    }

    async fn more(&mut self) -> Option<()> {
        let length = self.stream.read_buf(&mut self.bytes).await.unwrap_or(0);
        (length > 0).then_some(())
    }
}

fn unreadable(head: &str, connection: usize) -> Seen {
    let head = format!("UNREADABLE {head}");
    Seen {
        head,
        body: Vec::new(),
        trailers: String::new(),
        complete: false,
        connection,
    }
}
