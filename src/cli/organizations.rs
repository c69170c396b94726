//! The commands `genkan organizations create` and `genkan organizations list`.

use std::io::Write;

use clap::{Args, Subcommand};

use super::database_args::DatabaseArgs;
use super::exit::Failure;
use super::table::{self, Output, Rows};
use crate::model::member::{Name, Organization};

/// Create and list organizations.
#[derive(Debug, Subcommand)]
pub(super) enum Organizations {
    /// Create an organization, and print its id.
    Create(Create),
    /// List all organizations, oldest first.
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The name, which no other organization may have.
    name: Name,
    /// Print only the id.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Organizations {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let create = async |service: crate::service::Service| {
            Ok(service.create_organization(self.name).await?)
        };
        let created = self.database.with_service(create).await?;
        writeln!(anstream::stdout(), "{}", created.id)?;
        if !self.quiet {
            writeln!(
                anstream::stderr(),
                "created the organization {}; its first member must be an owner: `genkan members \
                 add EMAIL --name NAME --role owner`",
                created.name
            )?;
        }
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let all = self
            .database
            .with_service(async |service| Ok(service.organizations().await?));
        rows(&all.await?).print(self.output)
    }
}

fn rows(all: &[Organization]) -> Rows<3> {
    let values = all.iter().map(|one| {
        [
            one.id.to_string().into(),
            one.name.as_str().into(),
            table::time(one.created_at),
        ]
    });
    Rows {
        fields: ["id", "name", "created_at"],
        values: values.collect(),
    }
}
