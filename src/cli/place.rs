//! Which database a management command works on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::exit::Failure;
use crate::config;
use crate::model::clock::SystemClock;
use crate::model::random::SystemEntropy;
use crate::service::Service;
use crate::store::{self, Management, WhenAbsent};

/// The data folder of `genkan dev`, where none is named.
pub(super) const DATA_DEFAULT: &str = "data";

/// Where operators and people connect to `genkan dev`, unless it is told otherwise.
pub(super) const ADMIN_DEFAULT: &str = "127.0.0.1:8081";

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub(super) struct Place {
    /// The gateway's configuration; its database is used.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// A data folder of `genkan dev`.
    #[arg(long, value_name = "DIR", default_value = DATA_DEFAULT)]
    data: PathBuf,
}

/// The database file in a data folder.
pub(super) fn database_in(data: &Path) -> PathBuf {
    data.join("genkan.db")
}

impl Place {
    /// Opens the database.
    pub(super) async fn store(&self) -> Result<Arc<dyn Management>, Failure> {
        let place = self.database()?;
        if let config::Store::Sqlite { path } = &place
            && self.config.is_none()
            && !path.exists()
        {
            return Err(Failure::NoDatabase(path.clone()));
        }
        Ok(store::open(&place, WhenAbsent::Refuse).await?)
    }

    /// Where people reach the console of the gateway with this database.
    pub(super) fn console_url(&self) -> Result<String, Failure> {
        let Some(file) = &self.config else {
            return Ok(format!("http://{ADMIN_DEFAULT}"));
        };
        let admin = config::load(file, config::environment())?.admin;
        Ok(admin
            .url
            .unwrap_or_else(|| format!("http://{}", admin.address)))
    }

    /// Opens the database and runs a command over its rules.
    pub(super) async fn with_service<T>(
        &self,
        command: impl AsyncFnOnce(Service) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let store = self.store().await?;
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let done = command(Service::new(Arc::clone(&store), clock, entropy)).await;
        store.close().await;
        done
    }

    /// The database that the configuration names, or that of a data folder.
    pub(super) fn database(&self) -> Result<config::Store, Failure> {
        Ok(match &self.config {
            Some(file) => config::load(file, config::environment())?.store,
            None => config::Store::Sqlite {
                path: database_in(&self.data),
            },
        })
    }
}
