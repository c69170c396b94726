//! The files that this process has open: one that is replaced, deleted or given another name is noticed.
//!
//! SQLite finds others through files: the write-ahead log (`-wal`) and the shared memory (`-shm`) beside each database.
//! A process whose files are no longer those at the paths goes on reading and writing, and no other process sees it. So
//! all six are compared, by device and number, before what is read from them counts. They stay the same for as long as
//! a connection is open: one to each database, the anchor, is kept from the beginning to the end.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::Access;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, raw_sql};

use super::errors::{explain, explain_leases};
use super::open;
use crate::store::StoreError;

/// What SQLite adds to the name of a database's file.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];
/// Which mount points a process sees (`proc_pid_mountinfo(5)`).
const MOUNTS: &str = "/proc/self/mountinfo";

/// The database's file and that of the leases, with their companions, as they were when they were opened.
pub(super) struct Files {
    database: OpenFile,
    leases: OpenFile,
    companions: Vec<OpenFile>,
    anchors: Mutex<Vec<SqliteConnection>>,
}

/// A file, as it was when it was opened.
pub(super) struct OpenFile {
    path: PathBuf,
    identity: Identity,
    what: FileKind,
}

/// What is to be done about a file that is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Database,
    Leases,
    Companion,
}

/// Device and number of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl OpenFile {
    /// The file of a database, before the first connection to it.
    ///
    /// # Errors
    /// It has a second name: who comes by that finds other companions, and so none of the gateways here.
    pub(super) fn database(path: &Path) -> Result<Self, StoreError> {
        Self::main(path, FileKind::Database)
    }

    /// The file of leases, likewise.
    pub(super) fn leases(path: &Path) -> Result<Self, StoreError> {
        Self::main(path, FileKind::Leases)
    }

    fn main(path: &Path, what: FileKind) -> Result<Self, StoreError> {
        let opened = Self::of(path, what)?;
        let metadata = std::fs::metadata(path).map_err(|error| open::unusable(path, &error))?;
        let shown = path.display();
        if !metadata.is_file() {
            return Err(open::unusable(path, &io::ErrorKind::IsADirectory.into()));
        }
        if metadata.nlink() > 1 {
            return Err(StoreError::Unavailable(format!(
                "`{shown}` has a second name (a hard link): gateways that came by that one would not be waited for; \
                 remove the other name, or use a copy"
            )));
        }
        if is_mount_point(path) {
            return Err(StoreError::Unavailable(format!(
                "`{shown}` is mounted as a single file: gateways outside of this mount would not be waited for; mount \
                 its folder instead"
            )));
        }
        Ok(opened)
    }

    fn of(path: &Path, what: FileKind) -> Result<Self, StoreError> {
        let identity = identity(path).map_err(|error| open::unusable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            identity,
            what,
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        let path = self.path.display();
        let why = match identity(&self.path) {
            Ok(found) if found == self.identity => return Ok(()),
            Ok(_other) => "was replaced by another file under this process".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "is gone".to_owned(),
            Err(error) => return Err(open::unusable(&self.path, &error)),
        };
        let advice = match self.what {
            FileKind::Database => {
                "put the file back that was here, with the `-wal` that is here now. For another one, stop every process \
                 of genkan, move the old file, its `-wal` and its `-shm` away together, and start them again"
            }
            FileKind::Leases => "restart every gateway of this database",
            FileKind::Companion => {
                "stop every process of genkan, and start them again; what was written since is in the file that was \
                 taken away"
            }
        };
        Err(StoreError::Unavailable(format!("`{path}` {why}; {advice}")))
    }

    /// Whether the write-ahead log and the shared memory are there.
    pub(super) fn has_companions(&self) -> bool {
        COMPANIONS
            .iter()
            .all(|suffix| self.companion(suffix).exists())
    }

    fn companion(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn explain(&self, error: sqlx::Error) -> StoreError {
        match self.what {
            FileKind::Leases => explain_leases(&self.path, error),
            FileKind::Database | FileKind::Companion => open::name_file(&self.path, explain(error)),
        }
    }

    /// Which file it is, for comparison.
    pub(super) fn name(&self) -> String {
        let Identity(device, number) = self.identity;
        format!("{device}:{number}")
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// A connection that has read: that makes the companions.
async fn anchor(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let mut anchor = options.connect().await?;
    raw_sql("SELECT COUNT(*) FROM sqlite_schema")
        .execute(&mut anchor)
        .await?;
    Ok(anchor)
}

fn identity(path: &Path) -> io::Result<Identity> {
    let file = std::fs::metadata(path)?;
    Ok(Identity(file.dev(), file.ino()))
}

/// Whether a file is a mount point by itself. Where that cannot be known, it is taken for none.
fn is_mount_point(path: &Path) -> bool {
    let Ok(mounts) = std::fs::read_to_string(MOUNTS) else {
        return false;
    };
    // Blanks and backslashes are written as octal escapes.
    let wanted = path.to_string_lossy();
    let wanted = wanted.replace('\\', "\\134").replace(' ', "\\040");
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.any(|point| point == wanted)
}

impl Files {
    /// Those that are open from now on, each database's with its anchor.
    ///
    /// # Errors
    /// SQLite's, or the files were replaced in this moment.
    pub(super) async fn open(
        database: (OpenFile, &SqliteConnectOptions),
        leases: (OpenFile, &SqliteConnectOptions),
    ) -> Result<Self, StoreError> {
        let (mut companions, mut anchors) = (Vec::new(), Vec::new());
        for (opened, options) in [&database, &leases] {
            let anchor = anchor(options).await;
            anchors.push(anchor.map_err(|error| opened.explain(error))?);
            for suffix in COMPANIONS {
                let path = opened.companion(suffix);
                companions.push(OpenFile::of(&path, FileKind::Companion)?);
            }
        }
        let files = Self {
            database: database.0,
            leases: leases.0,
            companions,
            anchors: Mutex::new(anchors),
        };
        files.check()?;
        Ok(files)
    }

    /// The path of the database.
    pub(super) fn path(&self) -> &Path {
        &self.database.path
    }

    /// The file of leases.
    pub(super) fn leases(&self) -> &OpenFile {
        &self.leases
    }

    /// Which database it is: what instances say of another one, a restored backup for instance, says nothing of this.
    pub(super) fn database(&self) -> String {
        self.database.name()
    }

    /// Whether this process may write them: SQLite opens what it may only read without a word.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`] names the file.
    pub(super) fn writable(&self) -> Result<(), StoreError> {
        for file in [&self.database.path, &self.leases.path] {
            rustix::fs::access(file, Access::WRITE_OK).map_err(|error| {
                StoreError::ReadOnly(format!(
                    "`{}` cannot be written ({error}); let the user that runs genkan write it, and see that its file \
                     system is not mounted read-only",
                    file.display()
                ))
            })?;
        }
        Ok(())
    }

    /// Whether the paths still name the files that are open here.
    ///
    /// # Errors
    /// They do not. Nobody else sees what this process reads and writes then. Another file is not taken up: SQLite
    /// would mix it with what is in the write-ahead log of the one before.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.database.check()?;
        self.leases.check()?;
        self.companions.iter().try_for_each(OpenFile::check)
    }

    /// For a pool: whether a new connection may be used. It was opened by the path.
    pub(super) fn check_connection(&self) -> sqlx::Result<()> {
        self.check()
            .map_err(|error| sqlx::Error::Configuration(error.to_string().into()))
    }

    /// Closes the anchors, the last connections. Where the files are no longer those at the paths they stay open until
    /// the process ends: the last connection that is closed writes its log back, over what others have written since.
    pub(super) async fn close(&self) {
        let anchors = {
            let mut anchors = self.anchors.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *anchors)
        };
        if self.check().is_err() {
            Box::leak(Box::new(anchors));
            return;
        }
        for anchor in anchors {
            // The file is being closed: nobody can handle an error.
            drop(anchor.close().await);
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.check().is_err() {
            let anchors = self
                .anchors
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            Box::leak(Box::new(std::mem::take(anchors)));
        }
    }
}
