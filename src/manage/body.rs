//! Bodies of requests: JSON of which every field is checked. All mistakes are reported together.

use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request};
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use super::problem::{Code, FieldError, Problem};
use crate::model::member::{EmailAddress, Name, NameError, Role};
use crate::model::scope::{Scope, Scopes};

/// A body that was a JSON object of this shape; and its bytes, for who compares requests.
pub(super) struct Json<T>(pub(super) T, pub(super) Bytes);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = request.headers().get(CONTENT_TYPE).is_some_and(|value| {
            let text = value.as_bytes();
            text.get(..16)
                .is_some_and(|start| start.eq_ignore_ascii_case(b"application/json"))
        });
        if !is_json {
            return Err(Code::NotJson.into());
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_too_large_or_cut| Code::TooLarge)?;
        // A list would be taken for the fields in their order, which nobody promises.
        let first = bytes.iter().find(|byte| !b" \t\r\n".contains(byte));
        if first != Some(&b'{') {
            return Err(Code::Malformed.into());
        }
        let value = serde_json::from_slice(&bytes).map_err(|_shape| Code::Malformed)?;
        Ok(Self(value, bytes))
    }
}

/// An id in a path. One that cannot be an id is of nothing.
pub(super) fn id<T: FromStr>(Path(text): Path<String>) -> Result<T, Problem> {
    text.parse().map_err(|_not_an_id| Code::NotFound.into())
}

/// The fields of a body or a form, each checked, every mistake kept.
#[derive(Default)]
pub struct Fields {
    errors: Vec<FieldError>,
}

impl Fields {
    /// See [`Name`].
    pub fn name(&mut self, field: &'static str, text: &str) -> Option<Name> {
        let parsed = text.parse::<Name>().map_err(|error| match error {
            NameError::Empty => "empty",
            NameError::TooLong => "too_long",
            NameError::Control => "control",
            NameError::Hidden => "hidden",
        });
        self.keep(field, parsed)
    }

    /// See [`EmailAddress`].
    pub fn email(&mut self, field: &'static str, text: &str) -> Option<EmailAddress> {
        self.keep(field, text.parse().map_err(|_not_an_address| "email"))
    }

    /// See [`Role`].
    pub fn role(&mut self, field: &'static str, text: &str) -> Option<Role> {
        self.keep(field, text.parse().map_err(|_unknown| "role"))
    }

    pub(super) fn id<T: FromStr>(&mut self, field: &'static str, text: &str) -> Option<T> {
        self.keep(field, text.parse().map_err(|_not_an_id| "id"))
    }

    /// Words. `None`: what a key may be used for when nobody says otherwise.
    pub(super) fn scopes(
        &mut self,
        field: &'static str,
        words: Option<&[String]>,
    ) -> Option<Scopes> {
        let Some(words) = words else {
            return Some(Scopes::DEFAULT);
        };
        let parsed: Result<Scopes, _> = words.iter().map(|word| word.parse::<Scope>()).collect();
        self.keep(field, parsed.map_err(|_unknown| "scope"))
    }

    fn keep<T>(&mut self, field: &'static str, parsed: Result<T, &'static str>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(rule) => {
                self.errors.push(FieldError::new(field, rule));
                None
            }
        }
    }

    /// All of it, or every mistake. A value is absent only where a mistake was kept.
    ///
    /// # Errors
    /// Every mistake.
    pub fn all<T>(self, values: Option<T>) -> Result<T, Problem> {
        match values {
            Some(values) if self.errors.is_empty() => Ok(values),
            Some(_) | None => Err(Problem::of_fields(self.errors)),
        }
    }
}

/// Seconds, as a request gives them.
pub(super) fn seconds(number: Option<u64>) -> Option<Duration> {
    number.map(Duration::from_secs)
}
