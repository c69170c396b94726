//! A deployment whose gateways start and end: one database and one configuration, any number of processes
//! of the real binary on it, and what each of them said.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::watch;

use super::client::{self, Mode, Target};
use super::postgres;
use super::tls::Certificate;
use super::within;

const BINARY: &str = env!("CARGO_BIN_EXE_genkan");

/// How a command of the binary ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Standard output, of a command that has to succeed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// It failed as a command should: this code, these words, one line, and no panic.
    pub fn failed(&self, code: i32, words: &[&str]) {
        let lines = self.stderr.lines().count();
        assert_eq!(lines, 1, "one sentence is wanted: {self:#?}");
        self.failed_at_length(code, words);
    }

    /// As [`Self::failed`], where the message may have several lines.
    pub fn failed_at_length(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:#?}");
        }
        for word in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!self.stderr.contains(word), "{word} in {self:#?}");
        }
    }
}

/// Runs the binary to its end. Every command ends by itself within a few seconds.
pub fn genkan(arguments: &[&str]) -> Done {
    let mut command = Command::new(BINARY);
    let output = command.args(arguments).output().unwrap();
    Done {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Which database.
#[derive(Debug, Clone, Copy)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// A database with an organization, its owner hana, and a configuration.
pub struct Deployment {
    pub folder: tempfile::TempDir,
    pub certificate: Certificate,
}

impl Deployment {
    /// With the routes `/api/`, `/mcp` and, for everything else, `/`, as the real services have them.
    pub async fn new(engine: Engine, upstream: SocketAddr, extra: &str) -> Self {
        Self::with_routes(engine, &(routes(upstream) + extra)).await
    }

    /// As [`Self::new`], on the PostgreSQL database at `url`.
    pub fn on(url: &str, upstream: SocketAddr, extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("postgres = {url:?}");
        Self::founded(folder, &store, &(routes(upstream) + extra))
    }

    /// As [`Self::new`], in this folder, with `store` in the configuration's words.
    pub fn at(folder: tempfile::TempDir, store: &str, upstream: SocketAddr, extra: &str) -> Self {
        Self::founded(folder, store, &(routes(upstream) + extra))
    }

    /// With upstreams and routes of the test's own.
    pub async fn with_routes(engine: Engine, routes_and_more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = match engine {
            Engine::Sqlite => format!("sqlite = {:?}", folder.path().join("genkan.db")),
            Engine::Postgres => format!("postgres = {:?}", postgres::database().await),
        };
        Self::founded(folder, &store, routes_and_more)
    }

    fn founded(folder: tempfile::TempDir, store: &str, routes_and_more: &str) -> Self {
        let certificate = Certificate::for_loopback();
        let text = format!(
            "workers = 2\n[admin]\naddress = \"127.0.0.1:0\"\n[[listeners]]\nname = \"plain\"\n\
             address = \"127.0.0.1:0\"\n[[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n\
             [listeners.tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n\
             [store]\n{store}\n{routes_and_more}",
            certificate = certificate.certificate_file,
            key = certificate.key_file,
        );
        // Logs are read here, so they are JSON; a test may want more of them.
        let text = if text.contains("[log]") {
            text
        } else {
            text + "[log]\nformat = \"json\"\n"
        };
        std::fs::write(folder.path().join("genkan.toml"), text).unwrap();
        let deployment = Self {
            folder,
            certificate,
        };
        let owner = ["members", "add", "hana@example.com", "--name", "Hana"];
        let founding = [
            &["init"][..],
            &["organizations", "create", "Story"],
            &[&owner[..], &["--role", "owner"]].concat(),
        ];
        for command in founding {
            let done = deployment.run(command);
            // Another deployment may be on the same database.
            assert!([Some(0), Some(6)].contains(&done.code), "{done:#?}");
        }
        deployment
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("genkan.toml")
    }

    /// Runs a management command on this deployment's database.
    pub fn run(&self, arguments: &[&str]) -> Done {
        let config = self.config();
        genkan(&[arguments, &["--config", config.to_str().unwrap()]].concat())
    }

    /// Runs a command elsewhere than on this thread, so that a test goes on meanwhile.
    pub async fn run_beside(&self, arguments: &[&str]) -> Done {
        let config = self.config().to_str().unwrap().to_owned();
        let mut arguments: Vec<String> = arguments.iter().map(|&it| it.to_owned()).collect();
        arguments.extend(["--config".to_owned(), config]);
        let run = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            genkan(&arguments)
        });
        within("the command ends", run).await.unwrap()
    }

    /// A new key of hana's.
    pub fn key(&self, name: &str, more: &[&str]) -> Key {
        self.key_of("hana@example.com", name, more)
    }

    pub fn key_of(&self, member: &str, name: &str, more: &[&str]) -> Key {
        let create = ["keys", "create", "--name", name, "--member", member];
        let done = self.run(&[&create[..], more].concat());
        let id = done.stderr.lines().find_map(|line| {
            line.trim()
                .strip_prefix("id ")
                .map(|id| id.trim().to_owned())
        });
        Key {
            id: id.unwrap_or_else(|| panic!("{done:?}")),
            plain: done.ok().trim().to_owned(),
        }
    }

    /// Starts a gateway and waits until it is ready.
    pub async fn start(&self) -> Process {
        self.start_with(&self.config()).await
    }

    /// As [`Self::start`], where the system gives the gateway at most so many file descriptors.
    pub async fn start_within(&self, descriptors: u32) -> Process {
        let config = self.config();
        let arguments = ["serve", "--config", config.to_str().unwrap()];
        // The shell becomes the gateway.
        let limit = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &limit, BINARY]).args(arguments);
        Self::ready(Process::spawn(command)).await
    }

    /// As [`Self::start`], with a configuration of the gateway's own.
    pub async fn start_with(&self, config: &Path) -> Process {
        let arguments = ["serve", "--config", config.to_str().unwrap()];
        Self::ready(Process::start(&arguments)).await
    }

    /// Waits until a gateway is ready, and notes where it listens.
    pub async fn ready(mut process: Process) -> Process {
        process
            .stderr_line("ready", |line| field(line, "message") == "ready")
            .await;
        for line in process.stderr() {
            if field(&line, "message") == "listening" {
                let address = field(&line, "address").parse().unwrap();
                process.addresses.insert(field(&line, "listener"), address);
            }
        }
        process
    }

    /// A gateway of this deployment, as a client with this key sees it.
    pub fn target(&self, gateway: &Process, key: Option<&str>) -> Target {
        Target {
            plain: gateway.address("plain"),
            tls: gateway.address("tls"),
            authority: self.certificate.certificate_file.clone(),
            key: key.map(str::to_owned),
        }
    }
}

