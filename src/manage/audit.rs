//! `/audit`.

use axum::response::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::page::{Page, PageQuery, Paged};
use super::problem::{Problem, ProblemBody};
use crate::model::audit::Entry;
use crate::model::clock::Timestamp;

/// Something that was done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditEntry {
    /// Its place in the log of all organizations.
    sequence: i64,
    /// When.
    at: String,
    /// `operator`, `system`, or a membership's id.
    actor: String,
    /// A member's address.
    actor_email: Option<String>,
    /// By which means: a key's or a session's id, `command line`, `sign-in`.
    auth_method: String,
    /// From where.
    address: Option<String>,
    /// What.
    action: String,
    /// To what.
    subject: String,
    /// More of it.
    #[schema(value_type = Object)]
    details: serde_json::Value,
}

impl From<Entry> for AuditEntry {
    fn from(entry: Entry) -> Self {
        Self {
            sequence: entry.sequence,
            at: Timestamp::from_millis(entry.at_ms).with_millis(),
            actor: entry.actor,
            actor_email: entry.actor_email,
            auth_method: entry.auth_method,
            address: entry.address,
            action: entry.action,
            subject: entry.subject,
            details: serde_json::from_str(&entry.details).unwrap_or_default(),
        }
    }
}

/// What was done in the organization, newest first. For admins and owners.
#[utoipa::path(
    get, path = "/api/v1/audit", operation_id = "listAudit", tag = "organization", params(PageQuery),
    responses(
        (status = 200, body = Page<AuditEntry>),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    Caller(member_context): Caller,
    Paged(page): Paged<i64>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    let found = member_context.audit(page).await?;
    let cursor = |entry: &Entry| entry.sequence.to_string();
    Ok(Json(Page::of(found, cursor, Into::into)))
}
