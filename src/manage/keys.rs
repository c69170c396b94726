//! `/keys` and `/organization/keys`.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::Manage;
use super::body::{self, Fields, Json as Body};
use super::caller::Caller;
use super::etag::{IfMatch, tagged};
use super::idempotency;
use super::page::{Page, PageQuery, Paged};
use super::problem::{Code, Problem, ProblemBody};
use super::responses::{Key, NewKey, Usage};
use crate::model::id::KeyId;
use crate::model::member::Name;
use crate::service::member_context::{CreatedKey, NewOwnKey};

/// Which keys.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Also those that are revoked.
    #[serde(default)]
    revoked: bool,
    /// Only those of this member or service account.
    owner: Option<String>,
    /// Only those that were made with this key, or with another one of its rotations.
    parent: Option<String>,
}

impl Which {
    /// A parameter that is an id. One that cannot be an id is of nothing.
    fn id<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>, Problem> {
        let parsed = text.map(str::parse::<T>).transpose();
        parsed.map_err(|_not_an_id| Code::NotFound.into())
    }
}

fn which(uri: &axum::http::Uri) -> Result<Which, Problem> {
    axum::extract::Query::<Which>::try_from_uri(uri)
        .map(|query| query.0)
        .map_err(|_unreadable| Code::Malformed.into())
}

/// One's own keys, newest first.
#[utoipa::path(
    get, path = "/api/v1/keys", operation_id = "listKeys", tag = "keys",
    params(
        PageQuery,
        ("revoked" = Option<bool>, Query, description = "Also those that are revoked."),
        ("parent" = Option<String>, Query, description = "Only those that were made with this key, or \
            with another one of its rotations."),
    ),
    responses(
        (status = 200, body = Page<Key>),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(manage): State<Manage>,
    Caller(member_context): Caller,
    Paged(page): Paged<KeyId>,
    uri: axum::http::Uri,
) -> Result<Json<Page<Key>>, Problem> {
    let which = which(&uri)?;
    let parent = Which::id(which.parent.as_deref())?;
    let found = member_context
        .keys_made_with(parent, page, which.revoked)
        .await?;
    let now = manage.service.now();
    let cursor = |listed: &crate::store::ListedKey| listed.key.id.to_string();
    Ok(Json(Page::of(found, cursor, |listed| {
        Key::new(listed, now)
    })))
}

/// Every key of the organization, newest first. For admins and owners.
#[utoipa::path(
    get, path = "/api/v1/organization/keys", operation_id = "listOrganizationKeys", tag = "keys",
    params(PageQuery, Which),
    responses(
        (status = 200, body = Page<Key>),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_all(
    State(manage): State<Manage>,
    Caller(member_context): Caller,
    Paged(page): Paged<KeyId>,
    uri: axum::http::Uri,
) -> Result<Json<Page<Key>>, Problem> {
    let which = which(&uri)?;
    let owner = Which::id(which.owner.as_deref())?;
    let parent = Which::id(which.parent.as_deref())?;
    let found = member_context.organization_keys_made_with((owner, parent), page, which.revoked);
    let found = found.await?;
    let now = manage.service.now();
    let cursor = |listed: &crate::store::ListedKey| listed.key.id.to_string();
    Ok(Json(Page::of(found, cursor, |listed| {
        Key::new(listed, now)
    })))
}

/// The properties of a new key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateKey {
    /// 1 to 100 characters of any script.
    name: String,
    /// `api`, `mcp`, `manage`. Absent: `api` and `mcp`.
    scopes: Option<Vec<String>>,
    /// Seconds until it expires, at most ten years (315360000). Absent: it does not; or, made with a key that
    /// does, it ends with that.
    expires_in_s: Option<u64>,
    /// A service account, by its id. Absent: oneself.
    owner: Option<String>,
}

impl CreateKey {
    fn read(&self) -> Result<NewOwnKey, Problem> {
        let mut fields = Fields::default();
        let name = fields.name("name", &self.name);
        let scopes = fields.scopes("scopes", self.scopes.as_deref());
        // A mistake in it is kept by `fields`.
        let owner = self.owner.as_deref().and_then(|id| fields.id("owner", id));
        let all = name.zip(scopes);
        fields.all(all.map(|(name, scopes)| NewOwnKey {
            name,
            owner,
            scopes,
            expires_in: body::seconds(self.expires_in_s),
        }))
    }
}

