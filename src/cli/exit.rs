//! How commands end.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::config::complain;
use crate::config::ConfigErrors;
use crate::server::StartError;
use crate::service::ServiceError;
use crate::store::StoreError;

/// The codes, as `genkan --help` explains them.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  failed for a reason of its own
  2  the command line is not understood
  3  the configuration, or something it names, is not right
  4  the database cannot be used: absent, away, locked, read-only, or newer than this genkan
  5  what was named does not exist
  6  it exists already, or a rule forbids it
  7  the change is committed, but not every gateway has confirmed it
  8  an address cannot be bound, or a certificate cannot be read";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// Failed for a reason of its own.
    Failed,
    /// The configuration is not right.
    Configuration,
    /// The store cannot be used.
    Store,
    /// What was named does not exist.
    NotFound,
    /// It exists already, or a rule forbids it.
    Forbidden,
    /// Committed, and not confirmed by every gateway.
    Unsettled,
    /// An address or a certificate.
    Start,
}

impl Exit {
    /// The number that the shell sees; 2 is clap's.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Configuration => 3,
            Self::Store => 4,
            Self::NotFound => 5,
            Self::Forbidden => 6,
            Self::Unsettled => 7,
            Self::Start => 8,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it was asked: one sentence, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Every mistake of the configuration, each with its place.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What `config check` found, which has been said already.
    #[error("the configuration is not right")]
    Checked,
    /// A management rule, or the store under it.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No `--config` was given, and the data folder holds no database.
    #[error(
        "there is no database at {}: start `genkan dev` once, or say where it is with --data DIR or --config FILE",
        .0.display()
    )]
    NoDatabase(PathBuf),
    /// The gateway did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An address of `genkan dev` that another process has.
    #[error("{0}")]
    BusyPort(String),
    /// Standard output or another file.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Says what happened on standard error, and how to end.
    pub fn tell(self) -> Exit {
        // Standard error is gone too when this fails: the code still says it.
        let _told = match &self {
            Self::Config(errors) => complain(errors),
            Self::Checked => Ok(()),
            // `genkan keys list | head -1` is no failure.
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
            Self::Config(_) | Self::Checked => Exit::Configuration,
            Self::Store(error) | Self::Start(StartError::Store(error)) => of_store(error),
            Self::Service(error) => of_service(error),
            Self::NoDatabase(_) => Exit::Store,
            Self::Start(_) | Self::BusyPort(_) => Exit::Start,
            Self::Output(_) | Self::Other(_) => Exit::Failed,
        }
    }
}

fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::NotFound(_) => Exit::NotFound,
        StoreError::Exists(_)
        | StoreError::Forbidden(_)
        | StoreError::LastOwner(_)
        | StoreError::RoleLost
        | StoreError::MeansEnded
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

fn of_service(error: &ServiceError) -> Exit {
    match error {
        ServiceError::Store(error) => of_store(error),
        ServiceError::Unsettled(_) => Exit::Unsettled,
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
        | ServiceError::SilenceOutOfBounds
        | ServiceError::FirstMustOwn(_) => Exit::Forbidden,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_explains_every_code_and_no_other() {
        let explained: Vec<u8> = HELP
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        let mut ends: Vec<u8> = [
            Exit::Ok,
            Exit::Failed,
            Exit::Configuration,
            Exit::Store,
            Exit::NotFound,
            Exit::Forbidden,
            Exit::Unsettled,
            Exit::Start,
        ]
        .map(Exit::code)
        .to_vec();
        // clap ends with 2 where the command line is not understood.
        ends.push(2);
        ends.sort_unstable();
        assert_eq!(explained, ends);
    }
}
