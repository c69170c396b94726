//! The commands `genkan service-accounts create`, `list` and `remove`.

use std::io::Write;

use clap::{Args, Subcommand};

use super::database_args::DatabaseArgs;
use super::exit::Failure;
use super::members::{removed_sentence, rows};
use super::receipt;
use super::table::Output;
use crate::model::member::{EmailAddress, MemberKind, Name, Role};
use crate::service::{NewServiceAccount, Service, ServiceError};

/// Create, list and remove service accounts.
#[derive(Debug, Subcommand)]
pub(super) enum ServiceAccounts {
    /// Create a service account, and print its e-mail address, for `genkan keys create --member`.
    Create(Create),
    /// List the current service accounts, oldest first.
    List(List),
    /// Remove a service account, revoke its keys, and wait until every gateway has confirmed it.
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The name, such as `ci`; unique in its organization.
    name: Name,
    /// The role, which limits what its keys may manage: admin or member.
    #[arg(long, default_value_t = Role::Member)]
    role: Role,
    /// The organization, by name or id. Required if there are several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// Print only the e-mail address.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only service accounts of this organization, by name or id.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The e-mail address, as `genkan service-accounts list` shows it.
    email: EmailAddress,
    #[command(flatten)]
    wait: receipt::Wait,
    #[command(flatten)]
    database: DatabaseArgs,
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
        let account = self.database.with_service(create).await?;
        writeln!(anstream::stdout(), "{}", account.email)?;
        if !self.quiet {
            writeln!(
                anstream::stderr(),
                "created the service account {} as {} of {}; it has no key yet",
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
        rows(&self.database.with_service(list).await?).print(self.output)
    }
}

impl Remove {
    async fn run(&self) -> Result<(), Failure> {
        self.database
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
        self.wait
            .wait_for_acknowledgements(service, removed.revocation(), &done)
            .await
    }
}
