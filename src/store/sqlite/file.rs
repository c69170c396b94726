//! The files that this process has open: one that is replaced or deleted meanwhile is noticed.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::open;
use crate::store::StoreError;

/// The database's file and that of the leases, as they were when they were opened.
pub(super) struct Files {
    database: Opened,
    leases: Opened,
}

struct Opened {
    path: PathBuf,
    identity: Identity,
}

/// Device and number of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Opened {
    fn of(path: &Path) -> Result<Self, StoreError> {
        let identity = identity(path).map_err(|error| open::unusable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            identity,
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        let path = self.path.display();
        match identity(&self.path) {
            Ok(found) if found == self.identity => Ok(()),
            Ok(_other) => Err(StoreError::Unavailable(format!(
                "`{path}` was replaced by another file under this process; stop every process of genkan, put the \
                 right file in place without its `-wal` and `-shm`, and start them again"
            ))),
            Err(error) => Err(StoreError::Unavailable(format!(
                "`{path}` is gone ({error}); put it back"
            ))),
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let file = std::fs::metadata(path)?;
    Ok(Identity(file.dev(), file.ino()))
}

impl Files {
    /// Those that are open from now on.
    pub(super) fn opened(database: &Path, leases: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            database: Opened::of(database)?,
            leases: Opened::of(leases)?,
        })
    }

    /// The path of the database.
    pub(super) fn path(&self) -> &Path {
        &self.database.path
    }

    /// Which database it is: what instances say of another one, a restored backup for instance, says nothing of this.
    pub(super) fn database(&self) -> String {
        let Identity(device, number) = self.database.identity;
        format!("{device}:{number}")
    }

    /// Whether the paths still name the files that are open here.
    ///
    /// # Errors
    /// They do not. Nobody else sees what this process reads and writes then. Another file is not taken up: SQLite would
    /// mix it with what is in the write-ahead log of the one before.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.database.check()?;
        self.leases.check()
    }
}
