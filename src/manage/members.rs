//! `/me` and `/members`.

use axum::extract::Path;
use axum::response::{Json, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{self, Fields, Json as Body};
use super::caller::Caller;
use super::etag::{IfMatch, tagged};
use super::page::{Page, PageQuery, Paged};
use super::problem::{Problem, ProblemBody};
use super::receipt::{Wait, WaitQuery};
use super::responses::{MemberResponse, MemberWithKeys, ReceiptResponse};
use crate::model::id::MembershipId;

/// The client of the provider's endpoints.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Me {
    /// The member.
    #[serde(flatten)]
    member: MemberResponse,
    /// Where everything happens.
    organization_id: String,
    /// What that is called.
    organization: String,
    /// By which means: a key's or a session's id.
    auth_method: String,
}

/// Who calls, and where.
#[utoipa::path(
    get, path = "/api/v1/me", operation_id = "getMe", tag = "members",
    responses(
        (status = 200, body = Me),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn me(Caller(member_context): Caller) -> Result<Json<Me>, Problem> {
    let member = member_context.member().clone();
    let organization = member_context.organization().await?;
    Ok(Json(Me {
        organization: organization.name.to_string(),
        organization_id: member.organization_id.to_string(),
        auth_method: member_context.auth_method().to_string(),
        member: member.into(),
    }))
}

/// The organization's members, newest first. For admins and owners.
#[utoipa::path(
    get, path = "/api/v1/members", operation_id = "listMembers", tag = "members", params(PageQuery),
    responses(
        (status = 200, body = Page<MemberWithKeys>),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    Caller(member_context): Caller,
    Paged(page): Paged<MembershipId>,
) -> Result<Json<Page<MemberWithKeys>>, Problem> {
    let found = member_context.members(page).await?;
    let cursor = |listed: &crate::store::ListedMember| listed.member.membership_id.to_string();
    Ok(Json(Page::of(found, cursor, Into::into)))
}

/// One member or service account: oneself, or, for admins and owners, anybody in the organization.
#[utoipa::path(
    get, path = "/api/v1/members/{id}", operation_id = "getMember", tag = "members",
    params(("id" = String, Path, description = "`mbr_…`")),
    responses(
        (status = 200, body = MemberResponse),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    Caller(member_context): Caller,
    path: Path<String>,
) -> Result<Response, Problem> {
    let member = member_context
        .find_member_in_organization(body::id(path)?)
        .await?;
    Ok(tagged(MemberResponse::from(member)))
}

/// What is to be otherwise.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeRole {
    /// `owner`, `admin` or `member`.
    role: String,
}

/// Gives another role. Only owners make owners, or change them; the last owner stays. Keys that carry more
/// than the new role allows carry it no more.
#[utoipa::path(
    patch, path = "/api/v1/members/{id}", operation_id = "changeRole", tag = "members",
    request_body = ChangeRole,
    params(
        ("id" = String, Path, description = "`mbr_…`"),
        ("If-Match" = Option<String>, Header, description = "The ETag that was seen."),
    ),
    responses(
        (status = 200, body = MemberResponse),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change_role(
    Caller(member_context): Caller,
    path: Path<String>,
    if_match: IfMatch,
    Body(wanted, _bytes): Body<ChangeRole>,
) -> Result<Response, Problem> {
    let id = body::id(path)?;
    let mut fields = Fields::default();
    let role = fields.role("role", &wanted.role);
    let to = fields.all(role)?;
    let member = member_context.find_member_in_organization(id).await?;
    let from = member.role;
    if_match.holds(&MemberResponse::from(member))?;
    let changed = member_context.change_role(id, from, to).await?;
    Ok(tagged(MemberResponse::from(changed)))
}

/// Removes a member or a service account and revokes all their keys. Answers once every gateway has acknowledged it.
#[utoipa::path(
    delete, path = "/api/v1/members/{id}", operation_id = "removeMember", tag = "members",
    params(
        ("id" = String, Path, description = "`mbr_…`"),
        ("If-Match" = Option<String>, Header, description = "The ETag that was seen."),
        WaitQuery,
    ),
    responses(
        (status = 200, body = ReceiptResponse, description = "Every gateway has acknowledged it."),
        (status = 202, body = ReceiptResponse, description = "Committed, not waited for."),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    Caller(member_context): Caller,
    path: Path<String>,
    if_match: IfMatch,
    wait: Wait,
) -> Result<Response, Problem> {
    let id = body::id(path)?;
    let member = member_context.find_member_in_organization(id).await?;
    let seen = member.role;
    if_match.holds(&MemberResponse::from(member))?;
    let removed = member_context.remove(id, Some(seen)).await?;
    wait.answer(&member_context, removed.revocation()).await
}
