//! Who calls: by a key with the scope `manage`, or by the console's session.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use axum::http::request::Parts;

use super::Manage;
use super::problem::{Code, Problem};
use crate::auth::credential::{self, NoKey};
use crate::listen::forwarded::ClientAddress;
use crate::model::key::PresentedKey;
use crate::model::token::Token;
use crate::service::member_context::MemberContext;

/// The console's cookie.
pub use crate::model::cookie::SESSION as SESSION_COOKIE;

/// A member who calls.
pub(super) struct Caller(pub(super) MemberContext);

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

/// The key of a request, read as the gateway reads it. Where it brings none, its session counts.
fn presented_key(headers: &HeaderMap) -> Result<Option<PresentedKey<'_>>, Problem> {
    match credential::find(headers, |_source| true) {
        Ok(key) => Ok(Some(key)),
        Err(NoKey::Absent) => Ok(None),
        Err(NoKey::Malformed) => Err(Code::Unauthenticated.into()),
        Err(NoKey::Conflict) => Err(Code::CredentialConflict.into()),
    }
}

/// The token of the console's session, if a browser sent one.
pub fn session_token(headers: &HeaderMap) -> Option<Token> {
    cookie(headers, SESSION_COOKIE).and_then(Token::parse)
}

/// A cookie that a browser sent.
pub fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    cookies(headers)
        .find(|(name, _value)| *name == wanted)
        .map(|(_name, value)| value)
}

/// Every cookie that a browser sent: its name and its value.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SystemEntropy;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
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
