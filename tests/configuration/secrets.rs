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

#[test]
fn a_secret_in_the_place_of_a_path_is_not_shown() {
    let url = format!("postgres://g:{CANARY}@127.0.0.1/g");
    for store in [
        format!("postgres_file = \"{url}\""),
        format!("postgres_file = \"{CANARY}\" # {CANARY}"),
        format!("sqlite = \"{url}\""),
        format!("sqlite = \"postgres://127.0.0.1/g?password={CANARY}\""),
    ] {
        for command in [&["config", "check"][..], &["serve"]] {
            let done = Written::new(&store, "").run(command, &[]);
            done.failed_at_length(3, &["genkan.toml:"]);
            assert_hidden(&done);
        }
    }
    for lines in [
        format!("client_secret_file = \"{CANARY}\""),
        format!("client_secrets = \"x\" # {CANARY}"),
        format!("client_secret.{CANARY} = 1"),
        format!("[oidc.client_secret.{CANARY}]"),
    ] {
        let done = with_oidc(&lines).run(&["config", "check"], &[]);
        done.failed_at_length(3, &["genkan.toml:"]);
        assert_hidden(&done);
    }
}
