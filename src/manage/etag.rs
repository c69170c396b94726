//! Entity tags (RFC 9110 §8.8.3): who changes something says what they saw of it.

use std::fmt::Write as _;

use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem::{Code, Problem};

/// Hexadecimal digits of a tag.
const DIGITS: usize = 32;

/// Of what is sent.
fn tag(body: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    let mut tag = String::from("\"");
    for byte in Sha256::digest(bytes).iter().take(DIGITS / 2) {
        // Writing to a String does not fail.
        let _written = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// What of an answer a change can clash with: not when a key was used last, nor how old it is.
pub(super) trait Tagged: Serialize {
    /// The parts.
    fn parts(&self) -> impl Serialize;
}

/// An answer with its tag.
pub(super) fn tagged(body: impl Tagged) -> Response {
    let tag = HeaderValue::try_from(tag(&body.parts()));
    let mut response = Json(body).into_response();
    if let Ok(tag) = tag {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// `If-Match`, if there is one.
pub(super) struct IfMatch(Option<Vec<String>>);

impl IfMatch {
    fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(IF_MATCH).iter().peekable();
        if lines.peek().is_none() {
            return Self(None);
        }
        let tags = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .map(|tag| tag.trim().to_owned())
            .collect();
        Self(Some(tags))
    }

    /// Whether what the caller saw is what there is.
    pub(super) fn holds(&self, current: &impl Tagged) -> Result<(), Problem> {
        let Some(wanted) = &self.0 else {
            return Ok(());
        };
        let current = tag(&current.parts());
        if wanted.iter().any(|tag| *tag == current || tag == "*") {
            Ok(())
        } else {
            Err(Code::Changed.into())
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(Self::of(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Tagged for [&str; 1] {
        fn parts(&self) -> impl Serialize {
            self
        }
    }

    fn if_match(text: &'static str) -> IfMatch {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, HeaderValue::from_static(text));
        IfMatch::of(&headers)
    }

    #[test]
    fn a_tag_is_of_what_was_seen() {
        let (seen, other) = (["a"], ["b"]);
        let tagged = tagged(seen);
        let tag = tagged.headers().get(ETAG).unwrap().to_str().unwrap();
        let wanted = IfMatch(Some(vec!["\"0\"".to_owned(), tag.to_owned()]));
        assert_eq!(wanted.holds(&seen), Ok(()));
        assert_eq!(wanted.holds(&other), Err(Code::Changed.into()));
        assert_eq!(if_match("*").holds(&other), Ok(()));
        assert_eq!(IfMatch::of(&HeaderMap::new()).holds(&other), Ok(()));
        assert!(if_match("W/\"x\", \"y\"").holds(&other).is_err());
    }
}
