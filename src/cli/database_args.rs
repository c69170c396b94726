//! The arguments that select the database of a management command.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::exit::Failure;
use crate::config;
use crate::model::clock::SystemClock;
use crate::model::random::SystemEntropy;
use crate::service::Service;
use crate::store::{self, Management, WhenAbsent};

/// The default data directory of `genkan dev`.
pub(super) const DATA_DEFAULT: &str = "data";

/// The default admin address of `genkan dev`.
pub(super) const ADMIN_DEFAULT: &str = "127.0.0.1:8081";

/// The file in a data directory with the admin address of the running `genkan dev`.
const ADMIN_FILE: &str = "admin-address";

/// Selects the database, by configuration or by data directory.
#[derive(Debug, Clone, Args)]
pub(super) struct DatabaseArgs {
    /// Use the database of this configuration file.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// Use the database in this data directory of `genkan dev`.
    #[arg(long, value_name = "DIR", default_value = DATA_DEFAULT)]
    data: PathBuf,
}

/// The file with the admin address of `genkan dev`, for `genkan sign-in-link`. It is removed on drop.
pub(super) struct AdminAddress(PathBuf);

impl AdminAddress {
    /// Writes the file. An error is only logged: `genkan sign-in-link` then uses the default address.
    pub(super) fn write(data: &Path, address: SocketAddr) -> Self {
        let file = data.join(ADMIN_FILE);
        if let Err(error) = std::fs::write(&file, format!("{address}\n")) {
            tracing::warn!(%error, file = %file.display(), "cannot write the file with the address of the console");
        }
        Self(file)
    }

    /// Reads the address that the running `genkan dev` wrote, or an earlier one that was killed.
    fn read(data: &Path) -> Option<SocketAddr> {
        let text = std::fs::read_to_string(data.join(ADMIN_FILE)).ok()?;
        text.trim().parse().ok()
    }
}

impl Drop for AdminAddress {
    fn drop(&mut self) {
        // Fails if the file is absent, which is as good.
        let _removed = std::fs::remove_file(&self.0);
    }
}

/// The path of the database file in a data directory.
pub(super) fn database_in(data: &Path) -> PathBuf {
    data.join("genkan.db")
}

impl DatabaseArgs {
    /// Opens the database.
    pub(super) async fn store(&self) -> Result<Arc<dyn Management>, Failure> {
        let store_config = self.store_config()?;
        if let config::Store::Sqlite { path } = &store_config
            && self.config.is_none()
            && !path.exists()
        {
            return Err(Failure::NoDatabase(path.clone()));
        }
        Ok(store::open(&store_config, WhenAbsent::Refuse).await?)
    }

    /// The URL of the console of the gateway that uses this database.
    pub(super) fn console_url(&self) -> Result<String, Failure> {
        let Some(file) = &self.config else {
            let address = AdminAddress::read(&self.data).map(|address| address.to_string());
            let address = address.as_deref().unwrap_or(ADMIN_DEFAULT);
            return Ok(format!("http://{address}"));
        };
        let admin = config::load(file, config::environment())?.admin;
        Ok(admin
            .url
            .unwrap_or_else(|| format!("http://{}", admin.address)))
    }

    /// Opens the database, runs `command` with its service, and closes the database.
    pub(super) async fn with_service<T>(
        &self,
        command: impl AsyncFnOnce(Service) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let store = self.store().await?;
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let result = command(Service::new(Arc::clone(&store), clock, entropy)).await;
        store.close().await;
        result
    }

    /// The store settings of the configuration, or those for the data directory.
    pub(super) fn store_config(&self) -> Result<config::Store, Failure> {
        Ok(match &self.config {
            Some(file) => config::load(file, config::environment())?.store,
            None => config::Store::Sqlite {
                path: database_in(&self.data),
            },
        })
    }
}
