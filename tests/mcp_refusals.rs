//! What a person sees when the gateway refuses a real MCP client, or when a key is revoked while the
//! client works.
//!
//! Each client shows more or less of what the gateway answered, in words of its own, so
//! `tests/mcp/refusals.txt` holds them all. `GENKAN_BLESS=1` writes it anew.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::client::{self, Mode};
use crate::support::deployment::{Deployment, Engine, Key, Process, field, route};
use crate::support::upstream::Upstream;
use crate::support::{node, python, within};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/refusals.txt");
/// A client that has shown nothing by then hangs. Most give up by themselves after a minute or more.
const CLIENT_DEADLINE: Duration = Duration::from_secs(20);
/// A well-formed key that nobody has.
const UNKNOWN_KEY: &str = "gk_0000000000000000000000000000002C8GjS";
/// Letters of a request id.
const REQUEST_ID_LENGTH: usize = 24;
/// How far a client came that asked for a token or wanted to be registered.
const REGISTRATION: &str = "registration";
/// What such a client has to show: its person does not know that OAuth was tried.
const NOT_OAUTH: &str = "This server takes API keys, not OAuth";

const HEADING: [&str; 6] = [
    "client",
    "key",
    "stage",
    "OAuth",
    "hung",
    "what the person sees",
];

#[derive(Clone, Copy)]
enum Runtime {
    Python,
    Node,
}

/// A client and the program that runs it. The versions are in `tests/mcp`.
struct Client {
    name: &'static str,
    runtime: Runtime,
    program: &'static str,
    /// What the program calls it; for Python also the name of its requirements.
    option: &'static str,
}

const CLIENTS: [Client; 6] = [
    Client {
        name: "Python mcp 1.x",
        runtime: Runtime::Python,
        program: "refusals.py",
        option: "mcp1",
    },
    Client {
        name: "Python mcp 2.x",
        runtime: Runtime::Python,
        program: "refusals.py",
        option: "mcp2",
    },
    Client {
        name: "Python fastmcp",
        runtime: Runtime::Python,
        program: "refusals.py",
        option: "fastmcp",
    },
    Client {
        name: "TypeScript 1.x",
        runtime: Runtime::Node,
        program: "refusals.mjs",
        option: "sdk1",
    },
    Client {
        name: "TypeScript 2.x",
        runtime: Runtime::Node,
        program: "refusals.mjs",
        option: "sdk2",
    },
    Client {
        name: "mcp-remote",
        runtime: Runtime::Node,
        program: "bridge.mjs",
        option: "mcp-remote",
    },
];

impl Client {
    /// Installs what it needs, where that is not there yet.
    fn command(&self) -> Command {
        let mut command = match self.runtime {
            Runtime::Python => {
                let mut command = Command::new(python::with_requirements(self.option));
                command.arg(python::program(self.program));
                command
            }
            Runtime::Node => {
                let mut command = Command::new("node");
                command.current_dir(node::mcp_client()).arg(self.program);
                command
            }
        };
        command.args(["--client", self.option]);
        command
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Missing,
    Unknown,
    Expired,
    WrongScope,
    RevokedBeforeCall,
    RevokedInCall,
}

const CASES: [(Case, &str); 6] = [
    (Case::Missing, "missing"),
    (Case::Unknown, "unknown"),
    (Case::Expired, "expired"),
    (Case::WrongScope, "wrong scope"),
    (Case::RevokedBeforeCall, "revoked before the call"),
    (Case::RevokedInCall, "revoked in the call"),
];

/// What a client printed.
#[derive(Default)]
struct Seen {
    is_connected: bool,
    /// The last line's; none of a client that hangs.
    text: Option<String>,
}

/// A row of the table.
struct Row {
    client: &'static str,
    case: &'static str,
    stage: &'static str,
    oauth: &'static str,
    hung: bool,
    text: String,
}

impl Row {
    fn line(&self) -> String {
        let hung = if self.hung { "yes" } else { "no" };
        line([
            self.client,
            self.case,
            self.stage,
            self.oauth,
            hung,
            &self.text,
        ])
    }

