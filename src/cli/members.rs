//! `genkan members add | list | role | remove`.

use std::io::Write;

use clap::{Args, Subcommand};

use super::exit::Failure;
use super::place::Place;
use super::settled;
use super::table::{self, Output, Rows};
use crate::model::member::{EmailAddress, Member, Name, Role};
use crate::service::{NewMember, RemovedMember, Service};

/// What is done with members.
#[derive(Debug, Subcommand)]
pub(super) enum Members {
    /// Add a member to an organization, and print their user id.
    Add(Add),
    /// List the present members, oldest first, service accounts among them.
    List(List),
    /// Give a member another role, and wait until it holds on every gateway.
    Role(ChangeRole),
    /// Remove a member, end every key they made there, and wait until every gateway obeys.
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The person's address.
    email: EmailAddress,
    /// The person's name.
    #[arg(long)]
    name: Name,
    /// What they may do: owner, admin or member.
    #[arg(long)]
    role: Role,
    /// Name or id of the organization; needed where there are several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// Print the user id alone, and say nothing.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those of this organization.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// How to print them.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct ChangeRole {
    /// Whose.
    email: EmailAddress,
    /// What they may do from now on: owner, admin or member.
    role: Role,
    /// In which organization, by name or id; needed where they are in several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// Who shall go.
    email: EmailAddress,
    /// From which organization, by name or id; needed where they are in several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    #[command(flatten)]
    wait: settled::Wait,
    #[command(flatten)]
    place: Place,
}

impl Members {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(add) => add.run().await,
            Self::List(list) => list.run().await,
            Self::Role(change) => change.run().await,
            Self::Remove(remove) => remove.run().await,
        }
    }
}

impl Add {
    async fn run(self) -> Result<(), Failure> {
        let new = NewMember {
            email: self.email,
            name: self.name,
            role: self.role,
            organization: self.organization,
        };
        let add = async |service: Service| Ok(service.add_member(new).await?);
        let member = self.place.with_service(add).await?;
        writeln!(anstream::stdout(), "{}", member.user_id)?;
        if !self.quiet {
            writeln!(
                anstream::stderr(),
                "{} <{}> is {} of {} now",
                member.name,
                member.email,
                member.role,
                member.organization_id
            )?;
        }
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let organization = self.organization.as_deref();
        let list = async |service: Service| Ok(service.members(organization).await?);
        rows(&self.place.with_service(list).await?).print(self.output)
    }
}

impl ChangeRole {
    async fn run(&self) -> Result<(), Failure> {
        self.place
            .with_service(async |service| self.change(&service).await)
            .await
    }

    async fn change(&self, service: &Service) -> Result<(), Failure> {
        let organization = self.organization.as_deref();
        let changing = service.change_role(&self.email, organization, self.role);
        let (member, sequence) = changing.await?;
        let done = format!("{} is {} now", member.email, member.role);
        settled::settle(service, sequence, &done).await
    }
}

impl Remove {
    async fn run(&self) -> Result<(), Failure> {
        self.place
            .with_service(async |service| self.remove(&service).await)
            .await
    }

    async fn remove(&self, service: &Service) -> Result<(), Failure> {
        let organization = self.organization.as_deref();
        let removed = service.remove_member(&self.email, organization).await?;
        let done = removed_sentence(&removed);
        let revocation = removed.revocation();
        self.wait.settle(service, revocation, &done).await
    }
}

/// Who was removed, and how many keys ended with that.
pub(super) fn removed_sentence(removed: &RemovedMember) -> String {
    let keys = match removed.keys {
        0 => "there was no live key".to_owned(),
        1 => "1 key ended".to_owned(),
        many => format!("{many} keys ended"),
    };
    format!("removed {}; {keys}", removed.member.email)
}

/// Members as a list shows them.
pub(super) fn rows(all: &[Member]) -> Rows<8> {
    let values = all.iter().map(|one| {
        [
            one.user_id.to_string().into(),
            one.email.as_str().into(),
            one.email_verified.into(),
            one.name.as_str().into(),
            one.role.as_str().into(),
            one.organization_id.to_string().into(),
            one.membership_id.to_string().into(),
            table::time(one.created_at),
        ]
    });
    let fields = [
        "user",
        "email",
        "email_verified",
        "name",
        "role",
        "organization",
        "membership",
        "created_at",
    ];
    Rows {
        fields,
        values: values.collect(),
    }
}
