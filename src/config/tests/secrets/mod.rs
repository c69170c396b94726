//! A secret is shown by nothing: not by errors, `show` or Debug.

mod places;

use super::super::Store;
use super::{SHORTEST, read, read_with, shortest_but};

const CANARY: &str = "c4n4ry";

fn assert_hidden(said: &str) {
    assert!(!said.contains(CANARY), "{said}");
}

#[test]
fn a_good_secret_is_in_neither_debug_nor_show() {
    let credential = format!("{{header = \"x-api-key\", value = \"{CANARY}\"}}");
    let text = shortest_but(
        "scope = \"api\"",
        &format!("scope = \"api\"\nupstream_credential = {credential}"),
    );
    let url = format!("postgres://genkan:{CANARY}@db/genkan");
    let config = read_with(&text, &[("GENKAN__STORE__POSTGRES", &url)]).unwrap();
    assert_hidden(&format!("{config:#?}"));
    assert_hidden(&config.show());
    assert!(config.show().contains("postgres = \"(hidden)\""));
    assert!(config.show().contains("value = \"(hidden)\""));
}

#[test]
fn the_line_of_a_refused_secret_is_shown_without_it() {
    let text = shortest_but(
        "sqlite = \"genkan.db\"",
        &format!("postgres = \"postgre://genkan:{CANARY}@db/genkan\" # was http://u:{CANARY}@x"),
    );
    let said = read(&text).unwrap_err().to_string();
    assert_hidden(&said);
    insta::assert_snapshot!(said);
}

const STORE: &str = "sqlite = \"genkan.db\"";
const ROUTE: &str = "scope = \"api\"";

/// A piece of the shortest configuration, and what is written in its place.
const MISTAKES: &[(&str, &str)] = &[
    // A mistyped key, the wrong type, two ways, a line that is not TOML in several ways.
    (STORE, "postgress = \"postgres://g:SECRET@db/g\""),
    (STORE, "postgres = [\"postgres://g:SECRET@db/g\"]"),
    (
        STORE,
        "postgres = \"postgres://g:SECRET@db/g\"\nsqlite = \"x\"",
    ),
    (STORE, "postgres = \"postgres://g:SECRET@db/g"),
    (STORE, "postgres = postgres:g:SECRET"),
    (STORE, "postgres = \"\"\"\nSECRET\n\"\"\" x"),
    (
        "[store]\nsqlite = \"genkan.db\"",
        "store = { postgres = \"SECRET\" ",
    ),
    ("genesis.example.com", "g:SECRET@genesis.example.com"),
    (ROUTE, "scope = \"api\"\nupstream_credential = \"SECRET\""),
    (
        ROUTE,
        "scope = \"api\"\nupstream_credential = {header = \"a b\", value = \"SECRET\"}",
    ),
    (
        ROUTE,
        "scope = \"api\"\nupstream_credential = {header = \"x\", vlaue = \"SECRET\"}",
    ),
    (
        ROUTE,
        "scope = \"api\"\nupstream_credential = {header = \"x\", value = \"SECRET\\n\"}",
    ),
    (
        ROUTE,
        "scope = \"api\"\nupstream_credential = {header = \"x\", value = \"SECRET\"",
    ),
    (
        ROUTE,
        "scope = \"api\"\nupstream_credential = {\nheader = \"x\", value = \"SECRET\" x\n}",
    ),
    // A secret in the place of something else: of a name, an address, a path.
    (
        ROUTE,
        "scope = \"api\"\nupstream_credential = {header = \"Authorization: Bearer SECRET\", value = \"x\"}",
    ),
    (
        ROUTE,
        "scope = \"api\"\nupstream_credential = {header = \"Bearer SECRET\", value = \"x\"} # SECRET",
    ),
    (ROUTE, "scope = \"api\"\ncors_headers = [\"X-Key:SECRET\"]"),
    (ROUTE, "scope = \"api\"\nkeep_headers = [\"X-Key: SECRET\"]"),
    (
        ROUTE,
        "scope = \"api\"\ncors_origins = [\"https://a?SECRET\"]",
    ),
    ("genesis.example.com", "genesis.example.com?token=SECRET"),
    ("genesis.example.com", "genesis.example.com/#SECRET"),
    (
        "\n[[listeners]]",
        "admin.url = \"http://a?SECRET\"\n[[listeners]]",
    ),
    ("[store]", "[oidc]\nissuer = \"https://a?SECRET\"\n[store]"),
    (STORE, "sqlite = \"postgres://g:SECRET@db/g\""),
    (STORE, "sqlite = \"postgres://db/g?password=SECRET\""),
    (STORE, "postgres_file = \"SECRET\""),
    (STORE, "postgress = \"x\" # SECRET"),
    (STORE, "x = 1 # postgres://db/g?password=SECRET"),
];

#[test]
fn no_mistake_near_a_secret_shows_it() {
    for (piece, mistake) in MISTAKES {
        let text = shortest_but(piece, &mistake.replace("SECRET", CANARY));
        let errors = read(&text).unwrap_err();
        assert_hidden(&errors.to_string());
        assert_hidden(&format!("{errors:?}"));
    }
}

#[test]
fn a_secret_in_a_variable_is_hidden_too() {
    for name in [
        "GENKAN__STORE__POSTGRES",
        "GENKAN__STORE__POSTGRS",
        "GENKAN__X",
    ] {
        let said = read_with(SHORTEST, &[(name, CANARY)])
            .unwrap_err()
            .to_string();
        assert_hidden(&said);
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn a_secret_from_a_file_loses_one_newline_and_is_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, format!("postgres://g:{CANARY}@db/g\n")).unwrap();
    let variable = ("GENKAN__STORE__POSTGRES_FILE", file.to_str().unwrap());
    let config = read_with(SHORTEST, &[variable]).unwrap();
    match &config.store {
        Store::Postgres { url, .. } => assert!(url.ends_with("@db/g")),
        other @ Store::Sqlite { .. } => panic!("{other:?}"),
    }

    std::fs::write(&file, CANARY).unwrap();
    assert_hidden(&read_with(SHORTEST, &[variable]).unwrap_err().to_string());
    std::fs::write(&file, "\n").unwrap();
    let said = read_with(SHORTEST, &[variable]).unwrap_err().to_string();
    assert!(said.contains("it is empty"), "{said}");
}