    /// What must not be, whatever the words.
    fn mistakes(&self, case: Case, key: Option<&Key>) -> Vec<String> {
        let is_told_of_keys = self.oauth != REGISTRATION || self.text.contains(NOT_OAUTH);
        let is_told_of_the_end = case != Case::RevokedInCall || self.text.contains("revoked");
        let shows_the_key = key.is_some_and(|key| self.text.contains(&key.plain));
        [
            (self.hung, "it hung"),
            (self.text.starts_with("no error"), "it was not refused"),
            (!is_told_of_keys, "it was led into OAuth and does not say"),
            (
                !is_told_of_the_end,
                "it does not say that the key is revoked",
            ),
            (shows_the_key, "it shows the key"),
        ]
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, mistake)| format!("{}, {}: {mistake}", self.client, self.case))
        .collect()
    }
}

fn line([client, case, stage, oauth, hung, text]: [&str; 6]) -> String {
    let line = format!("{client:<14}  {case:<23}  {stage:<7}  {oauth:<12}  {hung:<4}  {text}");
    line.trim_end().to_owned() + "\n"
}

/// The upstream and the gateway that every client meets.
struct Setup {
    upstream: Upstream,
    deployment: Deployment,
    gateway: Process,
    expired: Key,
}

impl Setup {
    async fn start() -> Self {
        let upstream = Upstream::start().await;
        let text = format!(
            "[upstreams.genesis]\nurls = [\"http://{}\"]\n{}{}\
             [log]\nformat = \"json\"\nrequests = \"all\"\n",
            upstream.plain,
            route("api", "/api/", "genesis", "api"),
            route("mcp", "/mcp", "genesis", "mcp"),
        );
        let deployment = Deployment::with_routes(Engine::Sqlite, &text).await;
        let gateway = deployment.start().await;
        let expired = deployment.key("expired", &["--expires", "1s"]);
        let setup = Self {
            upstream,
            deployment,
            gateway,
            expired,
        };
        let key = Some(setup.expired.plain.as_str());
        within("the key expires", async {
            while setup.ask("/api/identity", key).await != StatusCode::UNAUTHORIZED {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        setup
    }

    async fn ask(&self, path: &str, key: Option<&str>) -> StatusCode {
        let target = self.deployment.target(&self.gateway, key);
        let mut connection = target.connect(Mode::Http1).await;
        let request = target.request(Mode::Http1, "GET", path);
        let request = request.body(client::empty()).unwrap();
        connection.send(request).await.status()
    }

    /// The key that a client sends; none where it sends none.
    fn key(&self, case: Case) -> Option<Key> {
        match case {
            Case::Missing => None,
            Case::Unknown => Some(Key {
                id: String::new(),
                plain: UNKNOWN_KEY.to_owned(),
            }),
            Case::Expired => Some(self.expired.clone()),
            Case::WrongScope => Some(self.deployment.key("api only", &["--scope", "api"])),
            Case::RevokedBeforeCall | Case::RevokedInCall => {
                Some(self.deployment.key("to be revoked", &[]))
            }
        }
    }

    /// What a client prints, and how far it went with OAuth.
    async fn run(
        &mut self,
        client: &Client,
        case: Case,
        key: Option<&Key>,
    ) -> (Seen, &'static str) {
        let logged = self.gateway.stderr().len();
        let home = tempfile::tempdir().unwrap();
        let errors = home.path().join("stderr");
        let mut command = tokio::task::block_in_place(|| client.command());
        let target = self.deployment.target(&self.gateway, None);
        command.args(["--url", &target.url(Mode::Http1, "/mcp")]);
        if let Some(key) = key {
            command.args(["--key", &key.plain]);
        }
        if case == Case::RevokedBeforeCall {
            command.arg("--wait");
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            // mcp-remote keeps in its home folder what it learns about a server.
            .env("HOME", home.path())
            .env_remove("MCP_REMOTE_CONFIG_DIR")
            // It opens a browser for OAuth: without a display it runs this, which does nothing.
            .env("BROWSER", "true")
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut seen = Seen::default();
        let followed = self.follow(&mut child, case, key, &mut seen);
        let hung = timeout(CLIENT_DEADLINE, followed).await.is_err();
        end(&mut child).await;
        assert!(
            hung || seen.text.is_some(),
            "{}, {case:?}: it ended and printed no text: {}",
            client.name,
            std::fs::read_to_string(&errors).unwrap()
        );
        // A call that still waits for a step would take the next client's.
        self.upstream
            .wait_for("no request is left", |records| {
                records.iter().all(|record| record.answer_dropped)
            })
            .await;
        let oauth = oauth(&self.paths_since(logged).await);
        (seen, oauth)
    }

    /// Reads what a client prints until its last line, and revokes the key in between where the case
    /// wants it.
    async fn follow(&self, child: &mut Child, case: Case, key: Option<&Key>, seen: &mut Seen) {
        if case == Case::RevokedInCall {
            self.upstream.allow_step();
        }
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let line: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            match line["event"].as_str() {
                Some("connected") => {
                    seen.is_connected = true;
                    if case == Case::RevokedBeforeCall {
                        self.revoke(key).await;
                        stdin.write_all(b"call\n").await.unwrap();
                    }
                }
                Some("progress") if case == Case::RevokedInCall => self.revoke(key).await,
                Some(_) => {}
                None => {
                    seen.text = line["text"].as_str().map(str::to_owned);
                    return;
                }
            }
        }
    }

    async fn revoke(&self, key: Option<&Key>) {
        let id = &key.expect("a key to revoke").id;
        self.deployment
            .run_beside(&["keys", "revoke", id])
            .await
            .ok();
    }

    /// The paths of the requests that were logged after so many lines.
    async fn paths_since(&mut self, lines: usize) -> Vec<String> {
        // What was asked before is logged before.
        let last = format!("/api/after-{lines}");
        assert_eq!(self.ask(&last, None).await, StatusCode::UNAUTHORIZED);
        let is_last = |line: &str| field(line, "path") == last;
        self.gateway.stderr_line("the last request", is_last).await;
        let log = self.gateway.stderr();
        let requests = log[lines..]
            .iter()
            .filter(|line| field(line, "message") == "request");
        requests.map(|line| field(line, "path")).collect()
    }

    /// A text on one line, without what differs from run to run.
    fn shown(&self, text: &str) -> String {
        let address = self.gateway.address("plain").to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        without_request_ids(&words.join(" ")).replace(&address, "GATEWAY")
    }
}

/// How far a client went with OAuth.
fn oauth(paths: &[String]) -> &'static str {
    let asked = |wanted: &str| paths.iter().any(|path| path.contains(wanted));
    if ["/register", "/token", "/authorize"].into_iter().any(asked) {
        REGISTRATION
    } else if asked("/.well-known/") {
        "discovery"
    } else {
        "no"
    }
}

/// Ends a client with the processes that it started.
async fn end(child: &mut Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(group) = id.and_then(Pid::from_raw) {
        kill_process_group(group, Signal::KILL).unwrap();
    }
    child.wait().await.unwrap();
}

/// Request ids are consonants only, so no word is taken for one.
fn without_request_ids(text: &str) -> String {
    fn is_of_id(letter: char) -> bool {
        "bcdfghjklmnpqrst".contains(letter)
    }
    let mut clean = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_of_id) {
        let (before, run) = rest.split_at(start);
        let length = run
            .find(|letter: char| !is_of_id(letter))
            .unwrap_or(run.len());
        let (run, after) = run.split_at(length);
        clean += before;
        clean += if length == REQUEST_ID_LENGTH {
            "REQUEST-ID"
        } else {
            run
        };
        rest = after;
    }
    clean + rest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_why_the_gateway_refuses_an_mcp_client() {
    let mut setup = Box::pin(Setup::start()).await;
    let mut table = line(HEADING);
    let mut mistakes = Vec::new();
    for client in &CLIENTS {
        for (case, name) in CASES {
            let key = setup.key(case);
            let (seen, oauth) = setup.run(client, case, key.as_ref()).await;
            let row = Row {
                client: client.name,
                case: name,
                stage: if seen.is_connected { "call" } else { "connect" },
                oauth,
                hung: seen.text.is_none(),
                text: setup.shown(&seen.text.unwrap_or_default()),
            };
            table += &row.line();
            mistakes.extend(row.mistakes(case, key.as_ref()));
        }
    }
    if std::env::var_os("GENKAN_BLESS").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    assert!(mistakes.is_empty(), "{mistakes:#?}\n{table}");
    let written = std::fs::read_to_string(TABLE).unwrap_or_default();
    assert!(
        written == table,
        "run this test once with GENKAN_BLESS=1 and look at the difference; now it is\n{table}"
    );
}
