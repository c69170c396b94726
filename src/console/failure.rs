//! What went wrong, as a page.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::page::{Page, Section, render};
use super::visitor::Visitor;
use crate::manage::Problem;
use crate::model::language::Language;
use crate::model::member::Member;
use crate::service::ServiceError;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    page: Page,
    title: String,
    detail: String,
    errors: Vec<String>,
}

/// Why a page was not shown.
pub(super) struct Failure {
    problem: Box<Problem>,
    language: Language,
    who: Option<Box<Member>>,
}

impl Failure {
    pub(super) fn new(error: impl Into<Problem>, language: Language, who: Option<Member>) -> Self {
        Self {
            problem: Box::new(error.into()),
            language,
            who: who.map(Box::new),
        }
    }
}

impl Visitor {
    /// For `map_err`: the error as a page of this visitor's.
    pub(super) fn failed(&self) -> impl Fn(ServiceError) -> Failure + '_ {
        |error| Failure::new(error, self.language, Some(self.member().clone()))
    }

    pub(super) fn refused(&self, problem: impl Into<Problem>) -> Failure {
        Failure::new(problem, self.language, Some(self.member().clone()))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = self.problem.localized(self.language);
        let page = Page {
            who: self.who.map(|who| *who),
            section: Section::SignedOut,
            ..Page::signed_out(self.language)
        };
        let mut response = render(&ErrorPage {
            page,
            title: text.title,
            detail: text.detail,
            errors: text.errors,
        });
        *response.status_mut() = status;
        response
    }
}

/// A template that cannot be filled: a mistake of ours.
pub(super) fn broken(error: &askama::Error) -> Response {
    tracing::error!(%error, "a page cannot be made");
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
