//! Pages to look at: the MCP server, the audit log, the gateways.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::failure::Failure;
use super::page::{Page, Section, moment, render};
use super::visitor::Visitor;
use super::{Console, Public};
use crate::model::audit::Entry;
use crate::model::clock::Timestamp;
use crate::store::{InstanceRow, PageRequest};

/// Rows of a page.
const ROWS: u32 = 50;

type Shown = Result<Response, Failure>;

impl Public {
    /// A request to try a key with.
    pub(super) fn curl(&self, key: &str) -> String {
        format!(
            "curl -X POST -H 'x-api-key: {key}' -H 'content-type: application/json' -d '{{}}' \\\n  {}/api/workflows/TEMPLATE_ID/trigger",
            self.gateway_url
        )
    }

    /// Where MCP clients connect.
    pub(super) fn mcp_url(&self) -> Option<String> {
        let path = self.mcp_path.as_ref()?;
        Some(format!("{}{path}", self.gateway_url))
    }

    /// What most MCP clients read.
    pub(super) fn mcp_configuration(&self, key: &str) -> Option<String> {
        let configuration = serde_json::json!({
            "mcpServers": {
                "autify-genesis": {
                    "url": self.mcp_url()?,
                    "headers": { "Authorization": format!("Bearer {key}") },
                },
            },
        });
        serde_json::to_string_pretty(&configuration).ok()
    }
}

/// How one client is set up.
struct ClientBlock {
    name: &'static str,
    text: String,
}

#[derive(Template)]
#[template(path = "mcp.html")]
struct McpPage {
    page: Page,
    url: Option<String>,
    clients: Vec<ClientBlock>,
}

pub(super) async fn mcp(State(console): State<Console>, visitor: Visitor) -> Response {
    let url = console.public.mcp_url();
    let clients = url.as_ref().map_or_else(Vec::new, |url| {
        let json = console.public.mcp_configuration("GENKAN_KEY");
        let remote = format!(
            "npx -y mcp-remote {url} --header \"Authorization: Bearer GENKAN_KEY\""
        );
        let code = format!(
            "claude mcp add --transport http autify-genesis {url} \\\n  --header \"Authorization: Bearer GENKAN_KEY\""
        );
        vec![
            ClientBlock {
                name: "Cursor, VS Code",
                text: json.unwrap_or_default(),
            },
            ClientBlock {
                name: "Claude Desktop (mcp-remote)",
                text: remote,
            },
            ClientBlock {
                name: "Claude Code",
                text: code,
            },
        ]
    });
    render(&McpPage {
        page: Page::of(&visitor, Section::Mcp),
        url,
        clients,
    })
}

/// A row of the audit log.
struct AuditRow {
    at: String,
    who: String,
    action: String,
    subject: String,
    from: String,
    details: String,
}

impl From<Entry> for AuditRow {
    fn from(entry: Entry) -> Self {
        Self {
            at: Timestamp::from_millis(entry.at_ms).to_string(),
            who: entry.actor_email.unwrap_or(entry.actor),
            action: entry.action,
            subject: entry.subject,
            from: entry.address.unwrap_or(entry.auth_method),
            details: entry.details,
        }
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    page: Page,
    rows: Vec<AuditRow>,
    next: Option<i64>,
}

/// Which part of the log.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AuditQuery {
    after: Option<String>,
}

pub(super) async fn audit(visitor: Visitor, Query(query): Query<AuditQuery>) -> Shown {
    let part = PageRequest {
        after: query.after.and_then(|text| text.parse().ok()),
        limit: ROWS,
    };
    let found = visitor
        .member_context
        .audit(part)
        .await
        .map_err(visitor.failed())?;
    let next = found.items.last().filter(|_| found.more);
    Ok(render(&AuditPage {
        page: Page::of(&visitor, Section::Audit),
        next: next.map(|entry| entry.sequence),
        rows: found.items.into_iter().map(Into::into).collect(),
    }))
}

/// A gateway.
struct GatewayRow {
    id: String,
    serving: bool,
    lag: u64,
    lease_ms: u128,
    renewed_ago_ms: i64,
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    page: Page,
    now: String,
    head: u64,
    rows: Vec<GatewayRow>,
}

pub(super) async fn status(State(console): State<Console>, visitor: Visitor) -> Shown {
    let seen = visitor
        .member_context
        .instances()
        .await
        .map_err(visitor.failed())?;
    let head = seen.head.get();
    let row = |row: InstanceRow| GatewayRow {
        id: row.id.to_string(),
        serving: !row.evicted,
        lag: head.saturating_sub(row.applied.get()),
        lease_ms: row.lease.as_millis(),
        renewed_ago_ms: row.renewed_ago_ms,
    };
    Ok(render(&StatusPage {
        page: Page::of(&visitor, Section::Status),
        now: moment(console.service.now()),
        head,
        rows: seen.rows.into_iter().map(row).collect(),
    }))
}
