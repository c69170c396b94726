//! The command line. Commands write data to standard output and messages to standard error, and exit with one of
//! the codes of [`exit::Exit`].

mod audit;
mod completions;
pub mod config;
mod database_args;
mod dev;
mod duration;
pub mod exit;
mod healthcheck;
mod init;
mod keys;
mod logging;
mod members;
mod organizations;
pub mod probe;
mod receipt;
mod revoke;
mod serve;
mod service_accounts;
mod sessions;
mod sign_in_link;
mod status;
mod table;
mod terminal;

use clap::{Parser, Subcommand};

use crate::store::{self, WhenAbsent};
use exit::{Exit, Failure};

/// An authentication gateway: it checks the API keys of requests before they reach an upstream.
#[derive(Debug, Parser)]
#[command(name = "genkan", version, after_long_help = exit::HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a gateway on this machine for trying it out, with SQLite, a demo upstream and a first key.
    Dev(dev::Dev),
    /// Run the gateway.
    Serve(serve::Serve),
    /// Create the database, or bring its schema up to date.
    Init(init::Init),
    /// Check and show configurations, and print an example.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Create, list, change and revoke API keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Add, list and remove members, and change their roles.
    #[command(subcommand)]
    Members(members::Members),
    /// Create, list and remove service accounts: members that authenticate only with keys.
    #[command(subcommand)]
    ServiceAccounts(service_accounts::ServiceAccounts),
    /// Create and list organizations.
    #[command(subcommand)]
    Organizations(organizations::Organizations),
    /// Create a link with which a member can sign in to the console once.
    SignInLink(sign_in_link::SignInLink),
    /// List and end console sessions.
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    /// Verify and export the audit log.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Show the database and every gateway that uses it.
    Status(status::Status),
    /// Check whether a running gateway is ready.
    Healthcheck(healthcheck::Healthcheck),
    /// Print a completion script for a shell.
    Completions(completions::Completions),
}

impl Cli {
    /// Runs the command, and prints an error to standard error if it fails.
    pub async fn run(self) -> Exit {
        let result = match self.command {
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
        match result {
            Ok(()) => Exit::Ok,
            Err(failure) => failure.report(),
        }
    }
}

async fn run_config(command: config::ConfigCommand) -> Result<(), Failure> {
    command
        .run(async |store| {
            let opened = store::open(store, WhenAbsent::Refuse).await;
            let store = opened.map_err(|error| error.to_string())?;
            // The same check as `serve` makes before it registers.
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
