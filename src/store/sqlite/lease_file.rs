//! Making the file of leases, and finding out whether another process has it open unseen.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with};
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::time::sleep;

use super::errors::explain;
use super::file::OpenFile;
use crate::config::limits::Limits;
use crate::store::StoreError;

/// Added to the name of the database's file.
const SUFFIX: &str = "-leases";
/// The write-ahead log is written back when it has so many pages of 4 KiB, so that it stays small.
const LOG_PAGES_MAX: &str = "64";
/// Room that is reserved for each of the two files beyond its end, in bytes: four times what the log may have.
const RESERVED_BYTES: u64 = 1_048_576;
/// Where SQLite locks a file for reading, which a connection with a write-ahead log does from its beginning to its end
/// (<https://sqlite.org/src/file/src/os.h>).
const SHARED_FIRST: u64 = 0x4000_0002;
const SHARED_SIZE: u64 = 510;
/// Looks for companions that another process is about to make, and the time between two.
const LOOKS_FOR_COMPANIONS: usize = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// What the database calls a file of leases that is not to be believed.
const LOST: &str = "lost";

/// The file, before it is connected to.
pub(super) struct UnopenedLeaseFile {
    /// Which file it is.
    pub(super) opened: OpenFile,
    /// How it is connected to.
    pub(super) options: SqliteConnectOptions,
    /// The file itself. It stays open, like those in which room is reserved.
    pub(super) file: File,
}

impl UnopenedLeaseFile {
    /// Makes the file beside that of the database, if it is not there. `options`: those of the database.
    pub(super) fn beside(
        database: &Path,
        options: &SqliteConnectOptions,
    ) -> Result<Self, StoreError> {
        let mut path = database.as_os_str().to_owned();
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        create(&path, database).map_err(|error| super::open::unusable(&path, &error))?;
        let options = options
            .clone()
            .filename(&path)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("wal_autocheckpoint", LOG_PAGES_MAX);
        let opened = OpenFile::leases(&path)?;
        let file = File::open(&path);
        let file = file.map_err(|error| super::open::unusable(&path, &error))?;
        Ok(Self {
            opened,
            options,
            file,
        })
    }

    /// Whether another process has the file open, and no other can see what it writes there: a companion that it has
    /// open was deleted. To be asked before the first connection, which makes new ones.
    pub(super) async fn is_held_unseen(&self) -> Result<bool, StoreError> {
        for _look in 0..LOOKS_FOR_COMPANIONS {
            if self.opened.has_companions()
                || !self.is_held().map_err(|error| self.unusable(error))?
            {
                return Ok(false);
            }
            // Anybody who has just opened it makes them in this moment.
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(true)
    }

    /// Whether another process has a connection: each has this lock for as long as it is open.
    fn is_held(&self) -> rustix::io::Result<bool> {
        let lock = Flock {
            start: SHARED_FIRST,
            length: SHARED_SIZE,
            pid: None,
            typ: FlockType::WriteLock,
            offset_type: FlockOffsetType::Set,
        };
        Ok(fcntl_getlk(&self.file, &lock)?.is_some())
    }

    fn unusable(&self, error: rustix::io::Errno) -> StoreError {
        super::open::unusable(self.opened.path(), &error.into())
    }
}

/// Says in the database that it has no file of leases: the next to open one waits for the leases that may be held.
pub(super) async fn forget_lease_file(database: &SqliteConnectOptions) -> Result<(), StoreError> {
    let mut connection = database.connect().await.map_err(explain)?;
    let forgotten = sqlx::query("UPDATE lease_file SET id = $1 WHERE id <> ''").bind(LOST);
    forgotten.execute(&mut connection).await.map_err(explain)?;
    connection.close().await.map_err(explain)
}

/// With the owner, as far as this user may give it away, and the mode of the database's file, as SQLite does with its
/// companions: the first to run a command may be somebody else than the gateway. It appears under its name when all of
/// that is done.
fn create(path: &Path, database: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut making = path.as_os_str().to_owned();
    making.push(format!(".{}", uuid::Uuid::now_v7()));
    let making = PathBuf::from(making);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&making)?;
    let model = std::fs::metadata(database)?;
    let done = like(&file, &model).and_then(|()| {
        renameat_with(CWD, &making, CWD, path, RenameFlags::NOREPLACE).map_err(io::Error::from)
    });
    match done {
        Ok(()) => Ok(()),
        Err(error) => {
            std::fs::remove_file(&making)?;
            // Another process was quicker.
            if error.kind() == io::ErrorKind::AlreadyExists {
                return Ok(());
            }
            Err(error)
        }
    }
}

fn like(file: &File, model: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (model.uid(), model.gid())
        && fchown(file, Some(model.uid()), Some(model.gid())).is_err()
    {
        // Not root: the group is enough where the database's mode lets the group write.
        let _kept = fchown(file, None, Some(model.gid()));
    }
    file.set_permissions(model.permissions())
}

/// How long a lease may be held by somebody whose file of leases is another one. None of a new database; else at least
/// as long as it usually is, as a backup may be from before the first gateway noted it.
pub(super) async fn longest_lease(database: &mut SqliteConnection) -> Result<Duration, StoreError> {
    let row = sqlx::query_as("SELECT id, longest_lease_ms FROM lease_file");
    let (id, longest): (String, i64) = row.fetch_one(database).await.map_err(explain)?;
    let longest = u64::try_from(longest).unwrap_or(0);
    if id.is_empty() && longest == 0 {
        return Ok(Duration::ZERO);
    }
    Ok(Duration::from_millis(
        longest.max(Limits::default().lease_ms),
    ))
}

/// Reserves room behind the end of a file, and keeps it open.
pub(super) fn reserve(path: &Path) -> Option<File> {
    let reserved = File::options().write(true).open(path).and_then(|file| {
        let end = file.metadata()?.len();
        let done = fallocate(&file, FallocateFlags::KEEP_SIZE, end, RESERVED_BYTES);
        Ok((file, done))
    });
    match reserved {
        Ok((file, done)) => {
            if let Err(error) = done {
                tracing::debug!(%error, "no room can be reserved for leases");
            }
            Some(file)
        }
        Err(error) => {
            tracing::debug!(%error, "no room can be reserved for leases");
            None
        }
    }
}
