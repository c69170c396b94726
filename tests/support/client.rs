//! A small HTTP client with nothing in it that a test would have to trust: one connection, no
//! pool, no retry.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::tls;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Http1,
    TlsHttp2,
}

/// Whom a client speaks to: the gateway, or an upstream without it.
#[derive(Debug, Clone)]
pub struct Target {
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    /// PEM of the certificate behind `tls`.
    pub authority: PathBuf,
    /// The API key to send; none when there is no gateway in between.
    pub key: Option<String>,
}

impl Target {
    pub fn url(&self, mode: Mode, path: &str) -> String {
        match mode {
            Mode::Http1 => format!("http://{}{path}", self.plain),
            Mode::TlsHttp2 => format!("https://{}{path}", self.tls),
        }
    }

    /// A request with the key in `x-api-key`, if there is one.
    pub fn request(&self, mode: Mode, method: &str, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(method);
        let builder = match mode {
            Mode::Http1 => builder
                .uri(path)
                .header(http::header::HOST, self.plain.to_string()),
            Mode::TlsHttp2 => builder.uri(self.url(mode, path)),
        };
        match &self.key {
            Some(key) => builder.header("x-api-key", key),
            None => builder,
        }
    }

    pub async fn connect(&self, mode: Mode) -> Connection {
        self.try_connect(mode).await.unwrap()
    }

    /// As [`Self::connect`], to a gateway that may not be there.
    pub async fn try_connect(&self, mode: Mode) -> Result<Connection, BoxError> {
        match mode {
            Mode::Http1 => self.connect_http1().await,
            Mode::TlsHttp2 => self.connect_http2().await,
        }
    }

    async fn connect_http1(&self) -> Result<Connection, BoxError> {
        let stream = TcpStream::connect(self.plain).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Ok(Connection {
            sender: Sender::Http1(sender),
            driver,
        })
    }

    async fn connect_http2(&self) -> Result<Connection, BoxError> {
        let stream = TcpStream::connect(self.tls).await?;
        let connector = tokio_rustls::TlsConnector::from(tls::client(&self.authority, b"h2"));
        let name = rustls::pki_types::ServerName::from(self.tls.ip());
        let stream = connector.connect(name, stream).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection {
            sender: Sender::Http2(sender),
            driver,
        })
    }
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// One connection. Dropped, it is gone, whatever was under way.
pub struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

impl Connection {
    pub async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.try_send(request).await.unwrap()
    }

    pub async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The whole body as JSON.
pub async fn json(response: Response<Incoming>) -> serde_json::Value {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
}
