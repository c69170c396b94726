//! A disk that is full, and a database's file that is locked, replaced or deleted, under a running gateway on SQLite.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection, raw_sql};
use tokio::task::block_in_place;

use super::{ask, no_panic};
use crate::support::house::{Engine, House, Key, PROMPTLY, Process, field};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_takes_the_files_place_is_taken_up_and_forgets_no_revocation() {
    let upstream = Upstream::start().await;
    let house = House::new(
        Engine::Sqlite,
        upstream.plain,
        "[limits]\nlease_ms = 1_000\n",
    )
    .await;
    let (key, revoked) = (house.key("ci", &[]), house.key("revoked", &[]));
    let mut gateway = house.start().await;
    let mut wire = Wire::connect(gateway.address("plain")).await;
    for key in [&key, &revoked] {
        assert_eq!(ask(&mut wire, &key.plain).await, 200);
    }
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
    block_in_place(|| house.run(&["keys", "revoke", &revoked.id])).ok();
    assert_eq!(ask(&mut wire, &revoked.plain).await, 401);

    for companion in ["genkan.db-wal", "genkan.db-shm"] {
        fs::remove_file(house.folder.path().join(companion)).unwrap();
    }
    fs::rename(&backup, &file).unwrap();
    gateway
        .stderr_line("it noticed", |line| {
            field(line, "message").contains("revoked again what the database had lost")
        })
        .await;
    within("the key works again", async {
        while ask(&mut wire, &key.plain).await != 200 {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    assert_eq!(ask(&mut wire, &revoked.plain).await, 401);
    let shown = block_in_place(|| house.run(&["keys", "show", &revoked.id])).ok();
    assert!(shown.contains("revoked"), "{shown}");
    no_panic(&[gateway]);
}
