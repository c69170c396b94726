//! Who looks: a member with a session, in a language.

use axum::extract::{Form, FromRequestParts};
use axum::http::header::{ACCEPT_LANGUAGE, REFERER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::Console;
use super::failure::Failure;
use crate::manage::{caller_address, cookie, session_token};
use crate::model::language::Language;
use crate::model::member::Member;
use crate::service::ServiceError;
use crate::service::member_context::MemberContext;
use crate::service::member_context::OtherMembership;

/// The chosen language. No secret: it needs no protection.
const LANGUAGE_COOKIE: &str = crate::model::cookie::LANGUAGE;
/// How long a choice is remembered, in seconds: a year.
const LANGUAGE_REMEMBERED_S: u32 = 31_536_000;

/// A member who looks.
pub(super) struct Visitor {
    pub member_context: MemberContext,
    pub language: Language,
    /// Where they are a member, if that is more than one organization.
    pub organizations: Vec<OtherMembership>,
}

impl Visitor {
    pub(super) fn member(&self) -> &Member {
        self.member_context.member()
    }
}

impl FromRequestParts<Console> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        let language = language_of(&parts.headers);
        let found = signed_in(console, parts).await;
        let found = found.map_err(|error| Failure::new(error, language, None).into_response())?;
        let member_context = found.ok_or_else(|| Redirect::to("/sign-in").into_response())?;
        let organizations = member_context.organizations().await;
        Ok(Self {
            organizations: organizations
                .map_err(|error| Failure::new(error, language, None).into_response())?,
            member_context,
            language,
        })
    }
}

/// The member who is signed in in this browser. `None`: nobody, or not any more.
pub(super) async fn signed_in(
    console: &Console,
    parts: &Parts,
) -> Result<Option<MemberContext>, ServiceError> {
    match session_token(&parts.headers) {
        Some(token) => {
            let finding = console.service.by_session(&token, caller_address(parts));
            finding.await
        }
        None => Ok(None),
    }
}

/// The language of the reader, signed in or not.
pub(super) struct Reader(pub(super) Language);

impl<S: Send + Sync> FromRequestParts<S> for Reader {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(language_of(&parts.headers)))
    }
}

/// What was chosen, else what the browser asks for.
fn language_of(headers: &HeaderMap) -> Language {
    let chosen = cookie(headers, LANGUAGE_COOKIE).and_then(Language::of_tag);
    chosen.unwrap_or_else(|| {
        let asked = headers.get(ACCEPT_LANGUAGE);
        asked
            .and_then(|value| value.to_str().ok())
            .map_or(Language::En, Language::of_accept_language)
    })
}

/// The form of the switch.
#[derive(Deserialize)]
pub(super) struct Choice {
    language: String,
}

/// Remembers a language, and shows the same page again.
pub(super) async fn choose_language(headers: HeaderMap, Form(choice): Form<Choice>) -> Response {
    let language = Language::of_tag(&choice.language).unwrap_or(Language::En);
    // Only the path of where the form stood: never to another site.
    let back = headers
        .get(REFERER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<axum::http::Uri>().ok())
        .map_or_else(|| "/".to_owned(), |uri| uri.path().to_owned());
    let is_elsewhere = back.starts_with("//") || back.contains('\\');
    let back = if is_elsewhere { "/" } else { &back };
    let mut response = Redirect::to(back).into_response();
    let cookie = format!(
        "{LANGUAGE_COOKIE}={}; Path=/; Max-Age={LANGUAGE_REMEMBERED_S}; SameSite=Lax; HttpOnly",
        language.as_str()
    );
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
