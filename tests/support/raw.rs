//! A client that sends exactly the bytes of a test, and looks at exactly what comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::within;

/// A peer that shall close has closed long before.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// One connection.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// One answer, as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// From the status line to the last header, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the body came to the end that the head announced.
    pub complete: bool,
}

impl Answer {
    /// Every value of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        header(&self.head, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as problem details (RFC 9457), whose request id is the header's.
    pub fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            ["application/problem+json"],
            "{}",
            self.head
        );
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["status"], self.status);
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
        assert_eq!(
            self.header("x-request-id"),
            [problem["request_id"].as_str().unwrap()]
        );
        problem
    }

    /// Head and body without what differs between any two answers: the request id and the date.
    pub fn without_id(&self) -> String {
        let id = self.problem()["request_id"].as_str().unwrap().to_owned();
        let head = self
            .head
            .lines()
            .filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
        let text = format!("{}\n\n{}", head.collect::<Vec<_>>().join("\n"), self.text());
        text.replace(&id, "ID")
    }
}

/// Every value of a header in a head.
pub fn header<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'));
    let named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim()).collect()
}

/// A connection from an address of this machine.
pub async fn connect_from(from: Ipv4Addr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(address).await
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    /// As [`Self::connect`], to a peer that may have no place left.
    pub async fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(address).await?)
    }

    /// As [`Self::try_connect`], from an address of this machine.
    pub async fn try_connect_from(from: Ipv4Addr, address: SocketAddr) -> std::io::Result<Self> {
        Self::over(connect_from(from, address).await?)
    }

    fn over(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A peer that refused what came first may have closed before the rest.
        let _gone = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The next answer, an interim one included; none if the connection ended instead.
    pub async fn answer(&mut self) -> Option<Answer> {
        self.answer_to(b"").await
    }

    async fn answer_to(&mut self, request: &[u8]) -> Option<Answer> {
        within("an answer, or the end", async {
            let head = self.until(b"\r\n\r\n").await?;
            let head = String::from_utf8(head[..head.len() - 4].to_vec()).unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let body = if request.starts_with(b"HEAD ") {
                Ok(Vec::new())
            } else {
                self.body(status, &head).await
            };
            let complete = body.is_ok();
            let body = body.unwrap_or_else(|part| part);
            Some(Answer {
                status,
                head,
                body,
                complete,
            })
        })
        .await
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        let request = request.as_ref();
        self.send(request).await;
        self.answer_to(request).await.expect("an answer")
    }

    /// Whether the peer closes, and sends nothing more.
    pub async fn is_closed(&mut self) -> bool {
        if !self.read.is_empty() {
            return false;
        }
        // A reset is an end too.
        matches!(timeout(CLOSE_DEADLINE, self.more()).await, Ok(None))
    }

    /// Reads on until some bytes have come, or the end.
    pub async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            self.more().await?;
        }
        Some(self.read.drain(..length).collect())
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|part| part == end) {
                return Some(self.read.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    /// The whole body, or the part that came before the connection broke off.
    async fn body(&mut self, status: u16, head: &str) -> Result<Vec<u8>, Vec<u8>> {
        if status < 200 || matches!(status, 204 | 304) {
            return Ok(Vec::new());
        }
        if !header(head, "transfer-encoding").is_empty() {
            return self.chunks().await;
        }
        if let Some(length) = header(head, "content-length").first() {
            let whole = self.exactly(length.parse().unwrap()).await;
            return whole.ok_or_else(|| std::mem::take(&mut self.read));
        }
        while self.more().await.is_some() {}
        Ok(std::mem::take(&mut self.read))
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.until(b"\r\n").await else {
                return Err(body);
            };
            let size = String::from_utf8(line).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let Some(chunk) = self.exactly(size + 2).await else {
                return Err(body);
            };
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn more(&mut self) -> Option<()> {
        let length = self.stream.read_buf(&mut self.read).await.unwrap_or(0);
        (length > 0).then_some(())
    }
}
