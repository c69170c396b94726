//! Which database a management command works on.

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

/// The data folder of `genkan dev`, where none is named.
pub(super) const DATA_DEFAULT: &str = "data";

/// Where operators and people connect to `genkan dev`, unless it is told otherwise.
pub(super) const ADMIN_DEFAULT: &str = "127.0.0.1:8081";

/// The file in a data folder that says where people reach the running `genkan dev`.
const ADMIN_FILE: &str = "admin-address";

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

/// Writes down where people reach `genkan dev`, for `genkan sign-in-link`; the file goes with the value.
pub(super) struct AdminAddress(PathBuf);

impl AdminAddress {
    /// A folder that takes no file is not a reason to stop: the link then names the usual address.
    pub(super) fn write(data: &Path, address: SocketAddr) -> Self {
        let file = data.join(ADMIN_FILE);
        if let Err(error) = std::fs::write(&file, format!("{address}\n")) {
            tracing::warn!(%error, file = %file.display(), "cannot write down where the console is");
        }
        Self(file)
    }

    /// What the running `genkan dev` wrote, or the last one that was killed.
    fn read(data: &Path) -> Option<SocketAddr> {
        let text = std::fs::read_to_string(data.join(ADMIN_FILE)).ok()?;
        text.trim().parse().ok()
    }
}

impl Drop for AdminAddress {
    fn drop(&mut self) {
        // Absent is as good as removed.
        let _removed = std::fs::remove_file(&self.0);
    }
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
            let address = AdminAddress::read(&self.data).map(|address| address.to_string());
            let address = address.as_deref().unwrap_or(ADMIN_DEFAULT);
            return Ok(format!("http://{address}"));
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
