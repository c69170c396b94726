//! Commands that are killed at any moment of a key's creation or end, and gateways beside them: what was
//! printed holds, nothing is there by half, and a gateway is back at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use genkan::model::clock::SystemClock;
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tokio::process::Command;

use super::{BUSY, alone, ask, make_key, no_panic, service};
use crate::support::deployment::{Deployment, Engine, Key, Process, hex};
use crate::support::postgres;
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;
use crate::support::within;

const BINARY: &str = env!("CARGO_BIN_EXE_genkan");
/// On each engine; half of them create, half revoke.
const KILLS: usize = 500;
/// Several at a time, and no more than two cores run while the gateway has its share.
const AT_A_TIME: usize = 3;
/// The gateway beside them is killed after each of so many parts, too.
const PARTS: usize = 5;
const READY: Duration = Duration::from_secs(1);
/// Runs by which a command's usual duration is known.
const MEASURED: usize = 6;
/// How a key's row and its entries in the log are read, as text, on either engine.
const LOG: &str =
    "SELECT seq || ' ' || kind || ' ' || lower(subject) FROM revocation_log ORDER BY seq";
const HEAD: &str = "SELECT seq || '' FROM revocation_head";

/// What one command had to do.
#[derive(Clone)]
enum Task {
    Create,
    Revoke(Key),
}

impl Task {
    fn arguments(&self) -> Vec<&str> {
        match self {
            Self::Create => "keys create --name x --member hana@example.com"
                .split(' ')
                .collect(),
            Self::Revoke(key) => vec!["keys", "revoke", &key.id],
        }
    }
}

/// Where the rows are.
enum Database {
    Sqlite(String),
    Postgres(String),
}

impl Database {
    async fn texts(&self, question: &str) -> Vec<String> {
        let question = AssertSqlSafe(question.to_owned());
        match self {
            Self::Sqlite(url) => {
                let mut shell = SqliteConnection::connect(url).await.unwrap();
                let texts = sqlx::query_scalar(question).fetch_all(&mut shell).await;
                shell.close().await.unwrap();
                texts.unwrap()
            }
            Self::Postgres(url) => {
                let mut shell = PgConnection::connect(url).await.unwrap();
                sqlx::query_scalar(question)
                    .fetch_all(&mut shell)
                    .await
                    .unwrap()
            }
        }
    }

    /// Each key's hash, and whether it is revoked.
    async fn keys(&self) -> BTreeMap<String, bool> {
        let hash = match self {
            Self::Sqlite(_) => "lower(hex(hash))",
            Self::Postgres(_) => "encode(hash, 'hex')",
        };
        let question = format!(
            "SELECT {hash} || CASE WHEN revoked_at IS NULL THEN ' live' ELSE ' over' END FROM keys"
        );
        let rows = self.texts(&question).await;
        let row = |row: &String| {
            let (hash, state) = row.split_once(' ').unwrap();
            (hash.to_owned(), state == "over")
        };
        rows.iter().map(row).collect()
    }
}

fn hash_of(plain: &str) -> String {
    hex(&Sha256::digest(plain))
}

/// Runs a command, and kills it after this time if it still runs then.
async fn killed(config: &Path, task: &Task, after: Duration) -> Output {
    let mut command = Command::new(BINARY);
    command.args(task.arguments()).arg("--config").arg(config);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn().unwrap();
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    let ended = child.wait_with_output();
    tokio::pin!(ended);
    tokio::select! {
        output = &mut ended => output.unwrap(),
        // The moment of the kill is the fault.
        () = tokio::time::sleep(after) => {
            // It is not waited for yet, so the number is still its own.
            kill_process(pid, Signal::KILL).unwrap();
            within("it ends", ended).await.unwrap()
        }
    }
}

/// What was said to be done.
#[derive(Default)]
struct Promised {
    /// Texts of keys that were printed.
    created: Vec<String>,
    revoked: Vec<Key>,
    /// Commands that ended by themselves.
    ended: usize,
    /// Commands that were killed after they had committed, and before they said so.
    silent: usize,
}

impl Promised {
    fn note(&mut self, task: Task, output: &Output) {
        self.ended += usize::from(output.status.code().is_some());
        let stdout = String::from_utf8(output.stdout.clone()).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{stderr}");
        let done = output.status.success();
        match task {
            Task::Create => {
                // A whole line: the text is printed once it is good.
                let plain = stdout.strip_suffix('\n').map(str::to_owned);
                assert!(plain.is_some() || !done, "{output:?}");
                self.created.extend(plain);
            }
            Task::Revoke(key) if stderr.contains("revoked; ") => self.revoked.push(key),
            Task::Revoke(_) => assert!(!done, "{output:?}"),
        }
    }
}

/// The usual duration of each kind of command, as many at a time as later.
async fn usual(config: &Path, keys: &[Key]) -> [Duration; 2] {
    let mut longest = [Duration::ZERO; 2];
    for (kind, longest) in longest.iter_mut().enumerate() {
        let tasks = keys.iter().take(MEASURED).map(|key| match kind {
            0 => Task::Create,
            _ => Task::Revoke(key.clone()),
        });
        let mut took: Vec<Duration> = stream::iter(tasks)
            .map(|task| async move {
                let begun = Instant::now();
                let output = killed(config, &task, Duration::from_secs(30)).await;
                assert!(output.status.success(), "{output:?}");
                begun.elapsed()
            })
            .buffer_unordered(AT_A_TIME)
            .collect()
            .await;
        *longest = super::percentile(&mut took, 50);
    }
    longest
}

