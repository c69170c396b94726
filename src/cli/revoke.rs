//! `genkan keys revoke | revoke-all`.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::exit::Failure;
use super::place::Place;
use super::settled::{self, Ended, counted};
use crate::model::id::KeyId;
use crate::service::Service;

/// Between two lines that say how far a long work is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The key's id.
    id: KeyId,
    /// With it, every key that was made with it through the management API, or with one of those, and so on.
    #[arg(long)]
    with_children: bool,
    #[command(flatten)]
    wait: settled::Wait,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
#[group(id = "whose", required = true, multiple = false, args = ["organization", "everybody"])]
pub(super) struct RevokeAll {
    /// Every key of this organization.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// Every key of every organization.
    #[arg(long)]
    everybody: bool,
    /// Leave console sessions, sign-in links and open invitations as they are. Without it they end in the same
    /// moment, and everybody has to sign in again.
    #[arg(long)]
    keep_sessions: bool,
    #[command(flatten)]
    wait: settled::Wait,
    #[command(flatten)]
    place: Place,
}

impl Revoke {
    /// Runs the command.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        self.place
            .with_service(async |service| self.revoke(&service).await)
            .await
    }

    async fn revoke(&self, service: &Service) -> Result<(), Failure> {
        if self.with_children {
            return self.revoke_family(service).await;
        }
        let revoked = service.revoke_key(self.id).await?;
        let done = if revoked.was_revoked {
            "was revoked already"
        } else {
            "revoked"
        };
        self.wait.settle(service, revoked.revocation(), done).await
    }

    async fn revoke_family(&self, service: &Service) -> Result<(), Failure> {
        let revoked = service.revoke_key_with_children(self.id).await?;
        let done = match revoked.keys {
            0 => "it and all keys that come from it were revoked already".to_owned(),
            many => format!("revoked {}", counted(many, "key")),
        };
        let ended = Ended {
            keys: revoked.keys,
            sessions: None,
            sign_in_links: None,
            invitations: None,
        };
        let told = (done.as_str(), Some(ended));
        self.wait
            .settle_counted(service, revoked.revocation(), told)
            .await
    }
}

impl RevokeAll {
    /// Runs the command.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        self.place
            .with_service(async |service| self.revoke(&service).await)
            .await
    }

    async fn revoke(&self, service: &Service) -> Result<(), Failure> {
        let organization = self.organization.as_deref();
        let revoking = service.revoke_everything(organization, !self.keep_sessions);
        let (revoked, revocation) = revoking.await?;
        let keys = match revoked.keys {
            0 => "there was no live key".to_owned(),
            many => format!("revoked {}", counted(many, "key")),
        };
        let done = match revoked.access {
            None => keys,
            Some(ended) => format!(
                "{keys}; ended {}, {} and {}",
                counted(ended.sessions, "session"),
                counted(ended.sign_in_links, "sign-in link"),
                counted(ended.invitations, "invitation"),
            ),
        };
        let access = revoked.access;
        let ended = Ended {
            keys: revoked.keys,
            sessions: access.map(|ended| ended.sessions),
            sign_in_links: access.map(|ended| ended.sign_in_links),
            invitations: access.map(|ended| ended.invitations),
        };
        let told = (done.as_str(), Some(ended));
        self.wait.settle_counted(service, revocation, told).await?;
        write_rows(service, revoked.keys).await
    }
}

/// Every key is refused by now; of very many, the rows still have to say so. Where that takes long, how far it is.
async fn write_rows(service: &Service, keys: u64) -> Result<(), Failure> {
    let mut stderr = anstream::stderr();
    let mut said = Instant::now();
    let progress = |written| {
        if said.elapsed() >= PROGRESS_EVERY {
            said = Instant::now();
            // Without somebody who reads it the work goes on.
            let _written = writeln!(
                stderr,
                "the keys are refused; {written} of {keys} rows say so"
            );
        }
    };
    if let Err(error) = service.write_marked_rows(progress).await {
        writeln!(
            anstream::stderr(),
            "the keys are refused, but not every row says so yet ({error}): the next gateway or `genkan keys revoke-all` \
             writes the others"
        )?;
    }
    Ok(())
}
