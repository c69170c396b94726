//! The command `genkan healthcheck`: checks readiness from a container image without a shell or curl.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::exit::Failure;
use crate::config;

/// Time limit for connecting, sending the request and reading the answer. A slower gateway is not ready.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Largest accepted body, in bytes. The answer of a gateway is one line.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Check whether a running gateway is ready.
#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// The address of the gateway's admin listener.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    admin: SocketAddr,
    /// Use the admin address of this configuration file.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

impl Healthcheck {
    /// Succeeds if the gateway answers that it is ready.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let admin = match &self.config {
            Some(file) => {
                loopback_if_unspecified(config::load(file, config::environment())?.admin.address)
            }
            None => self.admin,
        };
        let failed =
            |why: String| Failure::Other(format!("cannot check the gateway at {admin}: {why}"));
        let response = timeout(TIMEOUT, get_readiness(admin)).await;
        let response = response
            .map_err(|_elapsed| failed(format!("no answer within {} s", TIMEOUT.as_secs())))?;
        let response = response.map_err(|problem| failed(problem.to_string()))?;
        if response.status().is_success() {
            return Ok(());
        }
        anstream::stderr().write_all(response.body())?;
        let status = response.status().as_u16();
        Err(Failure::Other(format!(
            "the gateway at {admin} is not ready ({status})"
        )))
    }
}

/// Replaces an unspecified address (`0.0.0.0` or `::`) with the loopback address.
fn loopback_if_unspecified(mut admin: SocketAddr) -> SocketAddr {
    if admin.ip().is_unspecified() {
        match admin {
            SocketAddr::V4(_) => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    admin
}

async fn get_readiness(admin: SocketAddr) -> Result<Response<Bytes>, Problem> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/readyz").header(HOST, admin.to_string());
    let exchange = async {
        let (head, body) = sender
            .send_request(request.body(Empty::<Bytes>::new())?)
            .await?
            .into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(exchange);
    // The connection must be polled to receive the response, and may end with it.
    tokio::select! {
        response = &mut exchange => response,
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Checks a server that answers one request with `answer`.
    async fn check(answer: &'static str) -> Result<(), Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _peer) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let ((), checked) = tokio::join!(
            server,
            Healthcheck {
                admin,
                config: None
            }
            .run()
        );
        checked
    }

    #[tokio::test]
    async fn a_ready_gateway_is_healthy() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn one_that_is_not_ready_fails_with_its_status() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\nlease\n";
        let failure = check(answer).await.unwrap_err().to_string();
        assert!(failure.ends_with("is not ready (503)"), "{failure}");
    }

    #[tokio::test]
    async fn one_that_is_not_there_fails_with_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap();
        drop(listener);
        let failure = Healthcheck {
            admin,
            config: None,
        }
        .run()
        .await
        .unwrap_err()
        .to_string();
        assert!(failure.contains(&admin.to_string()), "{failure}");
    }

    #[test]
    fn one_that_listens_everywhere_is_asked_on_this_machine() {
        for (everywhere, here) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1")] {
            assert_eq!(
                loopback_if_unspecified(everywhere.parse().unwrap()).to_string(),
                here
            );
        }
    }
}
