//! The commands `genkan keys create` and `genkan keys import`.

use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::new_key::{Printing, describe};
use crate::cli::database_args::DatabaseArgs;
use crate::cli::exit::Failure;
use crate::cli::{duration, receipt};
use crate::model::key::KeyHash;
use crate::model::member::{EmailAddress, Name};
use crate::model::scope::{Scope, Scopes};
use crate::service::{ImportedKey, NewKey, Service};

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    #[command(flatten)]
    pub(super) new: New,
    #[command(flatten)]
    printing: Printing,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// The properties of a new key.
#[derive(Debug, Args)]
pub(super) struct New {
    /// The name of the key.
    #[arg(long)]
    name: Name,
    /// The e-mail address of the owner. A service account has one too (`genkan service-accounts list`).
    #[arg(long, value_name = "EMAIL")]
    member: EmailAddress,
    /// The organization, by name or id. Required if the owner is a member of several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// How long the key is valid, such as 90d, 12h or 30m; at most 3650d. Default: until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    expires: Option<Duration>,
    /// A scope of the key: api, mcp or manage. May be repeated. Default: api and mcp.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// The SHA-256 of the key, as `printf %s KEY | sha256sum` prints it.
    #[arg(long = "sha256", value_name = "HEX")]
    hash: KeyHash,
    #[command(flatten)]
    new: New,
    /// Print only the id.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl From<New> for NewKey {
    fn from(new: New) -> Self {
        Self {
            name: new.name,
            member: new.member,
            organization: new.organization,
            scopes: if new.scopes.is_empty() {
                Scopes::DEFAULT
            } else {
                new.scopes.into_iter().collect()
            },
            expires_in: new.expires,
        }
    }
}

impl Create {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self {
            new,
            printing,
            database,
        } = self;
        let create = async |service: Service| {
            let (key, plain, sequence) = service.create_key(new.into()).await?;
            let note = "shown once: copy it now, it cannot be shown again";
            let printed = printing.print_and_wait(&service, (&key, &plain), sequence, note);
            printed.await
        };
        database.with_service(create).await
    }
}

impl Import {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self {
            hash,
            new,
            quiet,
            database,
        } = self;
        let import = ImportedKey {
            key: new.into(),
            hash,
        };
        let import = async |service: Service| {
            let (key, sequence) = service.import_key(import).await?;
            writeln!(anstream::stdout(), "{}", key.id)?;
            if quiet {
                receipt::wait(&service, sequence).await?;
                return Ok(());
            }
            describe(&key, "imported by its hash: callers keep using their key")?;
            receipt::wait_for_acknowledgements(&service, sequence, "the key works").await
        };
        database.with_service(import).await
    }
}
