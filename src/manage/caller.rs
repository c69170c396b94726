//! Who calls: by a key with the scope `manage`, or by the console's session.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;

use super::Manage;
use super::problem::{Code, Problem};
use crate::listen::forwarded::ClientAddress;
use crate::model::key::PresentedKey;
use crate::model::token::Token;
use crate::service::acting::Acting;

/// The console's cookie. The prefix makes browsers hold it to this host, over TLS (RFC 6265bis §4.1.3.2).
pub const SESSION_COOKIE: &str = "__Host-genkan";
/// A member who calls.
pub(super) struct Caller(pub(super) Acting);

impl FromRequestParts<Manage> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, manage: &Manage) -> Result<Self, Problem> {
        let address = caller_address(parts);
        let found = match presented_key(&parts.headers)? {
            Some(key) => manage.service.by_key(key, address).await?,
            None => match session_token(&parts.headers) {
                Some(token) => manage.service.by_session(&token, address).await?,
                None => None,
            },
        };
        found.map(Self).ok_or_else(|| Code::Unauthenticated.into())
    }
}

/// Where a request comes from, trusted proxies in between left out: the listener knows.
pub fn caller_address(parts: &Parts) -> Option<IpAddr> {
    let client = parts.extensions.get::<ClientAddress>()?;
    Some(client.ip)
}

/// The one key of a request. Two that differ are a mistake or an attack (CWE-290): neither is believed.
fn presented_key(headers: &HeaderMap) -> Result<Option<PresentedKey<'_>>, Problem> {
    let bearer = headers.get_all(AUTHORIZATION).iter().map(|value| {
        let (scheme, rest) = value.as_bytes().split_at_checked(7).unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
    });
    let plain = headers
        .get_all("x-api-key")
        .iter()
        .map(|value| Some(value.as_bytes()));
    let mut found = None;
    for text in bearer.chain(plain) {
        let text = text.map(<[u8]>::trim_ascii);
        match (text, found) {
            (Some(text), None) => found = Some(text),
            (Some(text), Some(other)) if text == other => {}
            (None, _) | (Some(_), Some(_)) => return Err(Code::Unauthenticated.into()),
        }
    }
    match found {
        None => Ok(None),
        Some(text) => PresentedKey::parse(text)
            .map(Some)
            .ok_or_else(|| Code::Unauthenticated.into()),
    }
}

/// The token of the console's session, if a browser sent one.
pub fn session_token(headers: &HeaderMap) -> Option<Token> {
    cookie(headers, SESSION_COOKIE).and_then(Token::parse)
}

/// A cookie that a browser sent.
pub fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _value)| *name == wanted)
        .map(|(_name, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::PlainKey;
    use crate::model::random::SystemEntropy;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn one_key_is_believed_and_two_that_differ_are_not() {
        let (one, other) = (
            PlainKey::generate(&SystemEntropy),
            PlainKey::generate(&SystemEntropy),
        );
        let bearer = |key: &PlainKey| format!("bearer {}", key.expose());
        for (pairs, expected) in [
            (vec![("x-api-key", one.expose().to_owned())], Ok(true)),
            (vec![("authorization", bearer(&one))], Ok(true)),
            (
                vec![
                    ("authorization", bearer(&one)),
                    ("x-api-key", one.expose().to_owned()),
                ],
                Ok(true),
            ),
            (
                vec![
                    ("authorization", bearer(&one)),
                    ("x-api-key", other.expose().to_owned()),
                ],
                Err(()),
            ),
            (
                vec![("authorization", "Basic aGk6aG8=".to_owned())],
                Err(()),
            ),
            (vec![("x-api-key", "short".to_owned())], Err(())),
            (vec![], Ok(false)),
        ] {
            let map: HeaderMap = pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            let found = presented_key(&map).map(|key| key.is_some()).map_err(drop);
            assert_eq!(found, expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let token = Token::generate(&SystemEntropy);
        let cookie = format!("a=b; {SESSION_COOKIE}={}; c", token.expose());
        let found = session_token(&headers(&[("cookie", &cookie)])).unwrap();
        assert_eq!(found.hash(), token.hash());
        assert!(session_token(&headers(&[("cookie", "__Host-genkan=short")])).is_none());
    }
}
