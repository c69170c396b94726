//! The promise, kept once before anybody relies on it: no key is refused, a key opens, a revoked key
//! does not. Through the real gateway, over a real connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::cli::exit::Failure;
use crate::model::key::PlainKey;
use crate::model::member::EmailAddress;
use crate::service::{Service, ServiceError};

use super::household::make_key;

/// A request of the self-check may take this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The test key dies by itself if the check is interrupted before it revokes it.
const TEST_KEY_LIFE: Duration = Duration::from_mins(1);
const TEST_KEY: &str = "self-check";
/// The demo echoes there who called.
const PATH: &str = "/api/identity";

/// What to check, and for whom.
pub(super) struct SelfCheck<'a> {
    pub service: &'a Service,
    pub owner: &'a EmailAddress,
    pub gateway: SocketAddr,
    /// Whether the demo is behind: then a key must get 200. A real service may answer as it likes.
    pub demo: bool,
}

/// What was seen.
pub(super) struct Checked {
    /// Without a key.
    pub absent: StatusCode,
    /// With a key.
    pub live: StatusCode,
    /// With the same key after its revocation.
    pub revoked: StatusCode,
    /// From the command to revoke until the refusal was here.
    pub revoked_after: Duration,
}

impl SelfCheck<'_> {
    pub(super) async fn run(&self) -> Result<Checked, Failure> {
        let (key, plain) =
            make_key(self.service, self.owner, TEST_KEY, Some(TEST_KEY_LIFE)).await?;
        let absent = self.ask(None).await?;
        let live = self.ask(Some(&plain)).await?;
        let begun = Instant::now();
        let revoked = self.service.revoke_key(key.id).await?;
        self.service
            .settle(revoked.sequence)
            .await
            .map_err(ServiceError::from)?;
        let revoked = self.ask(Some(&plain)).await?;
        let checked = Checked {
            absent,
            live,
            revoked,
            revoked_after: begun.elapsed(),
        };
        let refuses = [absent, revoked]
            .iter()
            .all(|it| *it == StatusCode::UNAUTHORIZED);
        if refuses && (live == StatusCode::OK || !self.demo) {
            return Ok(checked);
        }
        Err(Failure::Other(format!(
            "the self-check failed: without a key {absent} (must be 401), with a key {live} (must be \
             200), with a revoked key {revoked} (must be 401). Do not use this gateway, and report it"
        )))
    }

    async fn ask(&self, key: Option<&PlainKey>) -> Result<StatusCode, Failure> {
        let mut request = Request::get(PATH).header(http::header::HOST, self.gateway.to_string());
        if let Some(key) = key {
            request = request.header("x-api-key", key.expose());
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| Failure::Other(format!("the self-check made no request: {error}")))?;
        match timeout(REQUEST_TIMEOUT, send(self.gateway, request)).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(Failure::Other(format!(
                "the self-check got no answer: {error}"
            ))),
            Err(_elapsed) => Err(Failure::Other(
                "the self-check got no answer in time".to_owned(),
            )),
        }
    }
}

async fn send(
    gateway: SocketAddr,
    request: Request<Empty<Bytes>>,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let socket = TcpStream::connect(gateway).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let status = sender.send_request(request).await?.status();
    drop(sender);
    connection.abort();
    Ok(status)
}
