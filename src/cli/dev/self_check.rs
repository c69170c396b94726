//! Tests the running gateway over a real connection: a request without a key is refused, one with a key is accepted,
//! and one with a revoked key is refused.

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

use super::bootstrap::create_key;

/// Time limit of one request of the self-check.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The test key expires after this time if the check is interrupted before it revokes the key.
const TEST_KEY_LIFETIME: Duration = Duration::from_mins(1);
const TEST_KEY: &str = "self-check";
/// The path where the demo echoes the caller.
const PATH: &str = "/api/identity";

/// The gateway to check, and the owner of the test key.
pub(super) struct SelfCheck<'a> {
    pub service: &'a Service,
    pub owner: &'a EmailAddress,
    pub gateway: SocketAddr,
    /// Whether the upstream is the demo: then a request with a key must get 200. A real upstream may answer with any
    /// status.
    pub demo: bool,
}

/// The results of the self-check.
pub(super) struct SelfCheckResult {
    /// The status without a key.
    pub absent: StatusCode,
    /// The status with a key.
    pub live: StatusCode,
    /// The status with the same key after its revocation.
    pub revoked: StatusCode,
    /// The time from the revocation until the refusal was received.
    pub revoked_after: Duration,
}

impl SelfCheck<'_> {
    pub(super) async fn run(&self) -> Result<SelfCheckResult, Failure> {
        let (key, plain) =
            create_key(self.service, self.owner, TEST_KEY, Some(TEST_KEY_LIFETIME)).await?;
        let absent = self.request_status(None).await?;
        let live = self.request_status(Some(&plain)).await?;
        let begun = Instant::now();
        let revoked = self.service.revoke_key(key.id).await?;
        self.service
            .wait_for_acknowledgements(revoked.sequence)
            .await
            .map_err(ServiceError::from)?;
        let revoked = self.request_status(Some(&plain)).await?;
        let checked = SelfCheckResult {
            absent,
            live,
            revoked,
            revoked_after: begun.elapsed(),
        };
        let both_refused = [absent, revoked]
            .iter()
            .all(|status| *status == StatusCode::UNAUTHORIZED);
        if both_refused && (live == StatusCode::OK || !self.demo) {
            return Ok(checked);
        }
        Err(Failure::Other(format!(
            "the self-check failed: without a key {absent} (must be 401), with a key {live} (must be \
             200), with a revoked key {revoked} (must be 401). Do not use this gateway, and report it"
        )))
    }

    async fn request_status(&self, key: Option<&PlainKey>) -> Result<StatusCode, Failure> {
        let mut request = Request::get(PATH).header(http::header::HOST, self.gateway.to_string());
        if let Some(key) = key {
            request = request.header("x-api-key", key.expose());
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| {
            Failure::Other(format!("the self-check cannot build its request: {error}"))
        })?;
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
