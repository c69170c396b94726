//! Finding the key in a request. Absent, present, malformed and contradictory are four answers.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::config::CredentialSource;
use crate::model::key::PresentedKey;
use crate::model::refusal::Refusal;
use crate::route::Route;

/// The other header that may carry a key.
pub(super) const API_KEY: &str = "x-api-key";

/// The key that a request brings where the route looks for one.
///
/// # Errors
/// [`Refusal::CredentialConflict`] for a header that comes twice or two that differ, wherever the
/// route looks: which of them another reader takes would be a guess.
/// [`Refusal::CredentialAbsent`] and [`Refusal::CredentialMalformed`].
pub(super) fn identify<'a>(
    headers: &'a HeaderMap,
    route: &Route,
) -> Result<PresentedKey<'a>, Refusal> {
    let api_key = single(headers.get_all(API_KEY))?
        .map(HeaderValue::as_bytes)
        .and_then(present);
    let bearer = single(headers.get_all(AUTHORIZATION))?.and_then(bearer);
    if matches!((api_key, bearer), (Some(one), Some(other)) if one != other) {
        return Err(Refusal::CredentialConflict);
    }
    let accepted = |found: Option<&'a [u8]>, source| found.filter(|_| route.accepts(source));
    let found = accepted(api_key, CredentialSource::ApiKeyHeader)
        .or_else(|| accepted(bearer, CredentialSource::Bearer))
        .ok_or(Refusal::CredentialAbsent)?;
    PresentedKey::parse(found).ok_or(Refusal::CredentialMalformed)
}

/// At most one line of a header.
fn single(values: http::header::GetAll<'_, HeaderValue>) -> Result<Option<&HeaderValue>, Refusal> {
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refusal::CredentialConflict),
        (value, None) => Ok(value),
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750 §2.1), the scheme in any case (RFC 9110 §11.1).
/// Other schemes are no credential of ours.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes().trim_ascii();
    let (scheme, token) = value.split_at_checked(b"bearer".len())?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return None;
    }
    match token {
        // Said Bearer and brought nothing: a credential, and not a key.
        [] => Some(b"-"),
        [b' ' | b'\t', ..] => present(token).or(Some(b"-")),
        _ => None,
    }
}

/// An empty header is what an unset variable in a script leaves: absent.
fn present(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    (!value.is_empty()).then_some(value)
}
