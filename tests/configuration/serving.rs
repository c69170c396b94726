//! `config check` and `serve` ask the database the same: what one refuses, the other refuses, in the same words.

use std::os::unix::fs::PermissionsExt as _;

use tokio::task::block_in_place;

use super::Written;
use crate::support::deployment::Deployment;
use crate::support::other_user;
use crate::support::pooler::Pooler;
use crate::support::postgres::Server;
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;

/// Both refuse, and both say this.
fn both_refuse(written: &Written, words: &[&str]) {
    let checked = written.run(&["config", "check"], &[]);
    checked.failed_at_length(3, words);
    let served = written.run(&["serve", "--no-wait"], &[]);
    served.failed(4, words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_standby_is_refused_by_both() {
    let primary = block_in_place(Server::start_private);
    let url = primary.database("genkan").await;
    let written = Written::new(&format!("postgres = {url:?}"), "");
    written.run(&["init"], &[]).ok();
    let checked = written.run(&["config", "check"], &[]);
    assert!(checked.stderr.contains("ok: database"), "{checked:?}");
    let standby = block_in_place(|| primary.standby());
    standby.catch_up(&primary).await;
    let url = standby.url("genkan");
    let words = ["takes no writes", "standby", "name the primary"];
    both_refuse(&Written::new(&format!("postgres = {url:?}"), ""), &words);
    // Reading is what a standby is for.
    let listed = Written::new(&format!("postgres = {url:?}"), "");
    assert_eq!(listed.run(&["keys", "list"], &[]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_lends_sessions_by_the_transaction_is_refused_by_both() {
    let server = block_in_place(Server::start_private);
    let url = server.database("genkan").await;
    Written::new(&format!("postgres = {url:?}"), "")
        .run(&["init"], &[])
        .ok();
    for mode in ["transaction", "statement"] {
        let pooler = Pooler::start(&server, mode).await;
        let url = pooler.url("genkan");
        let words = [
            "gives each transaction another session",
            "pool_mode = session",
        ];
        both_refuse(&Written::new(&format!("postgres = {url:?}"), ""), &words);
    }
}

/// Revocations too: they arrive by LISTEN, on a session of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_keeps_sessions_serves_like_the_server_itself() {
    let server = block_in_place(Server::start_private);
    server.database("genkan").await;
    let pooler = Pooler::start(&server, "session").await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::on(&pooler.url("genkan"), upstream.plain, "");
    let checked = deployment.run(&["config", "check"]);
    assert!(checked.stderr.contains("ok: database"), "{checked:?}");
    let gateway = deployment.start().await;
    let key = deployment.key("ci", &[]);
    let status = async || {
        let request = format!(
            "GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {}\r\n\r\n",
            key.plain
        );
        let mut wire = Wire::connect(gateway.address("plain")).await;
        wire.ask(request).await.status
    };
    assert_eq!(status().await, 200);
    deployment.run(&["keys", "revoke", &key.id]).ok();
    assert_eq!(status().await, 401);
}

/// SQLite opens a file that it may only read without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_may_only_be_read_is_refused_by_both() {
    let written = Written::new("sqlite = \"genkan.db\"", "");
    written.run(&["init"], &[]).ok();
    let file = written.path().join("genkan.db");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o400)).unwrap();
    for (command, code) in [(&["config", "check"][..], 3), (&["serve", "--no-wait"], 4)] {
        let binary = other_user::command(&[written.path()]);
        let done = written.run_command(binary, command);
        assert_eq!(done.code, Some(code), "{done:?}");
        assert!(done.stderr.contains("read-only"), "{done:?}");
    }
}
