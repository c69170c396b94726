//! Exit codes and errors of the commands.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::config::print_errors;
use crate::config::ConfigErrors;
use crate::server::StartError;
use crate::service::ServiceError;
use crate::store::StoreError;

/// The exit codes, as `genkan --help` explains them.
pub const HELP: &str = "\
Exit codes:
  0  success
  1  failed for a reason that has no code of its own
  2  the command line is invalid
  3  the configuration, or something that it names, is invalid
  4  the database cannot be used: it does not exist, cannot be reached, is locked, read-only, or
     has a newer schema than this genkan
  5  something that was named does not exist
  6  it exists already, or a rule forbids the change
  7  the change is committed, but not every gateway has confirmed it
  8  an address cannot be bound, or a certificate cannot be read";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Ok,
    /// Failed for a reason that has no code of its own.
    Failed,
    /// The configuration, or something that it names, is invalid.
    Configuration,
    /// The database cannot be used.
    Store,
    /// Something that was named does not exist.
    NotFound,
    /// It exists already, or a rule forbids the change.
    Forbidden,
    /// The change is committed, but not every gateway has confirmed it.
    Unconfirmed,
    /// An address cannot be bound, or a certificate cannot be read.
    Start,
}

impl Exit {
    /// The exit code. Clap uses 2 for an invalid command line.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Configuration => 3,
            Self::Store => 4,
            Self::NotFound => 5,
            Self::Forbidden => 6,
            Self::Unconfirmed => 7,
            Self::Start => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed: one sentence, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Every error of the configuration, each with its line.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// `config check` found problems, which it has printed already.
    #[error("the configuration is invalid")]
    CheckFailed,
    /// An error of the service layer: a management rule, or its store.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// An error of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No `--config` was given, and the data directory holds no database.
    #[error(
        "there is no database at {}: start `genkan dev` once, or select it with --data DIR or --config FILE",
        .0.display()
    )]
    NoDatabase(PathBuf),
    /// The gateway did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An address of `genkan dev` is in use by another process.
    #[error("{0}")]
    BusyPort(String),
    /// Standard output or another file cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// Any other error, as text.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Prints the error to standard error, and returns the exit code.
    pub fn report(self) -> Exit {
        // An error of standard error cannot be reported; the exit code still can.
        let _written = match &self {
            Self::Config(errors) => print_errors(errors),
            Self::CheckFailed => Ok(()),
            // A closed pipe, as in `genkan keys list | head -1`, is not a failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return Exit::Ok,
            Self::Service(_)
            | Self::Store(_)
            | Self::NoDatabase(_)
            | Self::Start(_)
            | Self::BusyPort(_)
            | Self::Output(_)
            | Self::Other(_) => writeln!(anstream::stderr(), "genkan: {self}"),
        };
        self.exit()
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::CheckFailed => Exit::Configuration,
            Self::Store(error) | Self::Start(StartError::Store(error)) => {
                exit_of_store_error(error)
            }
            Self::Service(error) => exit_of_service_error(error),
            Self::NoDatabase(_) => Exit::Store,
            Self::Start(_) | Self::BusyPort(_) => Exit::Start,
            Self::Output(_) | Self::Other(_) => Exit::Failed,
        }
    }
}

fn exit_of_store_error(error: &StoreError) -> Exit {
    match error {
        StoreError::NotFound(_) => Exit::NotFound,
        StoreError::Exists(_)
        | StoreError::Forbidden(_)
        | StoreError::LastOwner(_)
        | StoreError::RoleLost
        | StoreError::AuthMethodEnded
        | StoreError::BeyondKey(_)
        | StoreError::OthersKeys
        | StoreError::Conflict(_) => Exit::Forbidden,
        StoreError::Unavailable(_)
        | StoreError::Unreachable(_)
        | StoreError::Absent(_)
        | StoreError::Locked(_)
        | StoreError::ReadOnly(_)
        | StoreError::Newer { .. }
        | StoreError::Unguarded(_)
        | StoreError::Corrupt(_) => Exit::Store,
    }
}

fn exit_of_service_error(error: &ServiceError) -> Exit {
    match error {
        ServiceError::Store(error) => exit_of_store_error(error),
        ServiceError::Unconfirmed(_) => Exit::Unconfirmed,
        ServiceError::UnknownMember(_)
        | ServiceError::NotAMember { .. }
        | ServiceError::UnknownOrganization(_)
        | ServiceError::NoOrganization
        | ServiceError::UnknownKey(_)
        | ServiceError::UnknownSession(_)
        | ServiceError::NoSuchMember(_)
        | ServiceError::NoSuchInvitation(_) => Exit::NotFound,
        ServiceError::WhichOrganization(_)
        | ServiceError::ExpiresInThePast
        | ServiceError::ExpiresTooLate
        | ServiceError::NoScope
        | ServiceError::ScopeBeyondRole { .. }
        | ServiceError::NotAllowed(_)
        | ServiceError::NotYourKey(_)
        | ServiceError::AddressNotProven
        | ServiceError::KeyBeforeProof
        | ServiceError::KeyManagesNothing
        | ServiceError::NotAServiceAccount(_)
        | ServiceError::ServiceAccountOwns
        | ServiceError::ServiceAccountSignsIn
        | ServiceError::LinkUsed
        | ServiceError::NotInvited(_)
        | ServiceError::NotConfirmed
        | ServiceError::OverlapTooLong
        | ServiceError::IdleTimeOutOfBounds
        | ServiceError::FirstMustOwn(_) => Exit::Forbidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_explains_every_code_and_no_other() {
        let documented: Vec<u8> = HELP
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        let mut codes: Vec<u8> = [
            Exit::Ok,
            Exit::Failed,
            Exit::Configuration,
            Exit::Store,
            Exit::NotFound,
            Exit::Forbidden,
            Exit::Unconfirmed,
            Exit::Start,
        ]
        .map(Exit::code)
        .to_vec();
        // Clap exits with 2 if the command line is invalid.
        codes.push(2);
        codes.sort_unstable();
        assert_eq!(documented, codes);
    }
}
