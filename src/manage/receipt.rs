//! A revocation is answered with its receipt once every gateway has acknowledged it, or at once if the caller wants
//! that.

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::{Code, Problem};
use super::responses::{Ended, ReceiptResponse};
use crate::service::Revocation;
use crate::service::member_context::MemberContext;

/// Whether to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitQuery {
    /// `0`: answer 202 once it is committed. Otherwise: 200 once every gateway has acknowledged it.
    wait: Option<u8>,
}

/// The query, read.
pub(super) struct Wait(bool);

impl<S: Send + Sync> FromRequestParts<S> for Wait {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(query) =
            Query::<WaitQuery>::try_from_uri(&parts.uri).map_err(|_unreadable| Code::Malformed)?;
        Ok(Self(query.wait != Some(0)))
    }
}

impl Wait {
    /// The answer to a revocation that is committed.
    pub(super) async fn answer(
        &self,
        member_context: &MemberContext,
        revocation: Revocation,
    ) -> Result<Response, Problem> {
        self.answer_with(member_context, revocation, None).await
    }

    /// The same, with what was ended, where that is more than one thing.
    pub(super) async fn answer_with(
        &self,
        member_context: &MemberContext,
        revocation: Revocation,
        ended: Option<Ended>,
    ) -> Result<Response, Problem> {
        if self.0 {
            let mut receipt =
                ReceiptResponse::from(member_context.wait_for_acknowledgements(revocation).await?);
            receipt.ended = ended;
            return Ok(Json(receipt).into_response());
        }
        let committed = ReceiptResponse {
            sequence: revocation.sequence.get(),
            committed: true,
            committed_at: None,
            confirmed_at: None,
            instances: Vec::new(),
            streams_cut: 0,
            last_accepted_at: None,
            ended,
        };
        Ok((StatusCode::ACCEPTED, Json(committed)).into_response())
    }
}
