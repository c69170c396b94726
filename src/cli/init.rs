//! The command `genkan init`: creates the database, or migrates its schema.

use std::io::Write;

use clap::Args;

use super::database_args::DatabaseArgs;
use super::exit::Failure;
use crate::store::{self, WhenAbsent};

/// Create the database, or bring the schema of an existing one up to date.
#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Init {
    /// Runs the command. If the database exists, its schema is brought up to date and its data are kept.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let store = store::open(&self.database.store_config()?, WhenAbsent::Create).await?;
        let described = store.describe().await;
        store.close().await;
        Ok(writeln!(anstream::stderr(), "ready: {}", described?)?)
    }
}
