//! `/keys/{id}/rotation`.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Manage;
use super::body::{self, Json as Body};
use super::caller::Caller;
use super::keys::made;
use super::problem::{Code, Problem, ProblemBody};
use super::responses::NewKey;
use crate::service::{OVERLAP_DEFAULT, RotationOverlap, ServiceError};
use crate::store::{Beyond, StoreError};

/// How long the old key goes on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateKey {
    /// Seconds, at most 90 days; 0: it ends at once. Absent, as `silent_s`: a day.
    overlap_s: Option<u64>,
    /// Instead: it ends when nobody has used it for so many seconds; one hour to 90 days.
    silent_s: Option<u64>,
}

impl RotateKey {
    fn overlap(&self) -> Result<RotationOverlap, Problem> {
        match (body::seconds(self.overlap_s), body::seconds(self.silent_s)) {
            (Some(_), Some(_)) => Err(Problem::of_field("silent_s", "silence")),
            (None, Some(silence)) => Ok(RotationOverlap::UntilIdleFor(silence)),
            (Some(overlap), None) => Ok(RotationOverlap::For(overlap)),
            (None, None) => Ok(RotationOverlap::For(OVERLAP_DEFAULT)),
        }
    }
}

/// Makes a new secret for a key, one's own or a service account's: a key that takes its place. The old one
/// works for the overlap. Made with a key, the new one is bound by that as by `createKey`.
#[utoipa::path(
    post, path = "/api/v1/keys/{id}/rotation", operation_id = "rotateKey", tag = "keys",
    request_body = RotateKey,
    params(("id" = String, Path, description = "`key_…`")),
    responses(
        (status = 201, body = NewKey, description = "The successor: it works on every gateway."),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn rotate(
    State(manage): State<Manage>,
    Caller(member_context): Caller,
    path: Path<String>,
    Body(wanted, _bytes): Body<RotateKey>,
) -> Result<Response, Problem> {
    let rotating = member_context.rotate_key(body::id(path)?, wanted.overlap()?);
    let rotated = rotating.await.map_err(|error| {
        // There is no field to name: it is the key that is rotated which has more scopes.
        if let ServiceError::Store(StoreError::BeyondKey(Beyond::Scopes(scopes))) = error {
            return Problem::about(Code::ScopeBeyondKey, &scopes.to_string());
        }
        error.into()
    })?;
    made(&manage, rotated).await
}
