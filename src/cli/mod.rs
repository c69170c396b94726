//! The command line. Standard output is data, standard error is talk; every command ends in one of
//! the codes of [`exit::Exit`].

mod audit;
mod completions;
pub mod config;
mod dev;
mod duration;
pub mod exit;
mod healthcheck;
mod init;
mod keys;
mod logging;
mod members;
mod organizations;
mod place;
pub mod probe;
mod revoke;
mod serve;
mod service_accounts;
mod sessions;
mod settled;
mod sign_in_link;
mod status;
mod table;
mod terminal;

use clap::{Parser, Subcommand};

use crate::store::{self, WhenAbsent};
use exit::{Exit, Failure};

/// An authentication gateway: it recognises callers by API key before they step in.
#[derive(Debug, Parser)]
#[command(name = "genkan", version, after_long_help = exit::HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a gateway on this machine to try it: SQLite, a demo upstream, a first key.
    Dev(dev::Dev),
    /// Run the gateway.
    Serve(serve::Serve),
    /// Create the database of a configuration, or bring its schema up to date.
    Init(init::Init),
    /// Check, show, or begin a configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Create, list, rename, rotate, revoke and import keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Add, list, promote and remove members.
    #[command(subcommand)]
    Members(members::Members),
    /// Create, list and remove service accounts: members whose only way in is their keys.
    #[command(subcommand)]
    ServiceAccounts(service_accounts::ServiceAccounts),
    /// Create and list organizations.
    #[command(subcommand)]
    Organizations(organizations::Organizations),
    /// Print a link with which a member signs in to the console, once.
    SignInLink(sign_in_link::SignInLink),
    /// List and end sessions of the console.
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    /// Check and export the audit log.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Show the database and every gateway on it.
    Status(status::Status),
    /// Ask a running gateway whether it is ready.
    Healthcheck(healthcheck::Healthcheck),
    /// Write completions for a shell to standard output.
    Completions(completions::Completions),
}

impl Cli {
    /// Runs the command. Whatever went wrong is said on standard error.
    pub async fn run(self) -> Exit {
        let done = match self.command {
            Command::Dev(dev) => dev.run().await,
            Command::Serve(serve) => serve.run().await,
            Command::Init(init) => init.run().await,
            Command::Config(config) => run_config(config).await,
            Command::Keys(keys) => keys.run().await,
            Command::Members(members) => members.run().await,
            Command::ServiceAccounts(accounts) => accounts.run().await,
            Command::Organizations(organizations) => organizations.run().await,
            Command::SignInLink(link) => link.run().await,
            Command::Sessions(sessions) => sessions.run().await,
            Command::Audit(audit) => audit.run().await,
            Command::Status(status) => status.run().await,
            Command::Healthcheck(healthcheck) => healthcheck.run().await,
            Command::Completions(completions) => completions.run(),
        };
        match done {
            Ok(()) => Exit::Ok,
            Err(failure) => failure.tell(),
        }
    }
}

async fn run_config(command: config::ConfigCommand) -> Result<(), Failure> {
    command
        .run(async |store| {
            let opened = store::open(store, WhenAbsent::Refuse).await;
            let store = opened.map_err(|error| error.to_string())?;
            // What `serve` asks before it registers.
            let checked = async {
                store.check_gateway().await?;
                store.describe().await
            };
            let description = checked
                .await
                .map_err(|error: store::StoreError| error.to_string());
            store.close().await;
            description
        })
        .await
}
