//! SQLite's files moved, linked, deleted, replaced, or taken from the gateway's user, under a running gateway.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, raw_sql};
use tokio::task::block_in_place;

use super::files::{PAUSE, RECOVERY, deployment_in_a_folder, readiness};
use super::{ask, no_panic, request};
use crate::support::deployment::{Deployment, Engine, Key, PROMPTLY, Process, genkan};
use crate::support::other_user;
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;
use crate::support::within;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_503_until_it_is_back() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(
        Engine::Sqlite,
        upstream.plain,
        "[limits]\nlease_ms = 1_000\n",
    )
    .await;
    let key = deployment.key("ci", &[]);
    let gateway = deployment.start().await;
    let mut wire = Wire::connect(gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);
    let file = deployment.folder.path().join("genkan.db");
    let away = deployment.folder.path().join("away.db");
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

/// Revokes while the gateway is stopped in its tracks, by a deployment that may know the database by another name; lets
/// it go on, and sends requests on a connection that was open before: none may be accepted.
async fn none_is_accepted_after_the_command(gateway: &Process, by: &Deployment, key: &Key) {
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
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let key = deployment.key("ci", &[]);
    let gateway = deployment.start().await;
    let file = deployment.folder.path().join("genkan.db");
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let other = Deployment::at(folder, &format!("sqlite = {link:?}"), upstream.plain, "");
    none_is_accepted_after_the_command(&gateway, &other, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_whose_file_was_deleted_are_waited_for() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let key = deployment.key("ci", &[]);
    let gateway = deployment.start().await;
    let mut wire = Wire::connect(gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);
    for name in [
        "genkan.db-leases",
        "genkan.db-leases-wal",
        "genkan.db-leases-shm",
    ] {
        fs::remove_file(deployment.folder.path().join(name)).unwrap();
    }
    none_is_accepted_after_the_command(&gateway, &deployment, &key).await;
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

/// SQLite finds other processes through these: who has others than are at the paths is alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_companion_files_were_deleted_refuses_and_is_waited_for() {
    for deleted in [
        &["genkan.db-wal", "genkan.db-shm"][..],
        &["genkan.db-shm"],
        &["genkan.db-leases-wal", "genkan.db-leases-shm"],
    ] {
        let upstream = Upstream::start().await;
        let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
        let key = deployment.key("ci", &[]);
        let mut gateway = deployment.start().await;
        let mut wire = Wire::connect(gateway.address("plain")).await;
        assert_eq!(ask(&mut wire, &key.plain).await, 200);
        for name in deleted {
            fs::remove_file(deployment.folder.path().join(name)).unwrap();
        }
        none_is_accepted_after_the_command(&gateway, &deployment, &key).await;
        let is_why = |line: &str| deleted.iter().any(|name| line.contains(name));
        gateway.stderr_line("it says why", is_why).await;
        assert_eq!(ask(&mut wire, &key.plain).await, 503, "{deleted:?}");
        // What it has open is not written over what others have written since.
        gateway.signal(Signal::TERM);
        assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
        let gateway = deployment.start().await;
        let mut wire = Wire::connect(gateway.address("plain")).await;
        assert_eq!(ask(&mut wire, &key.plain).await, 401, "{deleted:?}");
    }
}

/// The management API asks the database itself: what it reads there is nobody else's any more.
#[tokio::test(flavor = "multi_thread")]
async fn management_of_a_gateway_that_is_alone_is_503() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let key = deployment.key("script", &["--scope", "manage"]);
    let gateway = deployment.start().await;
    let list = format!(
        "GET /api/v1/keys HTTP/1.1\r\nHost: {}\r\nx-api-key: {}\r\n\r\n",
        gateway.address("admin"),
        key.plain
    );
    let mut wire = Wire::connect(gateway.address("admin")).await;
    assert_eq!(wire.ask(&list).await.status, 200);
    for name in ["genkan.db-wal", "genkan.db-shm"] {
        fs::remove_file(deployment.folder.path().join(name)).unwrap();
    }
    block_in_place(|| deployment.run(&["keys", "revoke", &key.id])).ok();
    let begun = Instant::now();
    let mut wire = Wire::connect(gateway.address("admin")).await;
    assert_eq!(wire.ask(&list).await.status, 503);
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
}

/// A copy of the whole folder, put back while a gateway runs on what was there.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_folder_does_not_hide_the_gateways_that_ran_before() {
    let upstream = Upstream::start().await;
    let deployment = deployment_in_a_folder(&upstream);
    let key = deployment.key("ci", &[]);
    let data = deployment.folder.path().join("data");
    let (cold, gone) = (
        deployment.folder.path().join("cold"),
        deployment.folder.path().join("gone"),
    );
    let copied = Command::new("cp").arg("-a").args([&data, &cold]).status();
    assert!(copied.unwrap().success());
    let gateway = deployment.start().await;
    let mut wire = Wire::connect(gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);
    fs::rename(&data, &gone).unwrap();
    fs::rename(&cold, &data).unwrap();
    none_is_accepted_after_the_command(&gateway, &deployment, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_name_of_the_database_is_refused() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let file = deployment.folder.path().join("genkan.db");
    let other = deployment.folder.path().join("other.db");
    fs::hard_link(&file, &other).unwrap();
    let text = fs::read_to_string(deployment.config()).unwrap();
    let config = deployment.folder.path().join("other.toml");
    fs::write(&config, text.replace("genkan.db", "other.db")).unwrap();
    for config in [deployment.config(), config] {
        let done = genkan(&["keys", "list", "--config", config.to_str().unwrap()]);
        done.failed(4, &["hard link", "second name"]);
    }
    fs::remove_file(&other).unwrap();
    deployment.run(&["keys", "list"]).ok();
}

