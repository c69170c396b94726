//! `genkan keys create | import`.

use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::new_key::{Printing, describe};
use crate::cli::exit::Failure;
use crate::cli::place::Place;
use crate::cli::{duration, settled};
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
    place: Place,
}

/// What a key shall be.
#[derive(Debug, Args)]
pub(super) struct New {
    /// What its owner calls it.
    #[arg(long)]
    name: Name,
    /// Its owner's address; a service account has one too (`genkan service-accounts list`).
    #[arg(long, value_name = "EMAIL")]
    member: EmailAddress,
    /// Name or id of the organization; needed where the owner is in several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// How long it is good for, such as 90d, 12h or 30m; at most 3650d. Without it: until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    expires: Option<Duration>,
    /// What it may be used for: api, mcp or manage. May be repeated. Without it: api and mcp.
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
    /// Print the id alone, and say nothing.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    place: Place,
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
            place,
        } = self;
        let create = async |service: Service| {
            let (key, plain, sequence) = service.create_key(new.into()).await?;
            let note = "shown once: keep it now, nobody can show it again";
            let printed = printing.hand_over(&service, (&key, &plain), sequence, note);
            printed.await
        };
        place.with_service(create).await
    }
}

impl Import {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self {
            hash,
            new,
            quiet,
            place,
        } = self;
        let import = ImportedKey {
            key: new.into(),
            hash,
        };
        let import = async |service: Service| {
            let (key, sequence) = service.import_key(import).await?;
            writeln!(anstream::stdout(), "{}", key.id)?;
            if quiet {
                settled::wait(&service, sequence).await?;
                return Ok(());
            }
            describe(
                &key,
                "imported by its hash: callers go on using the key that they have",
            )?;
            settled::settle(&service, sequence, "the key works").await
        };
        place.with_service(import).await
    }
}
