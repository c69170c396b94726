//! The commands `genkan members add`, `list`, `role` and `remove`.

use std::io::Write;

use clap::{Args, Subcommand};

use super::database_args::DatabaseArgs;
use super::exit::Failure;
use super::receipt;
use super::table::{self, Output, Rows};
use crate::model::member::{EmailAddress, Member, Name, Role};
use crate::service::{NewMember, RemovedMember, Service};

/// Add, list and remove members, and change their roles.
#[derive(Debug, Subcommand)]
pub(super) enum Members {
    /// Add a member to an organization, and print their user id.
    Add(Add),
    /// List the current members, oldest first, including service accounts.
    List(List),
    /// Change a member's role, and wait until every gateway has applied it.
    Role(ChangeRole),
    /// Remove a member, revoke their keys in the organization, and wait until every gateway has confirmed it.
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The person's e-mail address.
    email: EmailAddress,
    /// The person's name.
    #[arg(long)]
    name: Name,
    /// The role: owner, admin or member.
    #[arg(long)]
    role: Role,
    /// The organization, by name or id. Required if there are several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// Print only the user id.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only members of this organization, by name or id.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct ChangeRole {
    /// The member's e-mail address.
    email: EmailAddress,
    /// The new role: owner, admin or member.
    role: Role,
    /// The organization, by name or id. Required if the member is in several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The member's e-mail address.
    email: EmailAddress,
    /// The organization, by name or id. Required if the member is in several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    #[command(flatten)]
    wait: receipt::Wait,
    #[command(flatten)]
    database: DatabaseArgs,
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
        let member = self.database.with_service(add).await?;
        writeln!(anstream::stdout(), "{}", member.user_id)?;
        if !self.quiet {
            writeln!(
                anstream::stderr(),
                "added {} <{}> as {} of {}",
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
        rows(&self.database.with_service(list).await?).print(self.output)
    }
}

impl ChangeRole {
    async fn run(&self) -> Result<(), Failure> {
        self.database
            .with_service(async |service| self.change(&service).await)
            .await
    }

    async fn change(&self, service: &Service) -> Result<(), Failure> {
        let organization = self.organization.as_deref();
        let changing = service.change_role(&self.email, organization, self.role);
        let (member, sequence) = changing.await?;
        let done = format!("changed the role of {} to {}", member.email, member.role);
        receipt::wait_for_acknowledgements(service, sequence, &done).await
    }
}

impl Remove {
    async fn run(&self) -> Result<(), Failure> {
        self.database
            .with_service(async |service| self.remove(&service).await)
            .await
    }

    async fn remove(&self, service: &Service) -> Result<(), Failure> {
        let organization = self.organization.as_deref();
        let removed = service.remove_member(&self.email, organization).await?;
        let done = removed_sentence(&removed);
        let revocation = removed.revocation();
        self.wait
            .wait_for_acknowledgements(service, revocation, &done)
            .await
    }
}

/// States who was removed, and how many keys were revoked with it.
pub(super) fn removed_sentence(removed: &RemovedMember) -> String {
    let keys = match removed.keys {
        0 => "there was no live key".to_owned(),
        1 => "1 key ended".to_owned(),
        many => format!("{many} keys ended"),
    };
    format!("removed {}; {keys}", removed.member.email)
}

/// Members as the rows of a list.
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
