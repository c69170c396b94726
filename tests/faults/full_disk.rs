//! A disk that is full, and a database's file that is locked, replaced or deleted, under a running gateway on SQLite.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection, raw_sql};
use tokio::task::block_in_place;

use super::{ask, no_panic, request};
use crate::support::house::{Engine, House, Key, PROMPTLY, Process};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;
use crate::support::within;

/// Longer than two leases of the default length.
const FAULT: Duration = Duration::from_secs(8);
/// Everything is normal so soon after the fault has ended.
const RECOVERY: Duration = Duration::from_secs(1);
/// Between two requests of the client.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks with a key that the gateway remembers, for as long as a fault lasts: every request has to be answered 200.
async fn remembered_works(gateway: &Process, key: &Key, lasts: Duration) {
    let mut wire = Wire::connect(gateway.address("plain")).await;
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < lasts {
        let status = ask(&mut wire, &key.plain).await;
        assert_eq!(
            status,
            200,
            "after {:?}: {:#?}",
            begun.elapsed(),
            gateway.stderr()
        );
        asked += 1;
        tokio::time::sleep(PAUSE).await;
    }
    println!("{asked} requests with a remembered key in {lasts:?}, none failed");
}

async fn readiness(gateway: &Process) -> serde_json::Value {
    let answer = gateway.operators("/readyz").await;
    serde_json::from_str(answer.body()).unwrap()
}

/// How long a command of this house takes until it succeeds.
fn recovery(succeeds: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !succeeds() {
        assert!(begun.elapsed() < RECOVERY + PROMPTLY, "it does not recover");
    }
    begun.elapsed()
}

/// A file system of its own in memory, of six mebibytes, with the house's data in it; seen by the gateway alone, in a
/// mount namespace that it lives in.
struct SmallDisk {
    gateway: Process,
    data: PathBuf,
    config: PathBuf,
}

const ON_A_SMALL_DISK: &str = r#"
data=$1; shift
copy=$(mktemp -d) && cp -a "$data/." "$copy" &&
mount -t tmpfs -o size=6m,mode=700 tmpfs "$data" && cp -a "$copy/." "$data" && rm -r "$copy" &&
exec "$@"
"#;

