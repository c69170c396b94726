//! The end of a gateway whose database does not answer, and signals that are no end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, raw_sql};
use tokio::task::block_in_place;

use super::{ask_gateway, no_panic};
use crate::support::deployment::{Deployment, Engine, Process, field};
use crate::support::postgres::Server;
use crate::support::upstream::Upstream;

const LIMITS: &str = "[limits]\nshutdown_timeout_ms = 500\nshutdown_store_timeout_ms = 1_000\n";

/// The steps of the end that a gateway says it has left.
fn left(gateway: &Process) -> Vec<String> {
    let lines = gateway.stderr();
    let left = lines
        .iter()
        .filter(|line| field(line, "message").contains("was not done in time and is aborted"));
    left.map(|line| field(line, "step")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_ends_though_its_postgresql_does_not_answer() {
    let server = Server::start_private();
    let url = server.database("genkan").await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::on(&url, upstream.plain, LIMITS);
    let key = deployment.key("ci", &[]);
    let mut gateway = deployment.start().await;
    assert_eq!(ask_gateway(&gateway, &key).await, 200);
    block_in_place(|| server.freeze());
    gateway.signal(Signal::TERM);
    // Within its deadline, which is far below that of any single call that could hang.
    let code = gateway.ended().await;
    block_in_place(|| server.thaw());
    assert_eq!(code, Some(0), "{:#?}", gateway.stderr());
    assert!(
        left(&gateway).iter().any(|step| step.contains("database")),
        "{:#?}",
        gateway.stderr()
    );
    no_panic(&[gateway]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_ends_though_another_process_holds_its_sqlite_file() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, LIMITS).await;
    let key = deployment.key("ci", &[]);
    let mut gateway = deployment.start().await;
    assert_eq!(ask_gateway(&gateway, &key).await, 200);
    let file = deployment.folder.path().join("genkan.db");
    let mut holder = SqliteConnectOptions::new()
        .filename(file)
        .connect()
        .await
        .unwrap();
    raw_sql("BEGIN IMMEDIATE")
        .execute(&mut holder)
        .await
        .unwrap();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
    raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    no_panic(&[gateway]);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_are_no_end_are_ignored_and_logged() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let key = deployment.key("ci", &[]);
    let mut gateway = deployment.start().await;
    for (signal, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
    ] {
        gateway.signal(signal);
        gateway
            .stderr_line(name, |line| field(line, "signal") == name)
            .await;
        assert_eq!(ask_gateway(&gateway, &key).await, 200, "{name}");
    }
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
}

/// Runs a command in a terminal of its own. Prints `ready` when the command has written that word, and closes the
/// terminal at the next line of its input; then prints how the command ended.
const IN_A_TERMINAL: &str = "
import os, pty, sys
process, terminal = pty.fork()
if process == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b''
while b'ready' not in seen:
    seen += os.read(terminal, 4096)
print('ready', flush=True)
sys.stdin.readline()
os.close(terminal)
print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
";

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_terminal_closes_ends_gracefully() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let config = deployment.config();
    let code = tokio::task::spawn_blocking(move || {
        let mut python = Command::new("python3")
            .args(["-c", IN_A_TERMINAL, env!("CARGO_BIN_EXE_genkan")])
            .args(["serve", "--config", config.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, which the tests need");
        let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let mut input = python.stdin.take().unwrap();
        writeln!(input, "close").unwrap();
        let code = lines.next().unwrap().unwrap();
        assert!(python.wait().unwrap().success());
        code
    });
    // 0, and not -1: it was not killed by the hang-up.
    let code = crate::support::within("it ends", code).await.unwrap();
    assert_eq!(code, "0");
}
