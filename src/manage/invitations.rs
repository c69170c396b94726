//! `/invitations`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Manage;
use super::body::{self, Fields, Json as Body};
use super::caller::Caller;
use super::problem::{Problem, ProblemBody};
use super::responses::{InvitationResponse, NewInvitation as Shape};
use crate::service::member_context::NewInvitation;

/// Invitations that are open.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Invitations {
    /// Newest first.
    items: Vec<InvitationResponse>,
}

/// Invitations that are open, newest first. For admins and owners.
#[utoipa::path(
    get, path = "/api/v1/invitations", operation_id = "listInvitations", tag = "members",
    responses(
        (status = 200, body = Invitations),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(Caller(member_context): Caller) -> Result<Json<Invitations>, Problem> {
    let open = member_context.invitations().await?;
    let items = open.into_iter().map(Into::into).collect();
    Ok(Json(Invitations { items }))
}

/// Whom to invite.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Invite {
    /// Their address.
    email: String,
    /// What they are called.
    name: String,
    /// `owner`, `admin` or `member`.
    role: String,
}

/// Invites somebody. The link in the answer works once, for 72 hours; an open invitation of the same address
/// is replaced. genkan sends no mail.
#[utoipa::path(
    post, path = "/api/v1/invitations", operation_id = "invite", tag = "members", request_body = Invite,
    responses(
        (status = 201, body = Shape),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn invite(
    State(manage): State<Manage>,
    Caller(member_context): Caller,
    Body(wanted, _bytes): Body<Invite>,
) -> Result<Response, Problem> {
    let mut fields = Fields::default();
    let email = fields.email("email", &wanted.email);
    let name = fields.name("name", &wanted.name);
    let role = fields.role("role", &wanted.role);
    let all = email.zip(name).zip(role);
    let new = fields.all(all.map(|((email, name), role)| NewInvitation { email, name, role }))?;
    let (invitation, token) = member_context.invite(new).await?;
    let body = Shape {
        invitation: invitation.into(),
        link: format!("{}/invitation/{}", manage.base, token.expose()),
    };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Takes an invitation back: its link opens nothing any more.
#[utoipa::path(
    delete, path = "/api/v1/invitations/{id}", operation_id = "withdrawInvitation", tag = "members",
    params(("id" = String, Path, description = "`inv_…`")),
    responses(
        (status = 204, description = "Taken back."),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn withdraw(
    Caller(member_context): Caller,
    path: Path<String>,
) -> Result<StatusCode, Problem> {
    member_context.withdraw_invitation(body::id(path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
