//! What all pages have: a language, somebody who looks, and where they are.

use std::sync::LazyLock;

use askama::Template;
use axum::response::{Html, IntoResponse, Response};

use super::failure::broken;
use super::visitor::Visitor;
use crate::model::clock::Timestamp;
use crate::model::language::Language;
use crate::model::member::{Member, Role};
use crate::model::translation::Translations;
use crate::service::access::Permission;

static TEXTS: LazyLock<Translations> = LazyLock::new(|| {
    Translations::parse(
        include_str!("locales/ja.toml"),
        include_str!("locales/en.toml"),
        include_str!("locales/ko.toml"),
    )
});

/// The sections of the console, in their order; each with what it takes to see it.
const SECTIONS: [(Section, &str, &str, Permission); 7] = [
    (Section::Keys, "/keys", "nav.keys", Permission::OwnKeys),
    (
        Section::OrganizationKeys,
        "/organization/keys",
        "nav.organization_keys",
        Permission::OrganizationKeys,
    ),
    (
        Section::Members,
        "/members",
        "nav.members",
        Permission::SeeMembers,
    ),
    (
        Section::ServiceAccounts,
        "/service-accounts",
        "nav.service_accounts",
        Permission::ManageServiceAccounts,
    ),
    (Section::Mcp, "/mcp-server", "nav.mcp", Permission::OwnKeys),
    (Section::Audit, "/audit", "nav.audit", Permission::ReadAudit),
    (
        Section::Status,
        "/status",
        "nav.status",
        Permission::SeeStatus,
    ),
];

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Keys,
    OrganizationKeys,
    Members,
    ServiceAccounts,
    Mcp,
    Audit,
    Status,
    /// Outside: signing in, or an error.
    SignedOut,
}

/// A link to a section.
pub(super) struct Link {
    pub path: &'static str,
    pub label: String,
    pub current: bool,
}

/// What a layout needs.
pub(super) struct Page {
    pub language: Language,
    pub section: Section,
    pub who: Option<Member>,
    /// Whether the viewer has proven nothing but an invitation link.
    pub unproven: bool,
    /// Membership, name, and whether it is this one; empty where there is no choice.
    pub organizations: Vec<(String, String, bool)>,
    /// Said above the page, after something was done.
    pub notice: Option<String>,
}

impl Page {
    /// Of a member.
    pub(super) fn of(visitor: &Visitor, section: Section) -> Self {
        Self {
            language: visitor.language,
            section,
            who: Some(visitor.member().clone()),
            unproven: !visitor.member_context.has_proven_address(),
            organizations: visitor
                .organizations
                .iter()
                .map(|one| {
                    let id = one.membership;
                    let current = id == visitor.member().membership_id;
                    (id.to_string(), one.organization.to_string(), current)
                })
                .collect(),
            notice: None,
        }
    }

    /// A page for a viewer who is not signed in.
    pub(super) fn signed_out(language: Language) -> Self {
        Self {
            language,
            section: Section::SignedOut,
            who: None,
            unproven: false,
            organizations: Vec::new(),
            notice: None,
        }
    }

    /// A text, by its key under `console` in `locales`.
    pub(super) fn text(&self, key: &str) -> String {
        self.text_with_values(key, &[])
    }

    /// A text with one thing in it: `%{name}`.
    pub(super) fn text_with(&self, key: &str, name: &str, value: &str) -> String {
        self.text_with_values(key, &[(name, value)])
    }

    /// A text with several values in it.
    pub(super) fn text_with_values(&self, key: &str, values: &[(&str, &str)]) -> String {
        TEXTS.text(self.language, &format!("console.{key}"), values)
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "templates hand over references"
    )]
    pub(super) fn role(&self, role: &Role) -> String {
        self.text(&format!("role.{role}"))
    }

    pub(super) fn links(&self) -> Vec<Link> {
        let Some(member) = &self.who else {
            return Vec::new();
        };
        let seen = SECTIONS
            .into_iter()
            .filter(|(.., permission)| permission.is_given_to(member.role));
        seen.map(|(section, path, label, _permission)| Link {
            path,
            label: self.text(label),
            current: section == self.section,
        })
        .collect()
    }

    pub(super) fn languages(&self) -> Vec<(&'static str, &'static str, bool)> {
        let named = |language| match language {
            Language::Ja => "日本語",
            Language::En => "English",
            Language::Ko => "한국어",
        };
        Language::ALL
            .map(|language| {
                (
                    language.as_str(),
                    named(language),
                    language == self.language,
                )
            })
            .to_vec()
    }
}

/// A moment as people read it, to the minute, in UTC.
pub(super) fn moment(time: Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('T') {
        Some((day, rest)) if rest.len() >= 5 => {
            format!("{day} {} UTC", rest.get(..5).unwrap_or_default())
        }
        Some(_) | None => text,
    }
}

/// A page, from its template.
pub(super) fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => broken(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_text_with_the_same_values() {
        let english = TEXTS.keys(Language::En);
        assert!(english.len() > 100);
        for language in Language::ALL {
            assert_eq!(TEXTS.keys(language), english, "{language:?}");
        }
    }
}
