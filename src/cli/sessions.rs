//! The commands `genkan sessions list` and `genkan sessions end`.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::database_args::DatabaseArgs;
use super::exit::Failure;
use super::receipt::with_unit;
use super::table::{self, Output, Rows};
use crate::model::id::SessionId;
use crate::model::member::EmailAddress;
use crate::service::{Service, SessionList};
use crate::store::{EndedAccess, ListedSession};

/// List and end console sessions.
#[derive(Debug, Subcommand)]
pub(super) enum Sessions {
    /// List open sessions, most recently used first.
    List(List),
    /// End sessions, and the sign-in links that could begin new ones. Takes effect with the next request.
    End(End),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    selection: SessionSelection,
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Selects sessions by member and organization.
#[derive(Debug, Args)]
struct SessionSelection {
    /// Only sessions of this member, by e-mail address; in all of their organizations unless one is named.
    #[arg(long, value_name = "EMAIL")]
    member: Option<EmailAddress>,
    /// Only sessions in this organization, by name or id. When they end, earlier sessions of other organizations can no
    /// longer switch to it (not with --member).
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = true, args = ["id", "member", "organization", "everybody"])]
pub(super) struct End {
    /// Only this session, by its id.
    #[arg(conflicts_with_all = ["member", "organization", "everybody"])]
    id: Option<SessionId>,
    #[command(flatten)]
    selection: SessionSelection,
    /// All sessions of all members.
    #[arg(long, conflicts_with_all = ["member", "organization"])]
    everybody: bool,
    /// The output format: text on standard error, or the numbers as JSON on standard output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Sessions {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run().await,
            Self::End(end) => end.run().await,
        }
    }
}

impl From<SessionSelection> for SessionList {
    fn from(selection: SessionSelection) -> Self {
        Self {
            member: selection.member,
            organization: selection.organization,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let filter = self.selection.into();
        let list = async |service: Service| Ok(service.sessions(filter).await?);
        rows(&self.database.with_service(list).await?).print(self.output)
    }
}

impl End {
    async fn run(self) -> Result<(), Failure> {
        let (id, filter) = (self.id, self.selection.into());
        let end = async |service: Service| match id {
            Some(id) => {
                let was_open = service.end_session(id).await?;
                Ok(EndedAccess {
                    sessions: u64::from(was_open),
                    ..EndedAccess::default()
                })
            }
            None => Ok(service.end_sessions(filter).await?),
        };
        let ended = self.database.with_service(end).await?;
        match self.output {
            Output::Json => table::print_json(&json!({
                "sessions": ended.sessions,
                "sign_in_links": ended.sign_in_links,
            })),
            Output::Table if id.is_some() && ended.sessions == 0 => Ok(writeln!(
                anstream::stderr(),
                "the session had ended already"
            )?),
            Output::Table => Ok(writeln!(
                anstream::stderr(),
                "ended {} and {}",
                with_unit(ended.sessions, "session"),
                with_unit(ended.sign_in_links, "sign-in link"),
            )?),
        }
    }
}

fn rows(all: &[ListedSession]) -> Rows<7> {
    let values = all.iter().map(|one| {
        let session = &one.session;
        [
            session.id.to_string().into(),
            session.member.email.as_str().into(),
            session.member.organization_id.to_string().into(),
            session.proof.as_str().into(),
            table::time(session.created_at),
            table::time(session.seen_at),
            one.address.as_deref().map_or(Value::Null, Value::from),
        ]
    });
    let fields = [
        "id",
        "member",
        "organization",
        "proof",
        "began_at",
        "seen_at",
        "address",
    ];
    Rows {
        fields,
        values: values.collect(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn exactly_one_selection_of_sessions_is_required() {
        let id = format!("ses_{}", "0".repeat(32));
        let is_valid = |more: &str| {
            let command = format!("genkan sessions end {more}").replace("ID", &id);
            Cli::try_parse_from(command.split_whitespace()).is_ok()
        };
        for right in [
            "ID",
            "--everybody",
            "--member a@b --output json",
            "--organization Story",
            "--member a@b --organization Story",
        ] {
            assert!(is_valid(right), "{right}");
        }
        for wrong in [
            "",
            "ses_17",
            "ID --everybody",
            "ID --member a@b",
            "ID --organization Story",
            "--everybody --member a@b",
            "--everybody --organization Story",
        ] {
            assert!(!is_valid(wrong), "{wrong}");
        }
    }
}
