//! `genkan sign-in-link`: the way into the console for who has access to the server.

use std::io::Write;

use clap::Args;

use super::exit::Failure;
use super::place::Place;
use crate::model::member::EmailAddress;
use crate::service::Service;
use crate::service::sign_in::SIGN_IN_LINK_LIFETIME;

/// Print a link with which a member signs in to the console, once, within 15 minutes.
#[derive(Debug, Args)]
pub(super) struct SignInLink {
    /// Whose browser it is for. Whoever uses the link counts as having proven this address, and reaches every
    /// organization with a member of it.
    email: EmailAddress,
    /// In which organization, by name or id; needed where they are in several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// Where people reach the console. Without it: `url` of `[admin]` in the configuration, or the address
    /// that is written there; of a data folder, where its `genkan dev` listens.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print the link alone, and say nothing.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    place: Place,
}

impl SignInLink {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let base = match &self.url {
            Some(url) => url.clone(),
            None => self.place.console_url()?,
        };
        let link = async |service: Service| {
            let organization = self.organization.as_deref();
            Ok(service
                .create_sign_in_link(&self.email, organization)
                .await?)
        };
        let (member, token) = self.place.with_service(link).await?;
        let base = base.trim_end_matches('/');
        writeln!(anstream::stdout(), "{base}/sign-in/{}", token.expose())?;
        if !self.quiet {
            writeln!(
                anstream::stderr(),
                "for {} <{}>, {}; works once, within {} minutes",
                member.name,
                member.email,
                member.role,
                SIGN_IN_LINK_LIFETIME.as_secs() / 60,
            )?;
        }
        Ok(())
    }
}
