//! Calls of an identity provider: bounded in time and in bytes, and sent nowhere else.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Url, redirect};
use serde::de::DeserializeOwned;

use super::OidcError;

/// How long a call to the provider may take: somebody waits in front of a browser.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that are kept to each of its hosts: sign-ins are rare.
const IDLE_MAX: usize = 2;
/// Bytes of an answer. The largest is a set of keys.
const ANSWER_BYTES_MAX: usize = 256 * 1_024;

/// The client of the provider's endpoints.
#[derive(Clone)]
pub(super) struct Calls(Client);

impl Calls {
    /// Nobody is called yet.
    ///
    /// # Errors
    /// Where TLS cannot be had at all.
    pub(super) fn new() -> Result<Self, OidcError> {
        let client = Client::builder()
            .timeout(CALL_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            // An endpoint that sends us elsewhere is not the one that was registered.
            .redirect(redirect::Policy::none())
            .build();
        client
            .map(Self)
            .map_err(|error| OidcError::Unavailable(error.to_string()))
    }

    /// A request that reads.
    pub(super) fn reading(&self, address: &str) -> Result<RequestBuilder, OidcError> {
        Ok(self.0.get(url(address)?))
    }

    /// A request that sends something.
    pub(super) fn sending(&self, address: &str) -> Result<RequestBuilder, OidcError> {
        Ok(self.0.post(url(address)?))
    }
}

/// A document at an address.
pub(super) async fn document<T: DeserializeOwned>(
    calls: &Calls,
    address: &str,
) -> Result<T, OidcError> {
    let (status, body) = answer(calls.reading(address)?).await?;
    if !status.is_success() {
        return Err(OidcError::Unavailable(format!("{status} from {address}")));
    }
    parsed(&body)
}

/// What is answered.
pub(super) async fn answer(
    request: RequestBuilder,
) -> Result<(http::StatusCode, Vec<u8>), OidcError> {
    let failed = |error: reqwest::Error| OidcError::Unavailable(error.without_url().to_string());
    let mut response = request.send().await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(OidcError::Unavailable("its answer is too large".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), body))
}

/// An endpoint, as the provider or the configuration names it.
pub(super) fn url(text: &str) -> Result<Url, OidcError> {
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| OidcError::Unavailable("it names an endpoint that is no URL".to_owned()))
}

/// JSON of this shape.
pub(super) fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, OidcError> {
    serde_json::from_slice(body)
        .map_err(|_shape| OidcError::Unavailable("its answer is not understood".to_owned()))
}

/// What somebody else wrote, for our log.
pub(super) fn shortened(text: &str) -> String {
    text.chars()
        .filter(|char| char.is_ascii_graphic() || *char == ' ')
        .take(100)
        .collect()
}
