//! Lists, page by page: a cursor is the id of the last item, so that what is made meanwhile moves nothing.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Code, Problem};
use crate::service::member_context;
use crate::store::PageRequest;

/// Items of a page when nobody says otherwise.
const LIMIT_DEFAULT: u32 = 50;
/// Items of a page at most.
const LIMIT_MAX: u32 = 200;

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// `next` of the page before.
    after: Option<String>,
    /// Items at most, 1 to 200; 50 when absent.
    limit: Option<u32>,
}

/// The query of a list, read.
pub(super) struct Paged<I>(pub(super) PageRequest<I>);

impl<I: FromStr, S: Send + Sync> FromRequestParts<S> for Paged<I> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(query) =
            Query::<PageQuery>::try_from_uri(&parts.uri).map_err(|_unreadable| Code::Malformed)?;
        let after = match query.after {
            Some(cursor) => Some(cursor.parse().map_err(|_not_ours| Code::Malformed)?),
            None => None,
        };
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        Ok(Self(PageRequest { after, limit }))
    }
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// Newest first.
    items: Vec<T>,
    /// Give it as `after` for the next page; null: there is none.
    next: Option<String>,
}

impl<T> Page<T> {
    /// From what the service found; `cursor`: of an item.
    pub(super) fn of<U>(
        page: member_context::Page<U>,
        cursor: impl Fn(&U) -> String,
        shape: impl Fn(U) -> T,
    ) -> Self {
        let next = page.items.last().filter(|_| page.more).map(cursor);
        Self {
            items: page.items.into_iter().map(shape).collect(),
            next,
        }
    }
}
