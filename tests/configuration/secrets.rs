//! No command shows a secret of the configuration, whatever is wrong with it. (Every secret and every
//! mistake: `config::tests::secrets`.)

use super::{CANARY, Written, assert_hidden};

const OIDC: &str = "[oidc]\nissuer = \"https://login.example.com\"\nclient_id = \"genkan\"\n";

fn with_oidc(lines: &str) -> Written {
    Written::new("sqlite = \"genkan.db\"", &format!("{OIDC}{lines}\n"))
}

#[test]
fn a_client_secret_in_a_file_that_is_not_toml_is_not_shown() {
    for lines in [
        format!("client_secret = \"{CANARY}"),
        format!("client_secret = {CANARY}"),
        format!("client_secret = \"{CANARY}\" x"),
        format!("client_secret = \"\"\"\n{CANARY}==\n\"\"\" x"),
        format!("client_secret = \"\"\"\nsqlite = {CANARY}\n\"\"\" x"),
    ] {
        let written = with_oidc(&lines);
        for command in [&["config", "check"][..], &["config", "show"], &["serve"]] {
            let done = written.run(command, &[]);
            done.failed_at_length(3, &["not TOML"]);
            assert_hidden(&done);
        }
    }
}

#[test]
fn a_client_secret_in_the_environment_replaces_the_files_and_is_not_shown() {
    let written = with_oidc("client_secret_file = \"secret\"");
    std::fs::write(written.path().join("secret"), "other\n").unwrap();
    let done = written.run(
        &["config", "show"],
        &[("GENKAN__OIDC__CLIENT_SECRET", CANARY)],
    );
    assert_hidden(&done);
    assert!(done.ok().contains("client_secret = \"(hidden)\""));
}