impl SmallDisk {
    async fn start(house: &House, data: &Path) -> Self {
        let config = house.config();
        let mut command = Command::new("unshare");
        command
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                ON_A_SMALL_DISK,
                "sh",
            ])
            .arg(data)
            .arg(env!("CARGO_BIN_EXE_genkan"))
            .args(["serve", "--config", config.to_str().unwrap()]);
        let gateway = House::ready(Process::spawn(command)).await;
        Self {
            gateway,
            data: data.to_owned(),
            config,
        }
    }

    /// Where the gateway's files are, as this process sees them.
    fn folder(&self) -> PathBuf {
        let root = format!("/proc/{}/root", self.gateway.id());
        Path::new(&root).join(self.data.strip_prefix("/").unwrap())
    }

    /// Runs a command where the gateway lives: its exit code and what it says.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new("nsenter")
            .args(["--preserve-credentials", "--user", "--mount", "--target"])
            .arg(self.gateway.id().to_string())
            .arg(env!("CARGO_BIN_EXE_genkan"))
            .args(arguments)
            .args(["--config", self.config.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    }

    fn create_key(&self) -> (Option<i32>, String) {
        self.run(&[
            "keys",
            "create",
            "--name",
            "new",
            "--member",
            "hana@example.com",
        ])
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut file = File::create(self.folder().join("filler")).unwrap();
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.folder().join("filler")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_a_remembered_key_nothing_and_heals_by_itself() {
    let upstream = Upstream::start().await;
    let house = house_in_a_folder(&upstream);
    let (key, other) = (house.key("ci", &[]), house.key("other", &[]));
    let disk = SmallDisk::start(&house, &house.folder.path().join("data")).await;
    let mut wire = Wire::connect(disk.gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);

    block_in_place(|| disk.fill());
    let (code, said) = block_in_place(|| disk.create_key());
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("the disk is full"), "{said}");
    remembered_works(&disk.gateway, &key, FAULT).await;
    // To look a key up needs no room.
    assert_eq!(ask(&mut wire, &other.plain).await, 200);

    block_in_place(|| disk.free());
    let recovered = block_in_place(|| recovery(|| disk.create_key().0 == Some(0)));
    println!("full disk: a key could be made {recovered:?} after there was room");
    remembered_works(&disk.gateway, &key, RECOVERY).await;
    assert_eq!(readiness(&disk.gateway).await["ready"], true);
    no_panic(&[disk.gateway]);
}

/// A house whose database is in a folder that holds nothing else.
fn house_in_a_folder(upstream: &Upstream) -> House {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/genkan.db");
    House::at(folder, &format!("sqlite = {file:?}"), upstream.plain, "")
}

async fn holder(house: &House) -> SqliteConnection {
    let file = house.folder.path().join("genkan.db");
    let mut holder = SqliteConnectOptions::new()
        .filename(file)
        .connect()
        .await
        .unwrap();
    raw_sql("BEGIN IMMEDIATE")
        .execute(&mut holder)
        .await
        .unwrap();
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_lock_that_another_process_holds_costs_no_key_anything() {
    let upstream = Upstream::start().await;
    let house = House::new(Engine::Sqlite, upstream.plain, "").await;
    let (key, other) = (house.key("ci", &[]), house.key("other", &[]));
    let gateways = [house.start().await, house.start().await];
    for gateway in &gateways {
        let mut wire = Wire::connect(gateway.address("plain")).await;
        assert_eq!(ask(&mut wire, &key.plain).await, 200);
    }
    let mut holder = holder(&house).await;
    let [first, second] = &gateways;
    tokio::join!(
        remembered_works(first, &key, FAULT),
        remembered_works(second, &key, FAULT)
    );
    let mut wire = Wire::connect(first.address("plain")).await;
    assert_eq!(ask(&mut wire, &other.plain).await, 200);
    let (code, said) = {
        let done = block_in_place(|| house.run(&["keys", "revoke", &other.id]));
        (done.code, done.stderr)
    };
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("locked by another process"), "{said}");
    raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    let revoked = block_in_place(|| house.run(&["keys", "revoke", &other.id, "--output", "json"]));
    let receipt: serde_json::Value = serde_json::from_str(&revoked.ok()).unwrap();
    for instance in receipt["instances"].as_array().unwrap() {
        assert_eq!(instance["result"], "acknowledged", "{receipt:#}");
    }
    assert_eq!(ask(&mut wire, &other.plain).await, 401);
    no_panic(&gateways);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_503_until_it_is_back() {
    let upstream = Upstream::start().await;
    let house = House::new(
        Engine::Sqlite,
        upstream.plain,
        "[limits]\nlease_ms = 1_000\n",
    )
    .await;
    let key = house.key("ci", &[]);
    let gateway = house.start().await;
    let mut wire = Wire::connect(gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);
    let file = house.folder.path().join("genkan.db");
    let away = house.folder.path().join("away.db");
    fs::rename(&file, &away).unwrap();
    within("the lease ends", async {
        while ask(&mut wire, &key.plain).await != 503 {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    assert_eq!(readiness(&gateway).await["store_answers"], false);
    fs::rename(&away, &file).unwrap();
    let back = Instant::now();
    within("the key works again", async {
        while ask(&mut wire, &key.plain).await != 200 {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    println!("file away: normal {:?} after it is back", back.elapsed());
    no_panic(&[gateway]);
}

/// Revokes while the gateway is stopped in its tracks, by a house that may know the database by another name; lets it go on,
/// and sends requests on a connection that was open before: none may be accepted.
async fn none_is_accepted_after_the_command(gateway: &Process, by: &House, key: &Key) {
    let mut wires = Vec::new();
    for _ in 0..8 {
        let mut wire = Wire::connect(gateway.address("plain")).await;
        let status = ask(&mut wire, &key.plain).await;
        assert!([200, 503].contains(&status), "{status}");
        wires.push(wire);
    }
    gateway.signal(Signal::STOP);
    let revoked = block_in_place(|| by.run(&["keys", "revoke", &key.id]));
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let request = request(&key.plain);
    for wire in &mut wires {
        wire.send(&request).await;
    }
    gateway.signal(Signal::CONT);
    for wire in &mut wires {
        let status = within("an answer", wire.answer()).await.map(|it| it.status);
        assert!(matches!(status, Some(401 | 503)), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_the_database_by_another_name_waits_for_the_same_gateways() {
    let upstream = Upstream::start().await;
    let house = House::new(Engine::Sqlite, upstream.plain, "").await;
    let key = house.key("ci", &[]);
    let gateway = house.start().await;
    let file = house.folder.path().join("genkan.db");
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let other = House::at(folder, &format!("sqlite = {link:?}"), upstream.plain, "");
    none_is_accepted_after_the_command(&gateway, &other, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_whose_file_was_deleted_are_waited_for() {
    let upstream = Upstream::start().await;
    let house = House::new(Engine::Sqlite, upstream.plain, "").await;
    let key = house.key("ci", &[]);
    let gateway = house.start().await;
    let mut wire = Wire::connect(gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);
    for name in [
        "genkan.db-leases",
        "genkan.db-leases-wal",
        "genkan.db-leases-shm",
    ] {
        fs::remove_file(house.folder.path().join(name)).unwrap();
    }
    none_is_accepted_after_the_command(&gateway, &house, &key).await;
    within("it says why", async {
        let is_why = |line: &String| line.contains("genkan.db-leases") && line.contains("gone");
        let is_other =
            |line: &String| line.contains("genkan.db-leases") && line.contains("replaced");
        while !gateway
            .stderr()
            .iter()
            .any(|line| is_why(line) || is_other(line))
        {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
}

/// Opens a database as another program would, and closes it.
const ANOTHER_PROGRAM: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute('SELECT COUNT(*) FROM instances').fetchone()[0])
connection.close()
";

#[tokio::test(flavor = "multi_thread")]
async fn another_program_that_looks_at_the_leases_takes_no_lock_away() {
    let upstream = Upstream::start().await;
    let house = House::new(Engine::Sqlite, upstream.plain, "").await;
    let (key, other) = (house.key("ci", &[]), house.key("other", &[]));
    let gateway = house.start().await;
    let leases = house.folder.path().join("genkan.db-leases");
    for _ in 0..3 {
        let looked = Command::new("python3")
            .args(["-c", ANOTHER_PROGRAM])
            .arg(&leases)
            .output()
            .unwrap();
        assert_eq!(looked.stdout, b"1\n", "{looked:?}");
    }
    let revoked = block_in_place(|| house.run(&["keys", "revoke", &other.id, "--output", "json"]));
    let receipt: serde_json::Value = serde_json::from_str(&revoked.ok()).unwrap();
    assert_eq!(
        receipt["instances"][0]["result"], "acknowledged",
        "{receipt:#}"
    );
    none_is_accepted_after_the_command(&gateway, &house, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_database_was_replaced_refuses_and_is_waited_for() {
    let upstream = Upstream::start().await;
    let house = House::new(Engine::Sqlite, upstream.plain, "").await;
    let key = house.key("ci", &[]);
    let mut gateway = house.start().await;
    // The log of the running gateway is longer than that of the backup will be.
    let file = house.folder.path().join("genkan.db");
    let backup = house.folder.path().join("backup.db");
    let mut connection = SqliteConnectOptions::new()
        .filename(&file)
        .connect()
        .await
        .unwrap();
    let copy = format!("VACUUM INTO '{}'", backup.display());
    raw_sql(sqlx::AssertSqlSafe(copy))
        .execute(&mut connection)
        .await
        .unwrap();
    for name in ["a", "b", "c"] {
        house.key(name, &[]);
    }
    drop(connection);
    let mut wire = Wire::connect(gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);
    for companion in ["genkan.db-wal", "genkan.db-shm"] {
        fs::remove_file(house.folder.path().join(companion)).unwrap();
    }
    fs::rename(&backup, &file).unwrap();
    none_is_accepted_after_the_command(&gateway, &house, &key).await;
    gateway
        .stderr_line("it says why", |line| {
            line.contains("was replaced by another file")
        })
        .await;
    assert_eq!(readiness(&gateway).await["store_answers"], false);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
    let gateway = house.start().await;
    let fresh = house.key("fresh", &[]);
    let mut wire = Wire::connect(gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &fresh.plain).await, 200);
    assert_eq!(ask(&mut wire, &key.plain).await, 401);
}
