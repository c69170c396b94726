//! Which file the path of the database names: one that was replaced or deleted under a running process is noticed.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::Instant;

use super::open;
use crate::store::{StoreError, WhenAbsent};

/// The file of a database.
pub(super) struct File {
    path: PathBuf,
    options: SqliteConnectOptions,
    busy_timeout: Duration,
    opened: Arc<Opened>,
}

/// Which file is open, and since when.
pub(super) struct Opened(Mutex<(Identity, Instant)>);

/// Device and number of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::metadata(path)?;
        Ok(Self(file.dev(), file.ino()))
    }
}

impl Opened {
    fn get(&self) -> (Identity, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a connection that was opened so long ago has this file open.
    pub(super) fn is_open_in(&self, age: Duration) -> bool {
        let (_identity, since) = self.get();
        since.elapsed() >= age
    }
}

impl File {
    /// One that has just been brought up to date.
    pub(super) fn new(
        path: &Path,
        options: SqliteConnectOptions,
        busy_timeout: Duration,
    ) -> Result<Self, StoreError> {
        let identity = Identity::of(path).map_err(|error| open::unusable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            options,
            busy_timeout,
            opened: Arc::new(Opened(Mutex::new((identity, Instant::now())))),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn opened(&self) -> Arc<Opened> {
        Arc::clone(&self.opened)
    }

    /// Whether the path names the file that is open here.
    ///
    /// # Errors
    /// It does not. A database that stands in its place is brought up to date first, and is the open one from then on:
    /// connections to the other are not lent any more.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let (known, _since) = self.opened.get();
        let found = Identity::of(&self.path).map_err(|error| open::unusable(&self.path, &error))?;
        if found == known {
            return Ok(());
        }
        open::bring_up(&self.options, self.busy_timeout, WhenAbsent::Refuse).await?;
        let mut opened = self.opened.0.lock().unwrap_or_else(PoisonError::into_inner);
        *opened = (found, Instant::now());
        drop(opened);
        Err(StoreError::Unavailable(format!(
            "`{}` was replaced by another file, which is opened now",
            self.path.display()
        )))
    }
}
