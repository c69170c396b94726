//! Service accounts.

use askama::Template;
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::failure::Failure;
use super::page::{Page, Section, render};
use super::view::MemberRow;
use super::visitor::Visitor;
use crate::manage::{Fields, Problem};
use crate::model::member::Role;
use crate::service::access::Permission;
use crate::service::member_context::NewServiceAccount;
use crate::store::PageRequest;

/// Rows of a page.
const ROWS: u32 = 50;
/// What a service account can be.
const ROLES: [Role; 2] = [Role::Member, Role::Admin];

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    page: Page,
    rows: Vec<MemberRow>,
    next: Option<String>,
    roles: [Role; 2],
}

#[derive(Template)]
#[template(path = "account_new.html")]
struct NewAccountPage {
    page: Page,
    name: String,
    errors: Vec<String>,
    roles: [Role; 2],
}

type Shown = Result<Response, Failure>;

/// Which part of a list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    after: Option<String>,
}

pub(super) async fn list(visitor: Visitor, Query(query): Query<ListQuery>) -> Shown {
    let part = PageRequest {
        after: query.after.and_then(|text| text.parse().ok()),
        limit: ROWS,
    };
    let listing = visitor.member_context.service_accounts(part);
    let found = listing.await.map_err(visitor.failed())?;
    let page = Page::of(&visitor, Section::ServiceAccounts);
    Ok(render(&AccountsPage {
        rows: found
            .items
            .iter()
            .map(|one| MemberRow::new(one, &page))
            .collect(),
        next: found
            .items
            .last()
            .filter(|_| found.more)
            .map(|one| one.member.membership_id.to_string()),
        roles: ROLES,
        page,
    }))
}

pub(super) async fn new(visitor: Visitor) -> Shown {
    if !visitor
        .member_context
        .may(Permission::ManageServiceAccounts)
    {
        return Err(visitor.refused(Problem::not_allowed()));
    }
    Ok(form(&visitor, String::new(), Vec::new()))
}

fn form(visitor: &Visitor, name: String, errors: Vec<String>) -> Response {
    render(&NewAccountPage {
        page: Page::of(visitor, Section::ServiceAccounts),
        name,
        errors,
        roles: ROLES,
    })
}

/// The form of a service account.
#[derive(Debug, Deserialize)]
pub(super) struct NewAccountForm {
    name: String,
    role: String,
}

pub(super) async fn create(visitor: Visitor, Form(wanted): Form<NewAccountForm>) -> Shown {
    let mut fields = Fields::default();
    let name = fields.name("name", &wanted.name);
    let role = fields.role("role", &wanted.role);
    let all = name.zip(role);
    let new = fields.all(all.map(|(name, role)| NewServiceAccount { name, role }));
    let new = match new {
        Ok(new) => new,
        Err(problem) => {
            let errors = problem.localized(visitor.language).1.errors;
            let again = form(&visitor, wanted.name, errors);
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, again).into_response());
        }
    };
    let creating = visitor.member_context.create_service_account(new, None);
    creating.await.map_err(visitor.failed())?;
    Ok(Redirect::to("/service-accounts").into_response())
}
