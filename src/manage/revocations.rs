//! The end of a key, of a key with those that come from it, and of everything.

use axum::extract::{Path, Query};
use axum::http::Uri;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::body::{self, Json as Body};
use super::caller::Caller;
use super::problem::{Problem, ProblemBody};
use super::receipt::{Wait, WaitQuery};
use super::responses::{Ended, ReceiptResponse};

/// What ends with a key.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Family {
    /// Also every key that was made with it, or with one of those, and so on.
    #[serde(default)]
    children: bool,
}

/// Revokes a key of one's own or, for admins and owners, of anybody. Answers once every gateway has acknowledged it.
#[utoipa::path(
    delete, path = "/api/v1/keys/{id}", operation_id = "revokeKey", tag = "keys",
    params(("id" = String, Path, description = "`key_…`"), Family, WaitQuery),
    responses(
        (status = 200, body = ReceiptResponse, description = "Every gateway has acknowledged it."),
        (status = 202, body = ReceiptResponse, description = "Committed, not waited for."),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke(
    Caller(member_context): Caller,
    path: Path<String>,
    wait: Wait,
    uri: Uri,
) -> Result<Response, Problem> {
    let id = body::id(path)?;
    let Query(family) =
        Query::<Family>::try_from_uri(&uri).map_err(|_unreadable| Problem::malformed())?;
    if !family.children {
        let revoked = member_context.revoke_key(id).await?;
        return wait.answer(&member_context, revoked.revocation()).await;
    }
    let revoked = member_context.revoke_key_with_children(id).await?;
    let ended = Ended::keys(revoked.keys);
    wait.answer_with(&member_context, revoked.revocation(), Some(ended))
        .await
}

/// That it is meant, and how far it goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeEverything {
    /// The organization's name, exactly as it is called: nobody revokes everything by a slip. `getMe` says it.
    #[schema(required = true, value_type = String)]
    confirm: Option<String>,
    /// Whether to end console sessions, the caller's own too, sign-in links and open invitations in the same
    /// moment. Absent: true.
    end_sessions: Option<bool>,
}

/// Revokes every key of the organization at once. For owners. Sessions, sign-in links and invitations end with it, as
/// new keys could be made by them: a caller with a session has to sign in again.
#[utoipa::path(
    post, path = "/api/v1/organization/keys/revoke-all", operation_id = "revokeEverything",
    tag = "organization", request_body = RevokeEverything, params(WaitQuery),
    responses(
        (status = 200, body = ReceiptResponse, description = "Every gateway has acknowledged it."),
        (status = 202, body = ReceiptResponse, description = "Committed, not waited for."),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke_all(
    Caller(member_context): Caller,
    wait: Wait,
    Body(wanted, _bytes): Body<RevokeEverything>,
) -> Result<Response, Problem> {
    let confirm = wanted.confirm.as_deref().unwrap_or_default();
    let end_sessions = wanted.end_sessions.unwrap_or(true);
    let (revoked, revocation) = member_context
        .revoke_everything(confirm, end_sessions)
        .await?;
    // The caller's own session may have ended: the wait asks nobody's leave.
    wait.answer_with(&member_context, revocation, Some(revoked.into()))
        .await
}