/// Makes a key, for oneself or for a service account. Its text is in this answer and nowhere else. A key that is
/// made with a key is its child: it may be used for nothing that the parent may not, and ends no later.
#[utoipa::path(
    post, path = "/api/v1/keys", operation_id = "createKey", tag = "keys", request_body = CreateKey,
    params(("Idempotency-Key" = Option<String>, Header, description = "A request that is sent again \
        under the same word is done once.")),
    responses(
        (status = 201, body = NewKey, description = "Made: it works on every gateway."),
        (status = 200, body = NewKey, description = "Made before, under the same idempotency key."),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(manage): State<Manage>,
    Caller(member_context): Caller,
    headers: HeaderMap,
    Body(wanted, bytes): Body<CreateKey>,
) -> Result<Response, Problem> {
    let idempotency = idempotency::of(&headers, "POST /api/v1/keys", &bytes)?;
    let created = member_context
        .create_key(wanted.read()?, idempotency.as_ref())
        .await?;
    made(&manage, created).await
}

/// The answer to a creation: once it works everywhere.
pub(super) async fn made(manage: &Manage, created: CreatedKey) -> Result<Response, Problem> {
    let status = match created.plain {
        Some(_) => StatusCode::CREATED,
        None => StatusCode::OK,
    };
    manage.service.wait_for_creation(created.sequence).await;
    let body = NewKey {
        key: Key::new(created.key, manage.service.now()),
        secret: created.plain.map(|plain| plain.expose().to_owned()),
    };
    Ok((status, Json(body)).into_response())
}

/// One key: one's own, or, for admins and owners, anybody's in the organization.
#[utoipa::path(
    get, path = "/api/v1/keys/{id}", operation_id = "getKey", tag = "keys",
    params(("id" = String, Path, description = "`key_…`")),
    responses(
        (status = 200, body = Key),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    State(manage): State<Manage>,
    Caller(member_context): Caller,
    path: Path<String>,
) -> Result<Response, Problem> {
    let listed = member_context.key(body::id(path)?).await?;
    Ok(tagged(Key::new(listed, manage.service.now())))
}

/// What a key is used for: who would notice its end.
#[utoipa::path(
    get, path = "/api/v1/keys/{id}/usage", operation_id = "getKeyUsage", tag = "keys",
    params(("id" = String, Path, description = "`key_…`")),
    responses(
        (status = 200, body = Usage),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn usage(
    Caller(member_context): Caller,
    path: Path<String>,
) -> Result<Json<Usage>, Problem> {
    let traffic = member_context.traffic(body::id(path)?).await?;
    Ok(Json(traffic.into()))
}

/// What is to be otherwise.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RenameKey {
    /// 1 to 100 characters of any script.
    name: String,
}

/// Gives a key another name: one's own, or a service account's.
#[utoipa::path(
    patch, path = "/api/v1/keys/{id}", operation_id = "renameKey", tag = "keys", request_body = RenameKey,
    params(
        ("id" = String, Path, description = "`key_…`"),
        ("If-Match" = Option<String>, Header, description = "The ETag that was seen."),
    ),
    responses(
        (status = 200, body = Key),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn rename(
    State(manage): State<Manage>,
    Caller(member_context): Caller,
    path: Path<String>,
    if_match: IfMatch,
    Body(wanted, _bytes): Body<RenameKey>,
) -> Result<Response, Problem> {
    let id: KeyId = body::id(path)?;
    let mut fields = Fields::default();
    let name = fields.name("name", &wanted.name);
    let to: Name = fields.all(name)?;
    let listed = member_context.key(id).await?;
    let from = listed.key.name.clone();
    if_match.holds(&Key::new(listed, manage.service.now()))?;
    let renamed = member_context.rename_key(id, &from, &to).await?;
    Ok(tagged(Key::new(renamed, manage.service.now())))
}
