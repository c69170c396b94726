//! `genkan init`: a new database, on purpose.

use std::io::Write;

use clap::Args;

use super::exit::Failure;
use super::place::Place;
use crate::store::{self, WhenAbsent};

/// Which database.
#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    place: Place,
}

impl Init {
    /// Runs the command. Of a database that exists, the schema is brought up to date and the data are kept.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let store = store::open(&self.place.database()?, WhenAbsent::Create).await?;
        let described = store.describe().await;
        store.close().await;
        Ok(writeln!(anstream::stderr(), "ready: {}", described?)?)
    }
}
