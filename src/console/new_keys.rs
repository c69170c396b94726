//! New keys: the form, the page that shows a key once, and a twin for a key that is to die with its owner.

use std::time::Duration;

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Console;
use super::failure::Failure;
use super::keys::find;
use super::page::{Page, Section, render};
use super::visitor::Visitor;
use crate::manage::{Fields, Problem};
use crate::model::id::MembershipId;
use crate::model::key::KeyHash;
use crate::model::random::SystemEntropy;
use crate::model::scope::{Scope, Scopes};
use crate::model::token::Token;
use crate::service::access::Permission;
use crate::service::member_context::{CreatedKey, NewOwnKey};
use crate::store::Idempotency;

/// The lifetimes that the form offers, in days.
const LIFETIMES_DAYS: [u64; 4] = [7, 30, 90, 365];

#[derive(Template)]
#[template(path = "key_new.html")]
struct NewKeyPage {
    page: Page,
    /// One for each form that is shown: the form that is sent twice makes one key.
    request: String,
    owner: Option<Owner>,
    name: String,
    error: Option<String>,
    may_manage: bool,
    lifetimes: [u64; 4],
    back: &'static str,
}

/// The service account that will own the new key.
struct Owner {
    id: String,
    name: String,
}

#[derive(Template)]
#[template(path = "key_created.html")]
struct CreatedPage {
    page: Page,
    name: String,
    /// `None`: shown before.
    secret: Option<String>,
    curl: String,
    mcp: Option<String>,
    back: String,
}

type Shown = Result<Response, Failure>;

/// The owner of a new key.
#[derive(Debug, Deserialize)]
pub(super) struct NewQuery {
    owner: Option<String>,
}

pub(super) async fn new(visitor: Visitor, Query(query): Query<NewQuery>) -> Shown {
    let owner = owner(&visitor, query.owner.as_deref()).await?;
    let request = Token::generate(&SystemEntropy).expose().to_owned();
    Ok(form(&visitor, owner, request, String::new(), None))
}

async fn owner(visitor: &Visitor, id: Option<&str>) -> Result<Option<Owner>, Failure> {
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let id: MembershipId = id
        .parse()
        .map_err(|_not_an_id| visitor.refused(Problem::not_found()))?;
    let finding = visitor.member_context.find_member_in_organization(id);
    let member = finding.await.map_err(visitor.failed())?;
    Ok(Some(Owner {
        id: member.membership_id.to_string(),
        name: member.name.to_string(),
    }))
}

fn form(
    visitor: &Visitor,
    owner: Option<Owner>,
    request: String,
    name: String,
    error: Option<String>,
) -> Response {
    let section = match owner {
        Some(_) => Section::ServiceAccounts,
        None => Section::Keys,
    };
    render(&NewKeyPage {
        page: Page::of(visitor, section),
        request,
        may_manage: visitor.member_context.may(Permission::ManageMembers),
        back: match owner {
            Some(_) => "/service-accounts",
            None => "/keys",
        },
        owner,
        name,
        error,
        lifetimes: LIFETIMES_DAYS,
    })
}

/// The form of a new key.
#[derive(Debug, Deserialize)]
pub(super) struct NewKeyForm {
    name: String,
    /// Days; empty: it does not expire.
    #[serde(default)]
    lifetime: String,
    #[serde(default)]
    owner: String,
    /// Each box that is ticked.
    api: Option<String>,
    mcp: Option<String>,
    manage: Option<String>,
    request: String,
}

impl NewKeyForm {
    fn scopes(&self) -> Scopes {
        let boxes = [
            (&self.api, Scope::Api),
            (&self.mcp, Scope::Mcp),
            (&self.manage, Scope::Manage),
        ];
        let ticked = boxes
            .into_iter()
            .filter(|(ticked, _scope)| ticked.is_some());
        ticked.map(|(_ticked, scope)| scope).collect()
    }

    /// One of those that the form offers. `None`: for ever.
    fn lifetime(&self) -> Result<Option<Duration>, Problem> {
        if self.lifetime.is_empty() {
            return Ok(None);
        }
        let days = self.lifetime.parse().ok();
        let offered = days.filter(|days| LIFETIMES_DAYS.contains(days));
        let days = offered.ok_or_else(Problem::malformed)?;
        Ok(Some(Duration::from_hours(days * 24)))
    }

    /// Of everything that the form asks for.
    fn idempotency(&self) -> Idempotency {
        let asked = format!(
            "{}\n{}\n{}\n{}",
            self.name,
            self.lifetime,
            self.owner,
            self.scopes()
        );
        Idempotency {
            key: self.request.clone(),
            request: KeyHash::of(asked.as_bytes()),
        }
    }
}

pub(super) async fn create(
    State(console): State<Console>,
    visitor: Visitor,
    Form(wanted): Form<NewKeyForm>,
) -> Shown {
    let owner = owner(&visitor, Some(&wanted.owner)).await?;
    let mut fields = Fields::default();
    let name = fields.name("name", &wanted.name);
    let name = match fields.all(name) {
        Ok(name) => name,
        Err(problem) => {
            let errors = problem.localized(visitor.language).1.errors;
            let again = form(
                &visitor,
                owner,
                wanted.request,
                wanted.name,
                errors.into_iter().next(),
            );
            return Ok((axum::http::StatusCode::UNPROCESSABLE_ENTITY, again).into_response());
        }
    };
    let lifetime = wanted.lifetime();
    let lifetime = lifetime.map_err(|problem| visitor.refused(problem))?;
    let of = owner.as_ref().and_then(|owner| owner.id.parse().ok());
    let new = NewOwnKey {
        name,
        owner: of,
        scopes: wanted.scopes(),
        expires_in: lifetime,
    };
    let idempotency = wanted.idempotency();
    let creating = visitor.member_context.create_key(new, Some(&idempotency));
    let created = creating.await.map_err(visitor.failed())?;
    let (section, back) = match owner {
        Some(_) => (Section::ServiceAccounts, "/service-accounts"),
        None => (Section::Keys, "/keys"),
    };
    let back = back.to_owned();
    Ok(shown_once(&console, &visitor, created, section, back).await)
}

/// A key that dies with its owner gets a twin of a service account's; then back to the owner's removal.
pub(super) async fn reissue(
    State(console): State<Console>,
    visitor: Visitor,
    Path((member, key)): Path<(String, String)>,
) -> Shown {
    let id = find(&visitor, &key).await?.key.id;
    let reissuing = visitor.member_context.reissue_key(id);
    let created = reissuing.await.map_err(visitor.failed())?;
    let back = format!("/members/{member}/remove");
    let section = Section::ServiceAccounts;
    Ok(shown_once(&console, &visitor, created, section, back).await)
}

/// The page with a new key's text.
async fn shown_once(
    console: &Console,
    visitor: &Visitor,
    created: CreatedKey,
    section: Section,
    back: String,
) -> Response {
    console.service.wait_for_creation(created.sequence).await;
    let secret = created.plain.map(|plain| plain.expose().to_owned());
    let shown = secret.as_deref().unwrap_or("GENKAN_KEY");
    render(&CreatedPage {
        page: Page::of(visitor, section),
        name: created.key.key.name.to_string(),
        curl: console.public.curl(shown),
        mcp: console.public.mcp_configuration(shown),
        back,
        secret,
    })
}