/// A deployment on SQLite with one running gateway, and Hana's key `ci`.
pub struct OneGateway {
    pub process: Process,
    pub key: Key,
    deployment: Deployment,
}

impl OneGateway {
    pub async fn start(upstream: SocketAddr) -> Self {
        let deployment = Deployment::new(Engine::Sqlite, upstream, "").await;
        Self {
            key: deployment.key("ci", &[]),
            process: deployment.start().await,
            deployment,
        }
    }

    /// Both listeners, with the key.
    pub fn target(&self) -> Target {
        self.deployment.target(&self.process, Some(&self.key.plain))
    }
}

/// The routes `/api/`, `/mcp` and `/`, all to one upstream.
fn routes(upstream: SocketAddr) -> String {
    format!(
        "[upstreams.genesis]\nurls = [\"http://{upstream}\"]\n{}{}{}",
        route("api", "/api/", "genesis", "api"),
        route("mcp", "/mcp", "genesis", "mcp"),
        route("rest", "/", "genesis", "api"),
    )
}

/// A key as its owner has it.
#[derive(Debug, Clone)]
pub struct Key {
    pub id: String,
    pub plain: String,
}

/// One `[[routes]]` table.
pub fn route(name: &str, prefix: &str, upstream: &str, scope: &str) -> String {
    let mcp = scope == "mcp";
    format!(
        "[[routes]]\nname = \"{name}\"\npath_prefix = \"{prefix}\"\nupstream = \"{upstream}\"\n\
         scope = \"{scope}\"\nmcp = {mcp}\n"
    )
}

