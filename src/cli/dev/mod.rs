//! The command `genkan dev`: runs a gateway on loopback addresses of this machine, for trying it out.

mod bootstrap;
mod self_check;
mod welcome;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tokio::net::TcpListener;

use super::exit::Failure;
use super::serve::Signals;
use super::{database_args, logging};
use crate::config::{self, Config};
use crate::demo;
use crate::model::clock::SystemClock;
use crate::model::language::Language;
use crate::model::random::SystemEntropy;
use crate::server::{Server, StartError};
use crate::service::Service;
use crate::store::{self, WhenAbsent};
use self_check::SelfCheck;
use welcome::Welcome;

/// Start a gateway on this machine for trying it out. Later runs keep the data.
#[derive(Debug, Args)]
pub(super) struct Dev {
    /// The data directory, which holds the database.
    #[arg(long, value_name = "DIR", default_value = database_args::DATA_DEFAULT)]
    data: PathBuf,
    /// The address for clients; a loopback address.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    proxy: SocketAddr,
    /// The address for operators; a loopback address.
    #[arg(long, value_name = "ADDR", default_value = database_args::ADMIN_DEFAULT)]
    admin: SocketAddr,
    /// The URL of an upstream to use instead of the demo, such as `https://genesis.autify.com`.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Number of worker threads. Default: one for each core.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// The language of the output. Default: the language of the environment.
    #[arg(long, value_parser = language())]
    lang: Option<Language>,
}

impl Dev {
    pub(super) async fn run(self) -> Result<(), Failure> {
        loopback("--proxy", self.proxy)?;
        loopback("--admin", self.admin)?;
        let language = self
            .lang
            .or_else(|| Language::of_tag(&config::locale()?))
            .unwrap_or(Language::En);
        let mut signals = Signals::listen()?;
        let upstream = match &self.upstream {
            Some(url) => url.clone(),
            None => start_demo().await?,
        };
        let config = self.config(&upstream)?;
        let _log = logging::init(&config.log, config.limits.log_lines_max);
        let clock = Arc::new(SystemClock);
        let store = store::open(&config.store, WhenAbsent::Create).await?;
        let service = Service::new(
            Arc::clone(&store),
            Arc::clone(&clock) as _,
            Arc::new(SystemEntropy),
        );
        let server = match Server::bind(config, store, clock).await {
            Ok(server) => server,
            Err(error) => return Err(self.explain(error)),
        };
        let addresses = server.addresses().clone();
        let _written = database_args::AdminAddress::write(&self.data, addresses.admin);
        let gateway = addresses
            .listeners
            .first()
            .map_or(self.proxy, |(_name, address)| *address);
        let mut serving = std::pin::pin!(signals.serve(server));
        // Only after binding: a first run that cannot bind must not create the first key, which is shown once. And the
        // gateway knows a key only while it serves.
        let checked = async {
            let bootstrap = bootstrap::bootstrap(&service).await?;
            let check = SelfCheck {
                service: &service,
                owner: &bootstrap.owner,
                gateway,
                demo: self.upstream.is_none(),
            };
            let checked = check.run().await?;
            let (_owner, link) = service.create_sign_in_link(&bootstrap.owner, None).await?;
            Ok::<_, Failure>((checked, bootstrap, link))
        };
        let (checked, bootstrap, link) = tokio::select! {
            ended = &mut serving => return ended.map(|_ended| ()),
            checked = checked => checked?,
        };
        let welcome = Welcome {
            language,
            database: database_args::database_in(&self.data),
            upstream: self.upstream.as_deref(),
            gateway,
            admin: addresses.admin,
            sign_in_link: &link,
            first_key: bootstrap.first_key.as_ref(),
            owner: &bootstrap.owner,
            data: &self.data,
            checked,
        };
        welcome.print()?;
        let ended = serving.await?;
        tracing::info!(finished = ended.finished, cut = ended.cut, "ended");
        Ok(())
    }

    /// Builds the configuration as TOML, so that it is checked like a file.
    fn config(&self, upstream: &str) -> Result<Config, Failure> {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let host = if self.upstream.is_some() {
            "upstream"
        } else {
            "preserve"
        };
        let workers = self
            .workers
            .map(|n| format!("workers = {n}\n"))
            .unwrap_or_default();
        let text = format!(
            "{workers}\
             [[listeners]]\nname = \"main\"\naddress = {proxy}\n\
             [admin]\naddress = {admin}\n\
             [upstreams.genesis]\nurls = [{upstream}]\nhost = \"{host}\"\n\
             [[routes]]\nname = \"api\"\npath_prefix = \"/api/\"\nupstream = \"genesis\"\nscope = \"api\"\n\
             [[routes]]\nname = \"mcp\"\npath_prefix = \"/mcp\"\nupstream = \"genesis\"\nscope = \"mcp\"\nmcp = true\n\
             [store]\nsqlite = {database}\n\
             [log]\nlevel = \"warn\"\n\
             [limits]\nconnections_max = 1_000\n",
            proxy = quoted(&self.proxy.to_string()),
            admin = quoted(&self.admin.to_string()),
            upstream = quoted(upstream),
            database = quoted(&database_args::database_in(&self.data).display().to_string()),
        );
        let base = std::path::Path::new("");
        Ok(config::parse(
            "genkan dev",
            &text,
            base,
            config::environment(),
        )?)
    }

    /// Names the flag that changes the address if the port is in use, a common error of a first run.
    fn explain(&self, error: StartError) -> Failure {
        let StartError::Bind(bind) = &error else {
            return error.into();
        };
        if bind.source.kind() != std::io::ErrorKind::AddrInUse {
            return error.into();
        }
        let flag = if bind.address == self.admin {
            "--admin"
        } else {
            "--proxy"
        };
        Failure::BusyPort(format!("{error} with `{flag} 127.0.0.1:PORT`"))
    }
}

/// Parses a language by its tag.
fn language() -> impl TypedValueParser<Value = Language> {
    PossibleValuesParser::new(Language::ALL.map(Language::as_str))
        .map(|tag| Language::of_tag(&tag).unwrap_or(Language::En))
}

fn loopback(flag: &str, address: SocketAddr) -> Result<(), Failure> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::Other(format!(
        "{flag} {address} is not a loopback address: `genkan dev` is for this machine only. Use \
         127.0.0.1, or `genkan serve --config FILE` for others"
    )))
}

/// Starts the demo upstream in this process, on a port that the system chooses.
async fn start_demo() -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|error| Failure::Other(format!("cannot start the demo upstream: {error}")))?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::Other(format!("cannot start the demo upstream: {error}")))?;
    tokio::spawn(demo::serve(listener, std::future::pending()));
    Ok(format!("http://{address}"))
}
