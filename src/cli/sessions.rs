//! `genkan sessions list | end`.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::Failure;
use super::place::Place;
use super::settled::counted;
use super::table::{self, Output, Rows};
use crate::model::id::SessionId;
use crate::model::member::EmailAddress;
use crate::service::{Service, SessionList};
use crate::store::{EndedAccess, ListedSession};

/// What is done with sessions.
#[derive(Debug, Subcommand)]
pub(super) enum Sessions {
    /// List open sessions, the one that was seen last first.
    List(List),
    /// End sessions, and sign-in links that would begin one. It holds from the next request on.
    End(End),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    whose: Whose,
    /// How to print them.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    place: Place,
}

/// Whose sessions.
#[derive(Debug, Args)]
struct Whose {
    /// Only those of this address, in all of its organizations unless one is named.
    #[arg(long, value_name = "EMAIL")]
    member: Option<EmailAddress>,
    /// Only those in this organization. When they end, sessions of other organizations that began before cannot
    /// switch to it any more (not with --member).
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
}

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = true, args = ["id", "member", "organization", "everybody"])]
pub(super) struct End {
    /// This session alone, by its id.
    #[arg(conflicts_with_all = ["member", "organization", "everybody"])]
    id: Option<SessionId>,
    #[command(flatten)]
    whose: Whose,
    /// All sessions of everybody.
    #[arg(long, conflicts_with_all = ["member", "organization"])]
    everybody: bool,
    /// How to tell: words on standard error, or the numbers as JSON on standard output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    place: Place,
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

impl From<Whose> for SessionList {
    fn from(whose: Whose) -> Self {
        Self {
            member: whose.member,
            organization: whose.organization,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let of = self.whose.into();
        let list = async |service: Service| Ok(service.sessions(of).await?);
        rows(&self.place.with_service(list).await?).print(self.output)
    }
}

impl End {
    async fn run(self) -> Result<(), Failure> {
        let (id, of) = (self.id, self.whose.into());
        let end = async |service: Service| match id {
            Some(id) => {
                let was_open = service.end_session(id).await?;
                Ok(EndedAccess {
                    sessions: u64::from(was_open),
                    ..EndedAccess::default()
                })
            }
            None => Ok(service.end_sessions(of).await?),
        };
        let ended = self.place.with_service(end).await?;
        match self.output {
            Output::Json => table::print_json(&json!({
                "sessions": ended.sessions,
                "sign_in_links": ended.sign_in_links,
            })),
            Output::Table if id.is_some() && ended.sessions == 0 => {
                Ok(writeln!(anstream::stderr(), "it had ended already")?)
            }
            Output::Table => Ok(writeln!(
                anstream::stderr(),
                "ended {} and {}",
                counted(ended.sessions, "session"),
                counted(ended.sign_in_links, "sign-in link"),
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
    fn whose_sessions_end_is_said_and_said_once() {
        let id = format!("ses_{}", "0".repeat(32));
        let is_understood = |more: &str| {
            let words = format!("genkan sessions end {more}").replace("ID", &id);
            Cli::try_parse_from(words.split_whitespace()).is_ok()
        };
        for right in [
            "ID",
            "--everybody",
            "--member a@b --output json",
            "--organization Story",
            "--member a@b --organization Story",
        ] {
            assert!(is_understood(right), "{right}");
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
            assert!(!is_understood(wrong), "{wrong}");
        }
    }
}