type Lines = watch::Receiver<Vec<String>>;

/// A running process of the binary; killed when dropped, if it has not ended before.
pub struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    addresses: HashMap<String, SocketAddr>,
}

impl Process {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(arguments);
        Self::spawn(command)
    }

    /// As [`Self::start`], by a command that becomes the binary.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: lines(child.stdout.take().unwrap()),
            stderr: lines(child.stderr.take().unwrap()),
            child,
            addresses: HashMap::new(),
        }
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }

    pub fn stdout(&self) -> Vec<String> {
        self.stdout.borrow().clone()
    }

    pub fn stderr(&self) -> Vec<String> {
        self.stderr.borrow().clone()
    }

    /// Waits for a line on standard output.
    pub async fn stdout_line(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let found = find(&mut self.stdout, what, wanted).await;
        found.unwrap_or_else(|| panic!("no {what}: {:#?} {:#?}", self.stdout(), self.stderr()))
    }

    /// Waits for a line on standard error.
    pub async fn stderr_line(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let found = find(&mut self.stderr, what, wanted).await;
        found.unwrap_or_else(|| panic!("no {what}: {:#?}", self.stderr()))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that was ever resident, in bytes.
    pub fn resident_bytes_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kibibytes: u64 = line
            .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .expect("VmHWM in kB");
        kibibytes * 1024
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; its exit code, if it ended by itself.
    pub async fn ended(&mut self) -> Option<i32> {
        for lines in [&mut self.stdout, &mut self.stderr] {
            // The channels close with the pipes, and those with the process.
            let closed = async { while lines.changed().await.is_ok() {} };
            within("the process ends", closed).await;
        }
        self.child.wait().unwrap().code()
    }

    /// A page of the operators' listener: status, content type and text.
    pub async fn operators(&self, path: &str) -> Response<String> {
        operators(self.address("admin"), path).await
    }

    /// One number of `/metrics`, of a series without labels.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.operators("/metrics").await.into_body();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        number.trim().parse().unwrap()
    }
}

/// A page of an operators' listener.
pub async fn operators(admin: SocketAddr, path: &str) -> Response<String> {
    let target = Target {
        plain: admin,
        tls: admin,
        authority: PathBuf::new(),
        key: None,
    };
    let mut connection = target.connect(Mode::Http1).await;
    let request = target.request(Mode::Http1, "GET", path);
    text(
        connection
            .send(request.body(client::empty()).unwrap())
            .await,
    )
    .await
}

/// An answer with its body read.
pub async fn text(response: Response<hyper::body::Incoming>) -> Response<String> {
    let (head, body) = response.into_parts();
    let body: Bytes = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, String::from_utf8_lossy(&body).into_owned())
}

/// A field of a JSON log line, as text; empty where it is not there.
pub fn field(line: &str, name: &str) -> String {
    match serde_json::from_str::<Value>(line)
        .ok()
        .as_ref()
        .and_then(|line| line.get(name))
    {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

async fn find(lines: &mut Lines, what: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let found = lines.wait_for(|lines| lines.iter().any(|line| wanted(line)));
    let found = within(what, found).await.ok()?;
    found.iter().find(|line| wanted(line)).cloned()
}

fn lines(pipe: impl Read + Send + 'static) -> Lines {
    let (sender, lines) = watch::channel(Vec::new());
    // The thread ends with the process, whose end closes the pipe; then the sender goes too.
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            sender.send_modify(|lines: &mut Vec<String>| lines.push(line));
        }
    });
    lines
}

/// Every byte of the files in a folder whose names begin so.
pub fn files(folder: &Path, beginning: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with(beginning) {
            bytes.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    bytes
}

/// Lower-case hexadecimal, as `sha256sum` prints it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Long enough for a busy machine, and short beside any lease or limit here.
pub const PROMPTLY: Duration = Duration::from_secs(2);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
