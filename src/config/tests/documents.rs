//! The example, the file for Genesis, and what `show` prints are configurations too.

use std::path::{Path, PathBuf};

use super::super::file::RawConfig;
use super::super::limits::Limits;
use super::super::read::{Field, Presence, Read};
use super::super::{Config, UpstreamHost, example, load};
use super::{SHORTEST, read, shortest_but};

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Whether the example is to be written anew rather than compared.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test run, not of the gateway: nothing in config reads it"
)]
fn is_to_be_written() -> bool {
    std::env::var_os("GENKAN_BLESS").is_some()
}

/// With `config` folders to hold the secrets of the example.
fn read_in_a_folder_with_secrets(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    for secret in ["upstream-key", "oidc-client-secret"] {
        std::fs::write(folder.path().join("secrets").join(secret), "key\n").unwrap();
    }
    super::super::parse("example", text, folder.path(), []).unwrap()
}

#[test]
fn the_example_in_the_repository_is_what_the_command_prints() {
    let path = in_repository("config/genkan.example.toml");
    if is_to_be_written() {
        std::fs::write(&path, example()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == example(),
        "run the tests once with GENKAN_BLESS=1"
    );
}

#[test]
fn the_example_is_a_configuration_of_defaults() {
    let config = read(&example()).unwrap();
    assert_eq!(config.limits, Limits::default());
}

#[test]
fn every_file_in_examples_is_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    for (secret, text) in [
        (
            "postgres-url",
            "postgres://genkan:secret@db.example.com/genkan",
        ),
        ("oidc-client-secret", "secret"),
        ("tickets-token", "Bearer secret"),
    ] {
        std::fs::write(folder.path().join("secrets").join(secret), text).unwrap();
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(in_repository("examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        super::super::parse(&name, &text, folder.path(), [])
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        names.push(name);
    }
    names.sort();
    assert_eq!(
        names,
        [
            "behind-a-load-balancer.toml",
            "mcp-servers.toml",
            "one-machine.toml"
        ]
    );
}

#[test]
fn the_defaults_that_the_example_names_are_the_defaults() {
    let commented = read(&example::write(|presence| {
        matches!(presence, Presence::Required | Presence::Either)
    }));
    let written = read(&example::write(|presence| {
        matches!(
            presence,
            Presence::Required | Presence::Either | Presence::Default
        )
    }));
    assert_eq!(
        format!("{:?}", commented.unwrap()),
        format!("{:?}", written.unwrap())
    );
}

#[test]
fn every_line_of_the_example_can_be_uncommented() {
    // All but the other ways to say the same.
    let text = example::write(|presence| presence != Presence::Instead);
    let config = read_in_a_folder_with_secrets(&text);
    assert_eq!(config.workers, 4);
    assert!(config.listeners[0].tls.is_some());
    assert!(config.routes[0].upstream_credential.is_some());
}

#[test]
fn every_key_is_in_the_example_with_a_reason_and_in_what_show_prints() {
    fn each(fields: &[Field], check: &mut impl FnMut(&Field)) {
        for field in fields {
            check(field);
            each(field.fields, check);
        }
    }
    let shown =
        read_in_a_folder_with_secrets(&example::write(|presence| presence != Presence::Instead))
            .show();
    each(RawConfig::FIELDS, &mut |field| {
        assert!(
            !field.reason.trim().is_empty(),
            "{} has no reason",
            field.key
        );
        let line = match field.fields {
            [] => format!("{} = ", field.key),
            _ => field.value.to_owned(),
        };
        assert!(example().contains(&line), "{line} is not in the example");
        // Secrets are shown as if they had been given in the file; SQLite needs no connections.
        let elsewhere = [
            "value_file",
            "client_secret_file",
            "postgres",
            "postgres_file",
            "connections_max",
        ];
        assert!(
            shown.contains(&line) || elsewhere.contains(&field.key),
            "{line} is not shown"
        );
    });
}

#[test]
fn the_example_fits_into_a_terminal() {
    for line in example().lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn what_show_prints_is_the_same_configuration() {
    let text = shortest_but("scope = \"api\"", "scope = \"api\"\nhost = \"A.example\"");
    let config = read(&text).unwrap();
    assert_eq!(
        format!("{:?}", read(&config.show()).unwrap()),
        format!("{config:?}")
    );
    insta::assert_snapshot!(shortened(&config.show()));
}

/// Without the number of cores, which differs.
fn shortened(shown: &str) -> String {
    let lines = shown.lines().filter(|line| !line.starts_with("workers"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn hosts_and_origins_are_kept_as_requests_have_them() {
    for (written, kept) in [
        ("https://A.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("*", "*"),
    ] {
        let origins = format!("scope = \"api\"\ncors_origins = [\"{written}\"]");
        let config = read(&shortest_but("scope = \"api\"", &origins)).unwrap();
        assert_eq!(config.routes[0].cors_origins, [kept]);
    }
    for (written, kept) in [("A.example.", "a.example"), ("[0:0::1]", "[::1]")] {
        let host = format!("scope = \"api\"\nhost = \"{written}\"");
        let config = read(&shortest_but("scope = \"api\"", &host)).unwrap();
        assert_eq!(config.routes[0].host.as_deref(), Some(kept));
    }
}

#[test]
fn the_configuration_for_genesis_is_good() {
    let config = load(&in_repository("config/genkan.toml"), []).unwrap();
    assert_eq!(
        config.upstreams[0].addresses[0].to_string(),
        "genesis.autify.com:443"
    );
    assert_eq!(config.upstreams[0].host, UpstreamHost::Upstream);
    let prefixes: Vec<_> = config
        .routes
        .iter()
        .map(|route| route.path_prefix.as_str())
        .collect();
    assert_eq!(prefixes, ["/api/", "/mcp"]);
}

#[test]
fn relative_paths_begin_at_the_folder_of_the_file() {
    let config = read(SHORTEST).unwrap();
    assert_eq!(
        format!("{:?}", config.store),
        "Sqlite(/etc/genkan/genkan.db)"
    );
}

#[test]
fn a_file_that_is_not_there_says_how_to_begin() {
    let said = load(Path::new("/nowhere/genkan.toml"), [])
        .unwrap_err()
        .to_string();
    assert!(said.contains("cannot read /nowhere/genkan.toml"), "{said}");
    assert!(
        said.contains("genkan config example > /nowhere/genkan.toml"),
        "{said}"
    );
}
