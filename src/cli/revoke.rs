//! The commands `genkan keys revoke` and `genkan keys revoke-all`.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::database_args::DatabaseArgs;
use super::exit::Failure;
use super::receipt::{self, Ended, with_unit};
use crate::model::id::KeyId;
use crate::service::Service;

/// Interval between two progress messages.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The key's id.
    id: KeyId,
    /// Also revoke every key that was created with this key through the management API, and the keys created with
    /// those, and so on.
    #[arg(long)]
    with_children: bool,
    #[command(flatten)]
    wait: receipt::Wait,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
#[group(id = "target", required = true, multiple = false, args = ["organization", "everybody"])]
pub(super) struct RevokeAll {
    /// Every key of this organization.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// Every key of every organization.
    #[arg(long)]
    everybody: bool,
    /// Keep console sessions, sign-in links and open invitations. Otherwise they end at the same time, and everybody
    /// must sign in again.
    #[arg(long)]
    keep_sessions: bool,
    #[command(flatten)]
    wait: receipt::Wait,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Revoke {
    /// Runs the command.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        self.database
            .with_service(async |service| self.revoke(&service).await)
            .await
    }

    async fn revoke(&self, service: &Service) -> Result<(), Failure> {
        if self.with_children {
            return self.revoke_family(service).await;
        }
        let revoked = service.revoke_key(self.id).await?;
        let done = if revoked.was_revoked {
            "the key was revoked already"
        } else {
            "revoked"
        };
        self.wait
            .wait_for_acknowledgements(service, revoked.revocation(), done)
            .await
    }

    async fn revoke_family(&self, service: &Service) -> Result<(), Failure> {
        let revoked = service.revoke_key_with_children(self.id).await?;
        let done = match revoked.keys {
            0 => "the key and all keys created with it were revoked already".to_owned(),
            many => format!("revoked {}", with_unit(many, "key")),
        };
        let ended = Ended {
            keys: revoked.keys,
            sessions: None,
            sign_in_links: None,
            invitations: None,
        };
        let summary = (done.as_str(), Some(ended));
        self.wait
            .wait_and_report_counts(service, revoked.revocation(), summary)
            .await
    }
}

impl RevokeAll {
    /// Runs the command.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        self.database
            .with_service(async |service| self.revoke(&service).await)
            .await
    }

    async fn revoke(&self, service: &Service) -> Result<(), Failure> {
        let organization = self.organization.as_deref();
        let revoking = service.revoke_everything(organization, !self.keep_sessions);
        let (revoked, revocation) = revoking.await?;
        let keys = match revoked.keys {
            0 => "there was no live key".to_owned(),
            many => format!("revoked {}", with_unit(many, "key")),
        };
        let done = match revoked.access {
            None => keys,
            Some(ended) => format!(
                "{keys}; ended {}, {} and {}",
                with_unit(ended.sessions, "session"),
                with_unit(ended.sign_in_links, "sign-in link"),
                with_unit(ended.invitations, "invitation"),
            ),
        };
        let access = revoked.access;
        let ended = Ended {
            keys: revoked.keys,
            sessions: access.map(|ended| ended.sessions),
            sign_in_links: access.map(|ended| ended.sign_in_links),
            invitations: access.map(|ended| ended.invitations),
        };
        let summary = (done.as_str(), Some(ended));
        self.wait
            .wait_and_report_counts(service, revocation, summary)
            .await?;
        write_rows(service, revoked.keys).await
    }
}

/// Writes the rows of keys that a mark has revoked. Every key is refused already; with very many keys this takes long,
/// and the progress is printed.
async fn write_rows(service: &Service, keys: u64) -> Result<(), Failure> {
    let mut stderr = anstream::stderr();
    let mut reported_at = Instant::now();
    let progress = |written| {
        if reported_at.elapsed() >= PROGRESS_EVERY {
            reported_at = Instant::now();
            // An error of standard error does not stop the work.
            let _written = writeln!(
                stderr,
                "the keys are refused; {written} of {keys} rows are written"
            );
        }
    };
    if let Err(error) = service.write_marked_rows(progress).await {
        writeln!(
            anstream::stderr(),
            "the keys are refused, but not every row is written yet ({error}): a running gateway or the next \
             `genkan keys revoke-all` writes the others"
        )?;
    }
    Ok(())
}
