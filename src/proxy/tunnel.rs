//! Connections that change their protocol: WebSocket and other upgrades over HTTP/1.1.

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::listen::watch::InFlight;
use crate::model::refusal::{BadRequest, Refusal};
use crate::record::request::Record;

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
pub(super) fn wanted(parts: &mut Parts) -> Result<Option<Upgrade>, Refusal> {
    let client = parts.extensions.remove::<OnUpgrade>();
    let Some(protocol) = protocol(&parts.headers) else {
        return Ok(None);
    };
    let has_body = parts.headers.contains_key(http::header::TRANSFER_ENCODING)
        || parts
            .headers
            .get(http::header::CONTENT_LENGTH)
            .is_some_and(|length| length != "0");
    match client {
        Some(_) if has_body => Err(Refusal::BadRequest(BadRequest::Upgrade)),
        Some(client) if parts.version == Version::HTTP_11 => Ok(Some(Upgrade { protocol, client })),
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
    (nominated && !is_h2c).then(|| only.clone())
}

/// Carries bytes both ways until both sides have ended, or one breaks off.
pub(super) async fn run(
    client: OnUpgrade,
    upstream: OnUpgrade,
    record: Record,
    in_flight: InFlight,
) {
    let (client, upstream) = match tokio::try_join!(client, upstream) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "an upgrade was agreed on but not carried out");
            return;
        }
    };
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    if let Err(error) = copy_bidirectional(&mut client, &mut upstream).await {
        tracing::debug!(%error, request_id = %record.id(), "a tunnel broke off");
    }
    record.finish();
    drop(in_flight);
}
