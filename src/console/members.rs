//! Members, their roles, and invitations.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::Console;
use super::failure::Failure;
use super::page::{Page, Section, render};
use super::receipts::{Ended, wait_for_acknowledgements};
use super::view::{InvitationRow, KeyRow, MemberRow};
use super::visitor::Visitor;
use crate::manage::{Fields, Problem};
use crate::model::id::{InvitationId, MembershipId};
use crate::model::member::{Member, MemberKind, Role};
use crate::service::access::Permission;
use crate::service::member_context::NewInvitation;
use crate::store::PageRequest;

/// Rows of a page.
const ROWS: u32 = 50;
/// Keys that the page of a removal lists; the rest is a number.
const DYING_KEYS_SHOWN: u32 = 100;

#[derive(Template)]
#[template(path = "members.html")]
struct MembersPage {
    page: Page,
    rows: Vec<MemberRow>,
    next: Option<String>,
    invitations: Vec<InvitationRow>,
    roles: Vec<Role>,
}

#[derive(Template)]
#[template(path = "member_invite.html")]
struct InvitePage {
    page: Page,
    roles: Vec<Role>,
    email: String,
    name: String,
    errors: Vec<String>,
}

#[derive(Template)]
#[template(path = "member_invited.html")]
struct InvitedPage {
    page: Page,
    email: String,
    link: String,
}

#[derive(Template)]
#[template(path = "member_remove.html")]
struct RemovePage {
    page: Page,
    id: String,
    name: String,
    role: Role,
    is_service_account: bool,
    keys: Vec<KeyRow>,
    more: bool,
    back: &'static str,
}

type Shown = Result<Response, Failure>;

/// Which part of a list, and what was done before it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    after: Option<String>,
    /// Whose role was changed.
    changed: Option<String>,
}

/// The roles that the viewer may assign.
fn roles(visitor: &Visitor) -> Vec<Role> {
    let given = Role::ALL.into_iter().filter(|role| {
        let needed = Permission::to_manage(&[*role]);
        visitor.member_context.may(needed)
    });
    given.collect()
}

pub(super) async fn list(
    State(console): State<Console>,
    visitor: Visitor,
    Query(query): Query<ListQuery>,
) -> Shown {
    let part = PageRequest {
        after: query.after.and_then(|text| text.parse().ok()),
        limit: ROWS,
    };
    let found = visitor
        .member_context
        .members(part)
        .await
        .map_err(visitor.failed())?;
    let open = visitor
        .member_context
        .invitations()
        .await
        .map_err(visitor.failed())?;
    let mut page = Page::of(&visitor, Section::Members);
    let changed = query.changed.and_then(|id| {
        let mut items = found.items.iter();
        items.find(|one| one.member.membership_id.to_string() == id)
    });
    page.notice = changed.map(|one| {
        let role = page.role(&one.member.role);
        let values = [("name", one.member.name.as_str()), ("role", &role)];
        page.text_with_values("members.role_changed", &values)
    });
    let now = console.service.now();
    Ok(render(&MembersPage {
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
        invitations: open
            .into_iter()
            .map(|one| InvitationRow::new(one, now))
            .collect(),
        roles: roles(&visitor),
        page,
    }))
}

pub(super) async fn ask_invite(visitor: Visitor) -> Shown {
    if !visitor.member_context.may(Permission::ManageMembers) {
        return Err(visitor.refused(Problem::not_allowed()));
    }
    Ok(render(&InvitePage {
        page: Page::of(&visitor, Section::Members),
        roles: roles(&visitor),
        email: String::new(),
        name: String::new(),
        errors: Vec::new(),
    }))
}

/// The form of an invitation.
#[derive(Debug, Deserialize)]
pub(super) struct InviteForm {
    email: String,
    name: String,
    role: String,
}

pub(super) async fn invite(
    State(console): State<Console>,
    visitor: Visitor,
    Form(wanted): Form<InviteForm>,
) -> Shown {
    let mut fields = Fields::default();
    let email = fields.email("email", &wanted.email);
    let name = fields.name("name", &wanted.name);
    let role = fields.role("role", &wanted.role);
    let all = email.zip(name).zip(role);
    let new = fields.all(all.map(|((email, name), role)| NewInvitation { email, name, role }));
    let new = match new {
        Ok(new) => new,
        Err(problem) => {
            let again = render(&InvitePage {
                page: Page::of(&visitor, Section::Members),
                roles: roles(&visitor),
                email: wanted.email,
                name: wanted.name,
                errors: problem.localized(visitor.language).1.errors,
            });
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, again).into_response());
        }
    };
    let inviting = visitor.member_context.invite(new);
    let (invitation, token) = inviting.await.map_err(visitor.failed())?;
    Ok(render(&InvitedPage {
        page: Page::of(&visitor, Section::Members),
        email: invitation.email.to_string(),
        link: format!("{}/invitation/{}", console.public.url, token.expose()),
    }))
}

