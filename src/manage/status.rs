//! `/status`.

use axum::response::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::problem::{Problem, ProblemBody};

/// The gateways.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// The newest entry of the revocation log.
    head: u64,
    /// Every gateway that is registered, or was evicted a short while ago.
    instances: Vec<Instance>,
}

/// One gateway.
#[derive(Debug, Serialize, ToSchema)]
struct Instance {
    /// The process, since it last registered.
    id: String,
    /// How far it has applied the log.
    applied: u64,
    /// How many entries it is behind.
    lag: u64,
    /// How long each renewal of its lease holds.
    lease_ms: u64,
    /// Since the last renewal.
    renewed_ago_ms: i64,
    /// It answers 503 until it registers anew.
    evicted: bool,
}

/// The gateways, their leases, and how far they follow. For admins and owners.
#[utoipa::path(
    get, path = "/api/v1/status", operation_id = "getStatus", tag = "organization",
    responses(
        (status = 200, body = Status),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(Caller(member_context): Caller) -> Result<Json<Status>, Problem> {
    let seen = member_context.instances().await?;
    let head = seen.head.get();
    let instances = seen.rows.into_iter().map(|row| Instance {
        id: row.id.to_string(),
        applied: row.applied.get(),
        lag: head.saturating_sub(row.applied.get()),
        lease_ms: u64::try_from(row.lease.as_millis()).unwrap_or(u64::MAX),
        renewed_ago_ms: row.renewed_ago_ms,
        evicted: row.evicted,
    });
    Ok(Json(Status {
        head,
        instances: instances.collect(),
    }))
}
