//! The gateway as operators run it: the real binary, a configuration file, a database of its own.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::watch;

use super::client::Target;
use super::tls::Certificate;
use super::within;

const BINARY: &str = env!("CARGO_BIN_EXE_genkan");
/// Time from SIGTERM to the end; then the process is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// What the gateway is to be like, before it starts.
#[derive(Default)]
pub struct Builder {
    upstream: Option<SocketAddr>,
    members: Vec<String>,
    keys: Vec<String>,
    extra: String,
}

impl Builder {
    pub fn upstream(mut self, address: SocketAddr) -> Self {
        self.upstream = Some(address);
        self
    }

    /// A member of the organisation, by a name that becomes the e-mail address too.
    pub fn with_member(mut self, name: &str) -> Self {
        self.members.push(name.to_owned());
        self
    }

    /// A key of the member that was added last.
    pub fn with_key(mut self, name: &str) -> Self {
        self.keys.push(name.to_owned());
        self
    }

    /// More configuration, after everything else.
    pub fn with_config(mut self, toml: &str) -> Self {
        self.extra.push_str(toml);
        self
    }

    pub async fn start(self) -> Gateway {
        let upstream = self.upstream.expect("a gateway needs an upstream");
        let folder = tempfile::tempdir().unwrap();
        let certificate = Certificate::for_loopback();
        let config = folder.path().join("genkan.toml");
        let text = configuration(folder.path(), upstream, &certificate, &self.extra);
        std::fs::write(&config, text).unwrap();

        genkan(&config, &["init"]);
        genkan(&config, &["organizations", "create", "Story"]);
        for member in &self.members {
            let email = email(member);
            let role = ["--name", member, "--role", "owner"];
            genkan(&config, &[&["members", "add", &email][..], &role].concat());
        }
        let mut keys = HashMap::new();
        if let Some(owner) = self.members.last().map(|member| email(member)) {
            for name in &self.keys {
                let create = ["keys", "create", "--name", name, "--member", &owner, "-q"];
                keys.insert(name.clone(), genkan(&config, &create).trim().to_owned());
            }
        }
        let (child, lines) = spawn(&config);
        let mut gateway = Gateway {
            child,
            lines,
            addresses: HashMap::new(),
            keys,
            certificate,
            config,
            _folder: folder,
        };
        gateway.learn_addresses().await;
        gateway
    }
}

fn email(member: &str) -> String {
    format!("{member}@example.com")
}

/// Runs one command of the real binary and returns its standard output.
fn genkan(config: &Path, arguments: &[&str]) -> String {
    let output = Command::new(BINARY)
        .args(arguments)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "genkan {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn configuration(folder: &Path, upstream: SocketAddr, tls: &Certificate, extra: &str) -> String {
    let mut text = format!(
        r#"workers = 2
[admin]
address = "127.0.0.1:0"
[[listeners]]
name = "plain"
address = "127.0.0.1:0"
[[listeners]]
name = "tls"
address = "127.0.0.1:0"
[listeners.tls]
certificate_file = {certificate:?}
key_file = {key:?}
[upstreams.genesis]
urls = ["http://{upstream}"]
[store]
sqlite = {store:?}
[log]
format = "json"
"#,
        certificate = tls.certificate_file,
        key = tls.key_file,
        store = folder.join("genkan.db"),
    );
    for (name, prefix, scope, mcp) in [
        ("api", "/api/", "api", false),
        ("mcp", "/mcp", "mcp", true),
        ("rest", "/", "api", false),
    ] {
        writeln!(
            text,
            "[[routes]]\nname = \"{name}\"\npath_prefix = \"{prefix}\"\nupstream = \"genesis\"\n\
             scope = \"{scope}\"\nmcp = {mcp}"
        )
        .unwrap();
    }
    text + extra
}

/// Starts the server and collects its log, line by line, as it is written.
fn spawn(config: &Path) -> (Child, watch::Receiver<Vec<String>>) {
    let mut child = Command::new(BINARY)
        .args(["serve", "--config"])
        .arg(config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = watch::channel(Vec::new());
    // The thread ends with the process, whose end closes the pipe; then the sender goes too.
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            sender.send_modify(|lines: &mut Vec<String>| lines.push(line));
        }
    });
    (child, lines)
}

/// A running gateway; stopped when dropped.
pub struct Gateway {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    addresses: HashMap<String, SocketAddr>,
    keys: HashMap<String, String>,
    certificate: Certificate,
    config: PathBuf,
    _folder: tempfile::TempDir,
}

impl Gateway {
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// With the member hana and her key `ci`, in front of `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        Self::builder()
            .upstream(upstream)
            .with_member("hana")
            .with_key("ci")
            .start()
            .await
    }

    /// The plain text of a key, as the command line printed it once.
    pub fn key(&self, name: &str) -> &str {
        self.keys.get(name).expect("a key of the builder")
    }

    pub fn admin(&self) -> SocketAddr {
        self.addresses["admin"]
    }

    /// Both listeners, with the key `ci`.
    pub fn target(&self) -> Target {
        Target {
            plain: self.addresses["plain"],
            tls: self.addresses["tls"],
            authority: self.certificate.certificate_file.clone(),
            key: self.keys.get("ci").cloned(),
        }
    }

    /// Runs a command beside the gateway, on its database.
    pub fn command(&self, arguments: &[&str]) -> String {
        genkan(&self.config, arguments)
    }

    /// Everything that was logged so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// The most memory that was ever resident, in bytes.
    pub fn resident_bytes_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kibibytes: u64 = line
            .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .expect("VmHWM in kB");
        kibibytes * 1024
    }

    async fn learn_addresses(&mut self) {
        let ready =
            |lines: &Vec<String>| lines.iter().any(|line| field(line, "message") == "ready");
        let ready = self.lines.wait_for(ready);
        let ended = within("the gateway is ready", ready).await.is_err();
        let lines = self.log();
        assert!(!ended, "the gateway ended: {lines:#?}");
        for line in lines
            .iter()
            .filter(|line| field(line, "message") == "listening")
        {
            let address = field(line, "address").parse().unwrap();
            self.addresses.insert(field(line, "listener"), address);
        }
    }
}

/// A field of a JSON log line, at the top or among the event's own; empty where it is not there.
fn field(line: &str, name: &str) -> String {
    let Ok(line) = serde_json::from_str::<Value>(line) else {
        return String::new();
    };
    let value = line.get(name).or_else(|| line.get("fields")?.get(name));
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        if kill_process(pid, Signal::TERM).is_err() {
            drop(self.child.kill());
        }
        let begun = std::time::Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > STOP_DEADLINE {
                drop(self.child.kill());
                drop(self.child.wait());
                return;
            }
            // A drop cannot await, and std has no wait with a deadline.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
