//! `/service-accounts`. One is shown, changed and removed under `/members/{id}`.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{Fields, Json as Body};
use super::caller::Caller;
use super::idempotency;
use super::page::{Page, PageQuery, Paged};
use super::problem::{Problem, ProblemBody};
use super::responses::{MemberResponse, MemberWithKeys};
use crate::model::id::MembershipId;
use crate::model::member::Role;
use crate::service::member_context::NewServiceAccount;

/// The organization's service accounts, newest first. For admins and owners.
#[utoipa::path(
    get, path = "/api/v1/service-accounts", operation_id = "listServiceAccounts",
    tag = "service accounts", params(PageQuery),
    responses(
        (status = 200, body = Page<MemberWithKeys>),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    Caller(member_context): Caller,
    Paged(page): Paged<MembershipId>,
) -> Result<Json<Page<MemberWithKeys>>, Problem> {
    let found = member_context.service_accounts(page).await?;
    let cursor = |listed: &crate::store::ListedMember| listed.member.membership_id.to_string();
    Ok(Json(Page::of(found, cursor, Into::into)))
}

/// The properties of a new service account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateServiceAccount {
    /// Unique among the organization's service accounts.
    name: String,
    /// `admin` or `member`: what its keys may manage. Absent: `member`.
    role: Option<String>,
}

/// Makes a service account: its keys belong to the organization, and outlive their creators.
#[utoipa::path(
    post, path = "/api/v1/service-accounts", operation_id = "createServiceAccount",
    tag = "service accounts", request_body = CreateServiceAccount,
    params(("Idempotency-Key" = Option<String>, Header, description = "A request that is sent again \
        under the same word is done once.")),
    responses(
        (status = 201, body = MemberResponse),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    Caller(member_context): Caller,
    headers: HeaderMap,
    Body(wanted, bytes): Body<CreateServiceAccount>,
) -> Result<Response, Problem> {
    let idempotency = idempotency::of(&headers, "POST /api/v1/service-accounts", &bytes)?;
    let mut fields = Fields::default();
    let name = fields.name("name", &wanted.name);
    let role = match &wanted.role {
        Some(word) => fields.role("role", word),
        None => Some(Role::Member),
    };
    let all = name.zip(role);
    let new = fields.all(all.map(|(name, role)| NewServiceAccount { name, role }))?;
    let made = member_context.create_service_account(new, idempotency.as_ref());
    Ok((StatusCode::CREATED, Json(MemberResponse::from(made.await?))).into_response())
}