/// What is wrong with the file of leases is said of it, and never with advice for the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_leases_is_named_and_may_be_removed() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let leases = deployment.folder.path().join("genkan.db-leases");
    for name in ["-wal", "-shm"] {
        let companion = format!("{}{name}", leases.display());
        if fs::exists(&companion).unwrap() {
            fs::remove_file(companion).unwrap();
        }
    }
    fs::write(&leases, "no database ".repeat(1_000)).unwrap();
    let done = deployment.run(&["keys", "list"]);
    done.failed(4, &["genkan.db-leases", "remove it", "start them again"]);
    assert!(!done.stderr.contains("backup"), "{done:?}");
    fs::remove_file(&leases).unwrap();
    deployment.run(&["keys", "list"]).ok();
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
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let (key, other) = (deployment.key("ci", &[]), deployment.key("other", &[]));
    let gateway = deployment.start().await;
    let leases = deployment.folder.path().join("genkan.db-leases");
    for _ in 0..3 {
        let looked = Command::new("python3")
            .args(["-c", ANOTHER_PROGRAM])
            .arg(&leases)
            .output()
            .unwrap();
        assert_eq!(looked.stdout, b"1\n", "{looked:?}");
    }
    let revoked =
        block_in_place(|| deployment.run(&["keys", "revoke", &other.id, "--output", "json"]));
    let receipt: serde_json::Value = serde_json::from_str(&revoked.ok()).unwrap();
    assert_eq!(
        receipt["instances"][0]["result"], "acknowledged",
        "{receipt:#}"
    );
    none_is_accepted_after_the_command(&gateway, &deployment, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_database_was_replaced_refuses_and_is_waited_for() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let key = deployment.key("ci", &[]);
    let mut gateway = deployment.start().await;
    // The log of the running gateway is longer than that of the backup will be.
    let file = deployment.folder.path().join("genkan.db");
    let backup = deployment.folder.path().join("backup.db");
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
        deployment.key(name, &[]);
    }
    drop(connection);
    let mut wire = Wire::connect(gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);
    for companion in ["genkan.db-wal", "genkan.db-shm"] {
        fs::remove_file(deployment.folder.path().join(companion)).unwrap();
    }
    fs::rename(&backup, &file).unwrap();
    none_is_accepted_after_the_command(&gateway, &deployment, &key).await;
    gateway
        .stderr_line("it says why", |line| {
            line.contains("was replaced by another file")
        })
        .await;
    assert_eq!(readiness(&gateway).await["store_answers"], false);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.ended().await, Some(0), "{:#?}", gateway.stderr());
    let gateway = deployment.start().await;
    let fresh = deployment.key("fresh", &[]);
    let mut wire = Wire::connect(gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &fresh.plain).await, 200);
    assert_eq!(ask(&mut wire, &key.plain).await, 401);
}

/// The folder's permissions are taken away and given back: the gateway cannot know any more whether the files are those
/// that others see, and says so; it recovers by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_may_not_be_entered_is_503_until_it_may() {
    let upstream = Upstream::start().await;
    let limits = "[limits]\nlease_ms = 1_000\n";
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, limits).await;
    let key = deployment.key("ci", &[]);
    let certificate = deployment.certificate.certificate_file.parent().unwrap();
    let folder = deployment.folder.path();
    let mut command = other_user::command(&[folder, certificate]);
    command.args(["serve", "--config", deployment.config().to_str().unwrap()]);
    let gateway = Deployment::ready(Process::spawn(command)).await;
    let mut wire = Wire::connect(gateway.address("plain")).await;
    assert_eq!(ask(&mut wire, &key.plain).await, 200);
    let set = |mode| fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    set(0o000);
    within("the lease ends", async {
        while ask(&mut wire, &key.plain).await != 503 {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    assert_eq!(readiness(&gateway).await["store_answers"], false);
    set(0o700);
    let back = Instant::now();
    within("the key works again", async {
        while ask(&mut wire, &key.plain).await != 200 {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    println!(
        "permissions taken: normal {:?} after they are back",
        back.elapsed()
    );
    assert!(back.elapsed() < RECOVERY + PROMPTLY);
    no_panic(&[gateway]);
}

/// A database that may only be read: what writes says so, what reads goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_only_be_read_is_named_by_what_writes() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    deployment.key("ci", &[]);
    let folder = deployment.folder.path();
    let certificate = deployment.certificate.certificate_file.parent().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = other_user::command(&[folder, certificate]);
        command
            .args(arguments)
            .arg("--config")
            .arg(deployment.config());
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, said) = run(&["keys", "list"]);
    assert_eq!(code, Some(0), "{said}");
    // With their companions: SQLite makes those as the file is.
    let files = || {
        let all = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
        all.filter(|it| {
            it.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("genkan.db")
        })
    };
    let set = |mode| {
        files().for_each(|file| {
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        });
    };
    set(0o400);
    let (code, said) = run(&["organizations", "create", "Other"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("read-only"), "{said}");
    set(0o600);
    assert_eq!(run(&["organizations", "create", "Other"]).0, Some(0));
}