pub(super) async fn withdraw(visitor: Visitor, Path(id): Path<String>) -> Shown {
    let id: InvitationId = id
        .parse()
        .map_err(|_not_an_id| visitor.refused(Problem::not_found()))?;
    let withdrawing = visitor.member_context.withdraw_invitation(id);
    withdrawing.await.map_err(visitor.failed())?;
    Ok(Redirect::to("/members").into_response())
}

/// A role, and the one that the page showed.
#[derive(Debug, Deserialize)]
pub(super) struct RoleForm {
    role: String,
    seen: String,
}

pub(super) async fn change_role(
    visitor: Visitor,
    Path(id): Path<String>,
    Form(wanted): Form<RoleForm>,
) -> Shown {
    let mut fields = Fields::default();
    let (to, seen) = (
        fields.role("role", &wanted.role),
        fields.role("seen", &wanted.seen),
    );
    let roles = fields.all(to.zip(seen));
    let (to, seen) = roles.map_err(|problem| visitor.refused(problem))?;
    let id = member_id(&visitor, &id)?;
    let changing = visitor.member_context.change_role(id, seen, to);
    let changed = changing.await.map_err(visitor.failed())?;
    let list = match changed.kind {
        MemberKind::Person => "/members",
        MemberKind::ServiceAccount => "/service-accounts",
    };
    let back = format!("{list}?changed={}", changed.membership_id);
    Ok(Redirect::to(&back).into_response())
}

fn member_id(visitor: &Visitor, text: &str) -> Result<MembershipId, Failure> {
    text.parse()
        .map_err(|_not_an_id| visitor.refused(Problem::not_found()))
}

fn section_of(member: &Member) -> (Section, &'static str) {
    match member.kind {
        MemberKind::Person => (Section::Members, "/members"),
        MemberKind::ServiceAccount => (Section::ServiceAccounts, "/service-accounts"),
    }
}

/// Who goes, and every key that dies with them.
pub(super) async fn ask_remove(
    State(console): State<Console>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Shown {
    let id = member_id(&visitor, &id)?;
    let finding = visitor.member_context.find_member_in_organization(id);
    let member = finding.await.map_err(visitor.failed())?;
    let part = PageRequest {
        after: None,
        limit: DYING_KEYS_SHOWN,
    };
    let listing = visitor
        .member_context
        .organization_keys(Some(id), part, false);
    let found = listing.await.map_err(visitor.failed())?;
    let (section, back) = section_of(&member);
    let page = Page::of(&visitor, section);
    let now = console.service.now();
    Ok(render(&RemovePage {
        id: id.to_string(),
        name: member.name.to_string(),
        role: member.role,
        is_service_account: member.kind == MemberKind::ServiceAccount,
        keys: found
            .items
            .iter()
            .map(|one| KeyRow::new(one, &page, now))
            .collect(),
        more: found.more,
        back,
        page,
    }))
}

/// The role that the page showed.
#[derive(Debug, Deserialize)]
pub(super) struct RemoveForm {
    seen: String,
}

pub(super) async fn remove(
    visitor: Visitor,
    Path(id): Path<String>,
    Form(wanted): Form<RemoveForm>,
) -> Shown {
    let mut fields = Fields::default();
    let seen = fields.role("seen", &wanted.seen);
    let seen = fields
        .all(seen)
        .map_err(|problem| visitor.refused(problem))?;
    let id = member_id(&visitor, &id)?;
    let removing = visitor.member_context.remove(id, Some(seen));
    let removed = removing.await.map_err(visitor.failed())?;
    let (section, back) = section_of(&removed.member);
    let page = Page::of(&visitor, section);
    let ended = Ended {
        section,
        revocation: removed.revocation(),
        was_revoked: false,
        keys: Some(removed.keys),
        back,
        notice: Some(page.text_with("members.removed", "name", removed.member.name.as_str())),
    };
    Ok(wait_for_acknowledgements(&visitor, ended).await)
}
