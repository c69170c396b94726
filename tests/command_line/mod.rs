//! The command line where something is wrong: one clear sentence, what to do, and the right code; and
//! what it prints for machines.

mod keys;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

use crate::support::deployment::{Deployment, Done, Engine, genkan};
use crate::support::postgres;
use crate::support::tls::Certificate;
use crate::support::within;

/// Nothing is asked of it by these stories.
const NO_UPSTREAM: &str = "127.0.0.1:9";
/// An id that nothing has.
const NO_KEY: &str = "key_00000000000000000000000000000000";

/// A configuration in a folder of its own, with `replacement` for a part of a good one.
struct Written {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Written {
    fn new(part: &str, replacement: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("genkan.toml");
        let good = format!(
            "[admin]\naddress = \"127.0.0.1:0\"\n[[listeners]]\nname = \"main\"\n\
             address = \"127.0.0.1:0\"\n[upstreams.genesis]\nurls = [\"http://{NO_UPSTREAM}\"]\n\
             [[routes]]\nname = \"api\"\npath_prefix = \"/api/\"\nupstream = \"genesis\"\n\
             scope = \"api\"\n[store]\nsqlite = \"genkan.db\"\n"
        );
        assert!(good.contains(part), "{part}");
        std::fs::write(&file, good.replace(part, replacement)).unwrap();
        Self {
            _folder: folder,
            file,
        }
    }

    /// With another database.
    fn store(line: &str) -> Self {
        Self::new("sqlite = \"genkan.db\"", line)
    }

    fn sqlite(path: &Path) -> Self {
        Self::store(&format!("sqlite = {path:?}"))
    }

    fn serve(&self) -> Done {
        genkan(&[
            "serve",
            "--no-wait",
            "--config",
            self.file.to_str().unwrap(),
        ])
    }

    fn init(&self) -> Done {
        genkan(&["init", "--config", self.file.to_str().unwrap()])
    }

    /// A command that writes.
    fn create(&self) -> Done {
        let config = self.file.to_str().unwrap();
        genkan(&["organizations", "create", "Story", "--config", config])
    }

    /// Server and command fail alike.
    fn both_fail(&self, code: i32, words: &[&str]) {
        let served = self.serve();
        println!("{}", served.stderr);
        served.failed(code, words);
        self.create().failed(code, words);
    }
}

#[test]
fn a_broken_configuration_is_shown_with_line_caret_and_advice() {
    let broken = Written::new("path_prefix", "path_prefx");
    let served = broken.serve();
    println!("{}", served.stderr);
    let words = ["genkan.toml", ":10:1", "path_prefx", "^", "did you mean"];
    served.failed_at_length(3, &words);
    let absent = genkan(&["serve", "--config", "/nowhere/genkan.toml"]);
    println!("{}", absent.stderr);
    absent.failed_at_length(3, &["/nowhere/genkan.toml"]);
}

fn with_tls(certificate: &Path, key: &Path) -> Written {
    let tls = format!(
        "[listeners.tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n[upstreams.genesis]"
    );
    Written::new("[upstreams.genesis]", &tls)
}

#[test]
fn an_unusable_certificate_is_named() {
    let (mine, other) = (Certificate::for_loopback(), Certificate::for_loopback());
    let absent = mine.certificate_file.with_file_name("absent.pem");
    let served = with_tls(&absent, &mine.key_file).serve();
    println!("{}", served.stderr);
    served.failed(8, &["absent.pem", "certificate", "name a PEM file"]);
    let served = with_tls(&mine.certificate_file, &other.key_file).serve();
    println!("{}", served.stderr);
    served.failed(
        8,
        &["does not fit", "key.pem", "certificate.pem", "made for"],
    );
    // A key where the certificate should be.
    with_tls(&mine.key_file, &mine.key_file)
        .serve()
        .failed(8, &["key.pem", "certificate"]);
}

#[test]
fn a_busy_port_of_a_server_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = format!("name = \"main\"\naddress = \"{address}\"");
    let written = Written::new("name = \"main\"\naddress = \"127.0.0.1:0\"", &listen);
    let served = written.serve();
    println!("{}", served.stderr);
    served.failed(8, &[&address]);
}

#[test]
fn what_is_no_database_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("letter.db");
    std::fs::write(&text, "Dear genkan, I am not a database. ".repeat(100)).unwrap();
    Written::sqlite(&text).both_fail(4, &["letter.db", "not an SQLite database", "another file"]);
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    Written::sqlite(folder.path()).both_fail(4, &[name, "name a file in it"]);
}

