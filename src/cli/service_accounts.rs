//! `genkan service-accounts create | list | remove`.

use std::io::Write;

use clap::{Args, Subcommand};

use super::exit::Failure;
use super::members::{removed_sentence, rows};
use super::place::Place;
use super::settled;
use super::table::Output;
use crate::model::member::{EmailAddress, MemberKind, Name, Role};
use crate::service::{NewServiceAccount, Service, ServiceError};

/// What is done with service accounts.
#[derive(Debug, Subcommand)]
pub(super) enum ServiceAccounts {
    /// Create a service account, and print its address, by which `genkan keys create --member` names it.
    Create(Create),
    /// List the present service accounts, oldest first.
    List(List),
    /// Remove a service account, end every key of it, and wait until every gateway obeys.
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What it is called, such as `ci`; unique in its organization.
    name: Name,
    /// What its keys may manage: admin or member.
    #[arg(long, default_value_t = Role::Member)]
    role: Role,
    /// Name or id of the organization; needed where there are several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// Print the address alone, and say nothing.
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
pub(super) struct Remove {
    /// Its address, as `genkan service-accounts list` shows it.
    email: EmailAddress,
    #[command(flatten)]
    wait: settled::Wait,
    #[command(flatten)]
    place: Place,
}

impl ServiceAccounts {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
            Self::Remove(remove) => remove.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let new = NewServiceAccount {
            name: self.name,
            role: self.role,
        };
        let organization = self.organization.as_deref();
        let create =
            async |service: Service| Ok(service.create_service_account(new, organization).await?);
        let account = self.place.with_service(create).await?;
        writeln!(anstream::stdout(), "{}", account.email)?;
        if !self.quiet {
            writeln!(
                anstream::stderr(),
                "the service account {} is {} of {} now; it has no key yet",
                account.name,
                account.role,
                account.organization_id
            )?;
        }
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let organization = self.organization.as_deref();
        let list = async |service: Service| Ok(service.service_accounts(organization).await?);
        rows(&self.place.with_service(list).await?).print(self.output)
    }
}

impl Remove {
    async fn run(&self) -> Result<(), Failure> {
        self.place
            .with_service(async |service| self.remove(&service).await)
            .await
    }

    async fn remove(&self, service: &Service) -> Result<(), Failure> {
        let found = service.find_member(&self.email, None).await?;
        if found.kind != MemberKind::ServiceAccount {
            return Err(ServiceError::NotAServiceAccount(self.email.clone()).into());
        }
        let removed = service.remove_member(&self.email, None).await?;
        let done = removed_sentence(&removed);
        self.wait.settle(service, removed.revocation(), &done).await
    }
}
