//! One's own keys, and the organisation's.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::Console;
use super::failure::Failure;
use super::page::{Page, Section, render};
use super::receipts::{Ended, settle};
use super::view::{KeyRow, TrafficView};
use super::visitor::Visitor;
use crate::manage::Problem;
use crate::model::id::{KeyId, MembershipId};
use crate::service::acting;
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
    revoked_too: bool,
}

#[derive(Template)]
#[template(path = "organization_keys.html")]
struct OrganizationKeysPage {
    page: Page,
    rows: Vec<KeyRow>,
    next: Option<String>,
    revoked_too: bool,
    owner: Option<String>,
}

#[derive(Template)]
#[template(path = "key_end.html")]
struct EndPage {
    page: Page,
    row: KeyRow,
    traffic: TrafficView,
    /// `delete`, of one's own; `revoke`, of the organisation's.
    verb: &'static str,
    action: String,
    back: &'static str,
}

type Shown = Result<Response, Failure>;

fn part(query: &ListQuery) -> PageRequest<KeyId> {
    PageRequest {
        // A cursor that cannot be one begins at the start.
        after: query.after.as_deref().and_then(|text| text.parse().ok()),
        limit: ROWS,
    }
}

fn rows(found: &acting::Page<ListedKey>, page: &Page, console: &Console) -> Vec<KeyRow> {
    let now = console.service.now();
    let listed = found.items.iter();
    listed.map(|one| KeyRow::new(one, page, now)).collect()
}

fn next(found: &acting::Page<ListedKey>) -> Option<String> {
    let last = found.items.last().filter(|_| found.more);
    last.map(|listed| listed.key.id.to_string())
}

pub(super) async fn list(
    State(console): State<Console>,
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Shown {
    let revoked_too = query.revoked.is_some();
    let finding = visitor.acting.own_keys(part(&query), revoked_too);
    let found = finding.await.map_err(visitor.failed())?;
    let page = Page::of(&visitor, Section::Keys);
    Ok(render(&KeysPage {
        rows: rows(&found, &page, &console),
        next: next(&found),
        revoked_too,
        page,
    }))
}

pub(super) async fn list_all(
    State(console): State<Console>,
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Shown {
    let revoked_too = query.revoked.is_some();
    let owner: Option<MembershipId> = query.owner.as_deref().and_then(|text| text.parse().ok());
    let finding = visitor
        .acting
        .organization_keys(owner, part(&query), revoked_too);
    let found = finding.await.map_err(visitor.failed())?;
    let page = Page::of(&visitor, Section::OrganizationKeys);
    Ok(render(&OrganizationKeysPage {
        rows: rows(&found, &page, &console),
        next: next(&found),
        revoked_too,
        owner: owner.map(|id| id.to_string()),
        page,
    }))
}

async fn ask(
    console: &Console,
    visitor: &Visitor,
    id: &str,
    section: Section,
) -> Result<(Page, KeyRow, TrafficView), Failure> {
    let listed = find(visitor, id).await?;
    let asking = visitor.acting.traffic(listed.key.id);
    let traffic = asking.await.map_err(visitor.failed())?;
    let page = Page::of(visitor, section);
    let row = KeyRow::new(&listed, &page, console.service.now());
    Ok((page, row, traffic.into()))
}

pub(super) async fn find(visitor: &Visitor, id: &str) -> Result<ListedKey, Failure> {
    let id: KeyId = id
        .parse()
        .map_err(|_not_an_id| visitor.refused(Problem::not_found()))?;
    visitor.acting.key(id).await.map_err(visitor.failed())
}

pub(super) async fn ask_delete(
    State(console): State<Console>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    let (page, row, traffic) = ask(&console, &visitor, &id, Section::Keys).await?;
    Ok(render(&EndPage {
        page,
        traffic,
        action: format!("/keys/{}/delete", row.id),
        row,
        verb: "delete",
        back: "/keys",
    }))
}

pub(super) async fn ask_revoke(
    State(console): State<Console>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    let (page, row, traffic) = ask(&console, &visitor, &id, Section::OrganizationKeys).await?;
    Ok(render(&EndPage {
        page,
        traffic,
        action: format!("/organization/keys/{}/revoke", row.id),
        row,
        verb: "revoke",
        back: "/organization/keys",
    }))
}

pub(super) async fn delete(visitor: Visitor, Path(id): Path<String>) -> Shown {
    end(&visitor, &id, Section::Keys, "/keys").await
}

pub(super) async fn revoke(visitor: Visitor, Path(id): Path<String>) -> Shown {
    let (section, back) = (Section::OrganizationKeys, "/organization/keys");
    end(&visitor, &id, section, back).await
}

async fn end(visitor: &Visitor, id: &str, section: Section, back: &'static str) -> Shown {
    let id = find(visitor, id).await?.key.id;
    let ending = visitor.acting.revoke_key(id);
    let revoked = ending.await.map_err(visitor.failed())?;
    let ended = Ended {
        section,
        revocation: revoked.revocation(),
        was_revoked: revoked.was_revoked,
        keys: None,
        back,
        notice: None,
    };
    Ok(settle(visitor, ended).await)
}
