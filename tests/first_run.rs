//! `genkan dev` as a newcomer meets it: one command, and what it prints works when it is pasted.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::support::deployment::{Done, Process, genkan, operators};
use crate::support::within;

/// `genkan dev`, with the ports left to the system.
struct Newcomer {
    process: Process,
    screen: String,
}

impl Newcomer {
    /// Starts it and reads what it prints, to the second of the two commands.
    async fn start(data: &Path, language: &str) -> Self {
        let data = data.to_str().unwrap();
        let listen = ["--proxy", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let mut process =
            Process::start(&[&["dev", "--data", data, "--lang", language][..], &listen].concat());
        let last = |line: &str| line.contains("npx ");
        process
            .stdout_line("the command for an MCP client", last)
            .await;
        let screen = process.stdout().join("\n");
        Self { process, screen }
    }

    fn curl(&self) -> &str {
        let mut lines = self.screen.lines().map(str::trim);
        lines
            .find(|line| line.starts_with("curl "))
            .expect("a curl command")
    }

    /// The keys on the screen, as a caller would copy them.
    fn keys(&self) -> Vec<&str> {
        let words = self
            .screen
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("gk_")).collect()
    }

    fn gateway(&self) -> String {
        let after = self.curl().split("http://").nth(1).unwrap();
        after.split('/').next().unwrap().to_owned()
    }

    async fn end(mut self) {
        self.process.signal(Signal::TERM);
        let code = self.process.ended().await;
        assert_eq!(code, Some(0), "{:#?}", self.process.stderr());
        assert_eq!(self.process.stderr(), Vec::<String>::new());
    }
}

/// Pastes a command into a shell, with flags after it; returns what it printed.
async fn paste(command: &str, more: &str) -> String {
    let command = format!("{command} {more}");
    let run = tokio::task::spawn_blocking(move || {
        Command::new("sh").args(["-c", &command]).output().unwrap()
    });
    let output = within("the pasted command ends", run).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Flags that make curl print the status alone.
const STATUS_ONLY: &str = "-sS -m 20 -o /dev/null -w '%{http_code}'";

/// The first request of an MCP client, as a command.
fn initialize(gateway: &str, key: &str) -> String {
    format!(
        "curl -X POST http://{gateway}/mcp -H 'Authorization: Bearer {key}' \
         -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \
         -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{{\
         \"protocolVersion\":\"2025-06-18\",\"capabilities\":{{}},\
         \"clientInfo\":{{\"name\":\"curl\",\"version\":\"1\"}}}}}}'"
    )
}

async fn first_and_second_run(language: &str, again: &str) {
    let data = tempfile::tempdir().unwrap();
    let first = Newcomer::start(data.path(), language).await;
    let key = first
        .keys()
        .first()
        .copied()
        .expect("a first key")
        .to_owned();
    assert_eq!(
        first.keys().len(),
        3,
        "shown once, and in both commands:\n{}",
        first.screen
    );
    let answer = paste(first.curl(), "-sS -m 20").await;
    assert!(answer.contains("executionId"), "{answer}");
    assert_eq!(paste(first.curl(), STATUS_ONLY).await, "200");
    let initialize = initialize(&first.gateway(), &key);
    assert!(paste(&initialize, "-sS -m 20").await.contains("serverInfo"));
    let checked = first
        .screen
        .lines()
        .find(|line| line.contains(" ms"))
        .expect("a self-check");
    assert_eq!(
        (
            checked.matches("401").count(),
            checked.matches("200").count()
        ),
        (2, 1),
        "{checked}"
    );
    let admin = first
        .screen
        .lines()
        .find(|line| line.contains("/metrics"))
        .unwrap();
    let admin = admin
        .split("http://")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    assert_eq!(
        operators(admin.parse().unwrap(), "/readyz").await.status(),
        200
    );
    first.end().await;

    let second = Newcomer::start(data.path(), language).await;
    assert!(
        second.keys().is_empty(),
        "a second run shows a key:\n{}",
        second.screen
    );
    assert!(second.screen.contains(again), "{}", second.screen);
    let command = second.curl().replace("$GENKAN_KEY", &key);
    assert_eq!(
        paste(&command, STATUS_ONLY).await,
        "200",
        "the data is kept"
    );
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_a_working_gateway_in_english() {
    first_and_second_run("en", "made on the first run").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_a_working_gateway_in_japanese() {
    first_and_second_run("ja", "初回に作成済みです").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_a_working_gateway_in_korean() {
    first_and_second_run("ko", "genkan keys create").await;
}

fn dev(data: &Path, more: &[&str]) -> Done {
    let data = data.to_str().unwrap();
    genkan(&[&["dev", "--data", data][..], more].concat())
}

#[test]
fn dev_is_for_this_machine_only() {
    let data = tempfile::tempdir().unwrap();
    dev(data.path(), &["--proxy", "0.0.0.0:0"]).failed(1, &["--proxy", "0.0.0.0:0", "loopback"]);
    dev(data.path(), &["--admin", "[::]:0"]).failed(1, &["--admin", "[::]:0", "genkan serve"]);
}

#[test]
fn a_busy_port_is_named_with_the_flag_that_mends_it() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken
        .local_addr()
        .map(|address| (taken, address.to_string()))
        .unwrap();
    let address = taken.1.as_str();
    let proxy = ["--admin", "127.0.0.1:0", "--proxy", address];
    dev(data.path(), &proxy).failed(8, &[address, "--proxy"]);
    let admin = ["--proxy", "127.0.0.1:0", "--admin", address];
    dev(data.path(), &admin).failed(8, &[address, "--admin"]);
    // The first key is not used up by a run that could not begin.
    let list = [
        "keys",
        "list",
        "--output",
        "json",
        "--data",
        data.path().to_str().unwrap(),
    ];
    assert_eq!(genkan(&list).ok().trim(), "[]");
}
