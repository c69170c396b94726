//! A real `PgBouncer`, found or installed, never skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::apt;
use super::deployment::Process;
use super::postgres::{Server, as_server_user, free_port, server_folder};

const ADVICE: &str =
    "No PgBouncer for the tests: apt-get install -y --no-install-recommends pgbouncer";
/// Where Debian and others put it; not every user's PATH has the first.
const PLACES: [&str; 3] = [
    "/usr/sbin/pgbouncer",
    "/usr/bin/pgbouncer",
    "/usr/local/bin/pgbouncer",
];

/// One that runs in front of a server.
pub(crate) struct Pooler {
    _process: Process,
    _folder: TempDir,
    port: u16,
}

impl Pooler {
    /// `mode`: for how long a client keeps a session of the server: session, transaction or statement.
    pub(crate) async fn start(server: &Server, mode: &str) -> Self {
        let (folder, port) = (server_folder(), free_port());
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=genkan\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {mode}\n",
            server.address().port()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(binary());
        as_server_user(&mut command).arg(file).current_dir("/");
        let mut process = Process::spawn(command);
        process
            .stderr_line("PgBouncer is up", |line| line.contains("process up"))
            .await;
        Self {
            _process: process,
            _folder: folder,
            port,
        }
    }

    /// The URL of a database behind it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "postgres://genkan@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }
}

fn binary() -> PathBuf {
    let found = || PLACES.iter().map(Path::new).find(|path| path.exists());
    if found().is_none() {
        apt::install(&["pgbouncer"]);
    }
    found().expect(ADVICE).to_owned()
}