/// Kills a gateway, starts it again, and tells how long it took to be ready.
async fn restarted(deployment: &Deployment, mut gateway: Process) -> (Process, Duration) {
    gateway.signal(Signal::KILL);
    assert_eq!(gateway.ended().await, None);
    let begun = Instant::now();
    let gateway = deployment.start().await;
    (gateway, begun.elapsed())
}

/// No half rows: every key and every end of one has its one entry, and the log has no gap.
async fn whole(database: &Database) -> BTreeMap<String, bool> {
    let (keys, log) = (database.keys().await, database.texts(LOG).await);
    assert_eq!(database.texts(HEAD).await, [log.len().to_string()]);
    let (mut created, mut revoked) = (BTreeSet::new(), BTreeSet::new());
    for (number, entry) in log.iter().enumerate() {
        let parts: Vec<&str> = entry.split(' ').collect();
        assert_eq!(parts[0], (number + 1).to_string(), "a gap in the log");
        let once = match parts[1] {
            "key_created" => created.insert(parts[2].to_owned()),
            "key_revoked" => revoked.insert(parts[2].to_owned()),
            other => panic!("{other}"),
        };
        assert!(once, "two entries: {entry}");
    }
    assert_eq!(created, keys.keys().cloned().collect());
    let over = keys.iter().filter(|(_, over)| **over);
    assert_eq!(revoked, over.map(|(hash, _)| hash.clone()).collect());
    if let Database::Sqlite(_) = database {
        assert_eq!(database.texts("PRAGMA integrity_check").await, ["ok"]);
    }
    keys
}

/// Everything that was said to be done is so in the database and at the gateway.
async fn kept(promised: &Promised, keys: &BTreeMap<String, bool>, gateway: &Process) {
    let mut wire = Wire::connect(gateway.address("plain")).await;
    for plain in &promised.created {
        assert_eq!(
            keys.get(&hash_of(plain)),
            Some(&false),
            "a key that was handed out is lost"
        );
        assert_eq!(ask(&mut wire, plain).await, 200);
    }
    for key in &promised.revoked {
        assert_eq!(
            keys.get(&hash_of(&key.plain)),
            Some(&true),
            "{} lives",
            key.id
        );
        assert_eq!(ask(&mut wire, &key.plain).await, 401);
    }
}

/// Moments from nothing to the usual duration, evenly spread, and in an order that mixes early and late.
fn moments(usual: Duration, count: usize) -> Vec<Duration> {
    const STEP: usize = 73;
    let count_u32 = u32::try_from(count).unwrap();
    let moment = |at| usual * u32::try_from(at * STEP % count).unwrap() / count_u32;
    (0..count).map(moment).collect()
}

async fn killed_at_any_moment(engine: Engine) {
    let _alone = alone().await;
    let upstream = Upstream::start().await;
    let url = postgres::database().await;
    let (deployment, database) = match engine {
        Engine::Sqlite => {
            let deployment = Deployment::new(engine, upstream.plain, "").await;
            let file = deployment.folder.path().join("genkan.db");
            let database = Database::Sqlite(format!("sqlite://{}", file.display()));
            (deployment, database)
        }
        Engine::Postgres => (
            Deployment::on(&url, upstream.plain, ""),
            Database::Postgres(url),
        ),
    };
    let begun = Instant::now();
    let mut gateway = deployment.start().await;
    let maker = service(&deployment, Arc::new(SystemClock)).await;
    let mut keys = Vec::new();
    for _ in 0..KILLS / 2 + MEASURED {
        keys.push(make_key(&maker).await);
    }
    let (measured, keys) = keys.split_at(MEASURED);
    let usual = usual(&deployment.config(), measured).await;

    let kinds = usual.map(|usual| moments(usual, KILLS / 2));
    let creations = kinds[0].iter().map(|after| (Task::Create, *after));
    let ends = kinds[1].iter().zip(keys);
    let ends = ends.map(|(after, key)| (Task::Revoke(key.clone()), *after));
    let tasks: Vec<(Task, Duration)> = creations.zip(ends).flat_map(|(a, b)| [a, b]).collect();
    let mut promised = Promised::default();
    let mut restarts = Vec::new();
    for part in tasks.chunks(KILLS / PARTS) {
        let config = deployment.config();
        let run = |(task, after): (Task, Duration)| {
            let config = &config;
            async move {
                let output = killed(config, &task, after).await;
                (task, output)
            }
        };
        let mut outputs = stream::iter(part.to_vec())
            .map(run)
            .buffer_unordered(AT_A_TIME);
        while let Some((task, output)) = outputs.next().await {
            promised.note(task, &output);
        }
        let restarted = restarted(&deployment, gateway).await;
        gateway = restarted.0;
        restarts.push(restarted.1);
    }
    let rows = whole(&database).await;
    let over = keys.iter().filter(|key| rows[&hash_of(&key.plain)]).count();
    promised.silent = over - promised.revoked.len() + rows.len()
        - (KILLS / 2 + 2 * MEASURED)
        - promised.created.len();
    let slowest = restarts.iter().max().unwrap();
    println!(
        "{engine:?}: {} of {KILLS} commands killed within {usual:?}; {} keys and {} ends were promised, \
         {} more were committed in silence; a killed gateway was ready after {slowest:?} at most; {:?}",
        KILLS - promised.ended,
        promised.created.len(),
        promised.revoked.len(),
        promised.silent,
        begun.elapsed(),
    );
    kept(&promised, &rows, &gateway).await;
    assert!(*slowest <= READY + BUSY, "{slowest:?}");
    no_panic(&[gateway]);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_killed_at_any_moment_leave_nothing_by_half_on_sqlite() {
    killed_at_any_moment(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_killed_at_any_moment_leave_nothing_by_half_on_postgresql() {
    killed_at_any_moment(Engine::Postgres).await;
}
