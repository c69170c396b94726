//! The command `genkan sign-in-link`: lets an operator with access to the server create a console sign-in link.

use std::io::Write;

use clap::Args;

use super::database_args::DatabaseArgs;
use super::exit::Failure;
use crate::model::member::EmailAddress;
use crate::service::Service;
use crate::service::sign_in::SIGN_IN_LINK_LIFETIME;

/// Create a link with which a member can sign in to the console once, within 15 minutes.
#[derive(Debug, Args)]
pub(super) struct SignInLink {
    /// The member's e-mail address. Using the link counts as proof of control of this address, and gives access to
    /// every organization that has a member with it.
    email: EmailAddress,
    /// The organization, by name or id. Required if the member is in several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// The URL of the console. Default: `url` of `[admin]` in the configuration, or else the `address` there; for a
    /// data directory, the admin address of its `genkan dev`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print only the link.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl SignInLink {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let base = match &self.url {
            Some(url) => url.clone(),
            None => self.database.console_url()?,
        };
        let link = async |service: Service| {
            let organization = self.organization.as_deref();
            Ok(service
                .create_sign_in_link(&self.email, organization)
                .await?)
        };
        let (member, token) = self.database.with_service(link).await?;
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
