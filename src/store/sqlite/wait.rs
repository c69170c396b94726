//! Waking up when the file changed.
//!
//! A process gets no notice when another one writes. SQLite keeps a counter of commits in shared
//! memory, and `PRAGMA data_version` reads it: it differs when any other connection has committed. To
//! read it takes a hundred times longer than to look at the size and time of the write-ahead log, which
//! every commit changes; so the log's file is looked at often, and the counter when it has changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};

use super::file::Files;

/// Between two looks at the write-ahead log: a revocation by another process is seen 2.5 ms later on
/// average.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// After a change the counter is read for this many looks more: a second commit within the same tick
/// of the file system's clock may leave size and time as they are.
const LOOKS_AFTER_CHANGE: u32 = 4;
/// And every so many looks, come what may: on a file system whose times say nothing, a change is seen
/// within 100 ms.
const LOOKS_WITHOUT_COUNTER_MAX: u32 = 20;

/// Who waits, and what was seen last.
pub(super) struct Watch {
    options: SqliteConnectOptions,
    files: Arc<Files>,
    log_file: PathBuf,
    /// Held by the one caller that polls; the others wait for it, or for a write of this process.
    counter: Mutex<Counter>,
    written: Notify,
}

#[derive(Default)]
struct Counter {
    connection: Option<SqliteConnection>,
    seen: Option<i64>,
    log: Option<(u64, SystemTime)>,
    looks_since_change: u32,
}

impl Watch {
    /// Opens nothing before the first wait: most commands never do.
    pub(super) fn new(options: SqliteConnectOptions, files: Arc<Files>) -> Self {
        let mut log_file = options.get_filename().as_os_str().to_owned();
        log_file.push("-wal");
        Self {
            options,
            files,
            log_file: log_file.into(),
            counter: Mutex::default(),
            written: Notify::new(),
        }
    }

    /// This process has committed: wakes who waits.
    pub(super) fn written(&self) {
        self.written.notify_waiters();
    }

    pub(super) async fn wait(&self, at_most: Duration) {
        let either = async {
            tokio::select! {
                () = self.written.notified() => {}
                () = self.poll() => {}
            }
        };
        // Out of time is an answer too.
        drop(timeout(at_most, either).await);
    }

    async fn poll(&self) {
        let mut counter = self.counter.lock().await;
        loop {
            if counter.may_have_moved(self.look()) {
                // An error is no change: the caller's next statement fails with it.
                let version = counter.read(&self.options, &self.files).await.ok();
                if version.is_some() && version != counter.seen {
                    counter.seen = version;
                    return;
                }
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Size and time of the write-ahead log. Not waited for: the kernel knows both by heart.
    fn look(&self) -> Option<(u64, SystemTime)> {
        let log = std::fs::metadata(&self.log_file).ok()?;
        Some((log.len(), log.modified().ok()?))
    }

    pub(super) async fn close(&self) {
        if let Some(connection) = self.counter.lock().await.connection.take() {
            // The file is being closed: nobody can handle an error.
            drop(connection.close().await);
        }
    }
}

impl Counter {
    /// Whether the counter is worth reading, now that the log looks like this.
    fn may_have_moved(&mut self, log: Option<(u64, SystemTime)>) -> bool {
        if log.is_none() || log != self.log {
            self.log = log;
            self.looks_since_change = 0;
        }
        let looks = self.looks_since_change;
        self.looks_since_change = looks.wrapping_add(1);
        looks <= LOOKS_AFTER_CHANGE || looks.is_multiple_of(LOOKS_WITHOUT_COUNTER_MAX)
    }

    async fn read(&mut self, options: &SqliteConnectOptions, files: &Files) -> sqlx::Result<i64> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            absent @ None => {
                let connection = options.connect().await?;
                files.check_connection()?;
                absent.insert(connection)
            }
        };
        sqlx::query_scalar("PRAGMA data_version")
            .fetch_one(connection)
            .await
    }
}
