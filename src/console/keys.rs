//! One's own keys, and the organization's.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::Console;
use super::failure::Failure;
use super::page::{Page, Section, render};
use super::receipts::{Ended, wait_for_acknowledgements};
use super::view::{KeyRow, TrafficView};
use super::visitor::Visitor;
use crate::manage::Problem;
use crate::model::id::{KeyId, MembershipId};
use crate::service::{ServiceError, member_context};
use crate::store::{ListedKey, PageRequest};

/// Rows of a page.
const ROWS: u32 = 50;
/// Which part of a list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    after: Option<String>,
    /// Present: revoked keys too.
    revoked: Option<String>,
    /// Only those of this member or service account.
    owner: Option<String>,
}

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    page: Page,
    rows: Vec<KeyRow>,
    next: Option<String>,
    include_revoked: bool,
}

#[derive(Template)]
#[template(path = "organization_keys.html")]
struct OrganizationKeysPage {
    page: Page,
    rows: Vec<KeyRow>,
    next: Option<String>,
    include_revoked: bool,
    owner: Option<String>,
}

#[derive(Template)]
#[template(path = "key_end.html")]
struct EndPage {
    page: Page,
    row: KeyRow,
    traffic: TrafficView,
    origin: Origin,
    /// `delete`, of one's own; `revoke`, of the organization's.
    verb: &'static str,
    action: String,
    back: &'static str,
}

/// Where a key comes from, and what comes from it.
struct Origin {
    /// The key with which it was made: its name, or else its id.
    parent: Option<String>,
    /// How many live keys come from it.
    children: u64,
}

type Shown = Result<Response, Failure>;

fn part(query: &ListQuery) -> PageRequest<KeyId> {
    PageRequest {
        // A cursor that cannot be one begins at the start.
        after: query.after.as_deref().and_then(|text| text.parse().ok()),
        limit: ROWS,
    }
}

fn rows(found: &member_context::Page<ListedKey>, page: &Page, console: &Console) -> Vec<KeyRow> {
    let now = console.service.now();
    let listed = found.items.iter();
    listed.map(|one| KeyRow::new(one, page, now)).collect()
}

fn next(found: &member_context::Page<ListedKey>) -> Option<String> {
    let last = found.items.last().filter(|_| found.more);
    last.map(|listed| listed.key.id.to_string())
}

pub(super) async fn list(
    State(console): State<Console>,
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Shown {
    let include_revoked = query.revoked.is_some();
    let finding = visitor
        .member_context
        .own_keys(part(&query), include_revoked);
    let found = finding.await.map_err(visitor.failed())?;
    let page = Page::of(&visitor, Section::Keys);
    Ok(render(&KeysPage {
        rows: rows(&found, &page, &console),
        next: next(&found),
        include_revoked,
        page,
    }))
}

pub(super) async fn list_all(
    State(console): State<Console>,
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Shown {
    let include_revoked = query.revoked.is_some();
    let owner: Option<MembershipId> = query.owner.as_deref().and_then(|text| text.parse().ok());
    let finding = visitor
        .member_context
        .organization_keys(owner, part(&query), include_revoked);
    let found = finding.await.map_err(visitor.failed())?;
    let page = Page::of(&visitor, Section::OrganizationKeys);
    Ok(render(&OrganizationKeysPage {
        rows: rows(&found, &page, &console),
        next: next(&found),
        include_revoked,
        owner: owner.map(|id| id.to_string()),
        page,
    }))
}

/// What is asked before a key ends.
struct Asked {
    page: Page,
    row: KeyRow,
    traffic: TrafficView,
    origin: Origin,
}

async fn ask(
    console: &Console,
    visitor: &Visitor,
    id: &str,
    section: Section,
) -> Result<Asked, Failure> {
    let listed = find(visitor, id).await?;
    let member_context = &visitor.member_context;
    let asking = member_context.traffic(listed.key.id);
    let traffic = asking.await.map_err(visitor.failed())?;
    let asking = member_context.descendants(listed.key.id);
    let children = asking.await.map_err(visitor.failed())?.live;
    let parent = match listed.key.parent_id {
        // It may be one that the viewer may not see.
        Some(id) => Some(match member_context.key(id).await {
            Ok(parent) => parent.key.name.to_string(),
            Err(ServiceError::UnknownKey(_)) => id.to_string(),
            Err(error) => return Err(visitor.failed()(error)),
        }),
        None => None,
    };
    let page = Page::of(visitor, section);
    let row = KeyRow::new(&listed, &page, console.service.now());
    Ok(Asked {
        page,
        row,
        traffic: traffic.into(),
        origin: Origin { parent, children },
    })
}

pub(super) async fn find(visitor: &Visitor, id: &str) -> Result<ListedKey, Failure> {
    let id: KeyId = id
        .parse()
        .map_err(|_not_an_id| visitor.refused(Problem::not_found()))?;
    visitor
        .member_context
        .key(id)
        .await
        .map_err(visitor.failed())
}

pub(super) async fn ask_delete(
    State(console): State<Console>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    let asked = ask(&console, &visitor, &id, Section::Keys).await?;
    Ok(render(&EndPage {
        action: format!("/keys/{}/delete", asked.row.id),
        page: asked.page,
        row: asked.row,
        traffic: asked.traffic,
        origin: asked.origin,
        verb: "delete",
        back: "/keys",
    }))
}

pub(super) async fn ask_revoke(
    State(console): State<Console>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    let asked = ask(&console, &visitor, &id, Section::OrganizationKeys).await?;
    Ok(render(&EndPage {
        action: format!("/organization/keys/{}/revoke", asked.row.id),
        page: asked.page,
        row: asked.row,
        traffic: asked.traffic,
        origin: asked.origin,
        verb: "revoke",
        back: "/organization/keys",
    }))
}

/// What ends with a key.
#[derive(Debug, Default, Deserialize)]
pub(super) struct EndForm {
    /// Ticked: the keys that come from it too.
    children: Option<String>,
}

pub(super) async fn delete(
    visitor: Visitor,
    Path(id): Path<String>,
    Form(wanted): Form<EndForm>,
) -> Shown {
    let place = (Section::Keys, "/keys");
    end(&visitor, &id, &wanted, place).await
}

pub(super) async fn revoke(
    visitor: Visitor,
    Path(id): Path<String>,
    Form(wanted): Form<EndForm>,
) -> Shown {
    let place = (Section::OrganizationKeys, "/organization/keys");
    end(&visitor, &id, &wanted, place).await
}

async fn end(
    visitor: &Visitor,
    id: &str,
    wanted: &EndForm,
    (section, back): (Section, &'static str),
) -> Shown {
    let id = find(visitor, id).await?.key.id;
    let with_children = wanted.children.is_some();
    let revoked = if with_children {
        visitor.member_context.revoke_key_with_children(id).await
    } else {
        visitor.member_context.revoke_key(id).await
    };
    let revoked = revoked.map_err(visitor.failed())?;
    let ended = Ended {
        section,
        revocation: revoked.revocation(),
        was_revoked: revoked.was_revoked,
        keys: with_children.then_some(revoked.keys),
        back,
        notice: None,
    };
    Ok(wait_for_acknowledgements(visitor, ended).await)
}