async fn sqlite(path: &Path) -> SqliteConnection {
    let url = format!("sqlite://{}", path.display());
    SqliteConnection::connect(&url).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_another_process_holds_is_given_up_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("genkan.db");
    let written = Written::sqlite(&path);
    written.init().ok();
    let mut holder = sqlite(&path).await;
    holder.execute("BEGIN IMMEDIATE").await.unwrap();
    let create = tokio::task::spawn_blocking(move || written.create());
    let done = within("it gives up", create).await.unwrap();
    println!("{}", done.stderr);
    done.failed(4, &["locked by another process"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_genkan_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("genkan.db");
    let written = Written::sqlite(&path);
    written.init().ok();
    let newer = "UPDATE _sqlx_migrations SET version = 99 WHERE version = 2";
    let mut connection = sqlite(&path).await;
    connection.execute(newer).await.unwrap();
    connection.close().await.unwrap();
    written.both_fail(4, &["newer genkan", "99", "run that version"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_is_away_or_takes_no_writes_is_said_to_be_so() {
    let away = Written::store(&format!(
        "postgres = \"postgres://genkan:s3cret@{NO_UPSTREAM}/x\""
    ));
    away.both_fail(4, &[NO_UPSTREAM]);
    assert!(
        !away.serve().stderr.contains("s3cret"),
        "the password is shown"
    );

    let url = postgres::database().await;
    let written = Written::store(&format!("postgres = {url:?}"));
    written.init().ok();
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute(AssertSqlSafe(read_only)).await.unwrap();
    connection.close().await.unwrap();
    let config = written.file.to_str().unwrap();
    let done = genkan(&["organizations", "create", "Second", "--config", config]);
    println!("{}", done.stderr);
    done.failed(4, &["read-only"]);
    let served = written.serve();
    println!("{}", served.stderr);
    served.failed(4, &["read-only"]);
}

async fn deployment() -> Deployment {
    Deployment::new(Engine::Sqlite, NO_UPSTREAM.parse().unwrap(), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_allowed_is_said_in_one_sentence() {
    let deployment = deployment().await;
    for command in ["show", "revoke"] {
        let done = deployment.run(&["keys", command, NO_KEY]);
        done.failed(5, &[NO_KEY, "genkan keys list --all"]);
    }
    let create = [
        "keys",
        "create",
        "--name",
        "x",
        "--member",
        "nobody@example.com",
    ];
    deployment
        .run(&create)
        .failed(5, &["nobody@example.com", "genkan members add"]);
    deployment
        .run(&["organizations", "create", "Story"])
        .failed(6, &["Story", "exists already"]);
    let again = [
        "members",
        "add",
        "hana@example.com",
        "--name",
        "Hana",
        "--role",
        "admin",
    ];
    deployment.run(&again).failed(6, &["hana@example.com"]);
    let last = deployment.run(&["members", "remove", "hana@example.com"]);
    println!("{}", last.stderr);
    last.failed(6, &["owner"]);
    let remove = deployment.run(&["members", "remove", "nobody@example.com"]);
    remove.failed(5, &["nobody@example.com"]);
}

#[test]
fn a_mistyped_data_folder_does_not_become_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("dtaa");
    let list = genkan(&["keys", "list", "--data", absent.to_str().unwrap()]);
    list.failed(4, &["dtaa", "genkan dev", "--config"]);
    assert!(!absent.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_for_machines_too() {
    let deployment = deployment().await;
    let quiet = [
        "keys",
        "create",
        "--name",
        "ci",
        "--member",
        "hana@example.com",
        "-q",
    ];
    let done = deployment.run(&quiet);
    assert_eq!(
        (done.stdout.lines().count(), done.stderr.as_str()),
        (1, ""),
        "{done:?}"
    );
    assert!(
        done.stdout.starts_with("gk_") && done.stdout.ends_with('\n'),
        "{done:?}"
    );
    let json = [&quiet[..6], &["--output", "json"]].concat();
    let made: serde_json::Value = serde_json::from_str(&deployment.run(&json).ok()).unwrap();
    assert!(made["key"].as_str().unwrap().starts_with("gk_"));
    assert!(made["id"].as_str().unwrap().starts_with("key_"));
    assert_eq!(made["scopes"], serde_json::json!(["api", "mcp"]));
    let key = deployment.key("second", &[]);
    for (command, count) in [
        (&["keys", "list"][..], Some(3)),
        (&["keys", "show", &key.id], None),
        (&["members", "list"], Some(1)),
        (&["organizations", "list"], Some(1)),
        (&["status"], None),
    ] {
        let text = deployment
            .run(&[command, &["--output", "json"]].concat())
            .ok();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json.as_array().map(Vec::len), count, "{command:?}: {text}");
    }
}

/// Runs a command whose reader closes the pipe before anything is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_is_no_failure() {
    let deployment = deployment().await;
    deployment.key("ci", &[]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for arguments in [&["keys", "list"][..], &["keys", "list", "--output", "json"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_genkan"))
            .args(arguments)
            .arg("--config")
            .arg(deployment.config())
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_init_and_serve_make_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mistyped/genkan.db");
    let url = postgres::database().await;
    for (written, named) in [
        (Written::sqlite(&file), file.to_str().unwrap()),
        (Written::store(&format!("postgres = {url:?}")), "PostgreSQL"),
    ] {
        let config = written.file.to_str().unwrap();
        let run = |arguments: &[&str]| genkan(&[arguments, &["--config", config]].concat());
        for command in [
            &["keys", "list"][..],
            &["keys", "revoke-all", "--everybody"],
            &["members", "list"],
            &["organizations", "create", "Story"],
            &["sessions", "list"],
            &["audit", "verify"],
            &["status"],
        ] {
            run(command).failed(4, &["there is no genkan database", named, "genkan init"]);
        }
        let checked = run(&["config", "check"]);
        checked.failed_at_length(3, &["there is no genkan database", named]);
        let is_file = named != "PostgreSQL";
        assert!(
            !is_file || !file.parent().unwrap().exists(),
            "a command made a folder"
        );
        let made = run(&["init"]);
        assert_eq!(made.code, Some(0), "{made:?}");
        assert_eq!(run(&["keys", "list"]).code, Some(0));
        // A second time it changes nothing.
        run(&["organizations", "create", "Story"]).ok();
        assert_eq!(run(&["init"]).code, Some(0));
        assert!(run(&["organizations", "list"]).ok().contains("Story"));
    }
    let nowhere = folder.path().join("nowhere");
    let listed = genkan(&["keys", "list", "--data", nowhere.to_str().unwrap()]);
    listed.failed(4, &["there is no database at", "genkan dev"]);
}
