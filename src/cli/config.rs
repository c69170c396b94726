//! The commands `genkan config check`, `show` and `example`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::exit::Failure;
use super::probe::{self, Probe};
use crate::config::{self, Config, ConfigErrors, RenderStyle, Store};

/// Check and show configurations, and print an example.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file and report every error, then test the database, the upstreams and the certificates.
    ///
    /// Exit code 0: every check passed; 3: at least one failed.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print the effective configuration, overrides and defaults included, with secrets hidden.
    Show {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print a commented example configuration with every key, its default and the reason for it.
    Example,
}

impl ConfigCommand {
    /// Runs the command. `probe_store` opens the database, and returns its description or what to do.
    ///
    /// # Errors
    /// The errors of the configuration, or an error when writing the output.
    pub async fn run(
        self,
        probe_store: impl AsyncFnOnce(&Store) -> Result<String, String>,
    ) -> Result<(), Failure> {
        match self {
            Self::Check { config } => check(&load(&config)?, probe_store).await,
            Self::Show { config } => print(&load(&config)?.show()),
            Self::Example => print(&config::example()),
        }
    }
}

fn load(path: &Path) -> Result<Config, ConfigErrors> {
    config::load(path, config::environment())
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(anstream::stdout().write_all(text.as_bytes())?)
}

/// Writes all errors to standard error, with colours and Unicode where it supports them.
///
/// # Errors
/// An error when writing to standard error.
pub fn print_errors(errors: &ConfigErrors) -> io::Result<()> {
    let look = RenderStyle {
        // anstream removes the colours for NO_COLOR or if standard error is not a terminal.
        colour: true,
        unicode: io::IsTerminal::is_terminal(&io::stderr()),
    };
    anstream::stderr().write_all(errors.render(look).as_bytes())
}

async fn check(
    config: &Config,
    probe_store: impl AsyncFnOnce(&Store) -> Result<String, String>,
) -> Result<(), Failure> {
    let mut stderr = anstream::stderr();
    writeln!(stderr, "ok: the configuration is complete")?;
    let mut probes = vec![Probe {
        what: "database".to_owned(),
        result: probe_store(&config.store).await,
    }];
    probes.extend(probe::files(config));
    probes.extend(probe::upstreams(config).await);
    for probe in &probes {
        writeln!(stderr, "{probe}")?;
    }
    if probes.iter().all(|probe| probe.result.is_ok()) {
        Ok(())
    } else {
        Err(Failure::CheckFailed)
    }
}
