//! What the environment says is above what the file says.

use super::super::Store;
use super::{SHORTEST, read_with, shortest_but};

fn refused(name: &str, value: &str) -> String {
    read_with(SHORTEST, &[(name, value)])
        .expect_err("should be refused")
        .to_string()
}

#[test]
fn a_variable_is_the_path_of_keys_and_its_value_is_toml_or_text() {
    let config = read_with(
        SHORTEST,
        &[
            ("GENKAN__LIMITS__LEASE_MS", "5000"),
            ("GENKAN__WORKERS", "3"),
            ("GENKAN__ADMIN__ADDRESS", "127.0.0.1:9"),
            (
                "GENKAN__UPSTREAMS__GENESIS__URLS",
                "[\"http://127.0.0.1:9\"]",
            ),
            ("GENKAN__LISTENERS__MAIN__ADDRESS", "[::1]:443"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.limits.lease_ms, 5_000);
    assert_eq!(config.workers, 3);
    assert_eq!(config.admin.address.port(), 9);
    assert_eq!(config.upstreams[0].addresses[0].to_string(), "127.0.0.1:9");
    assert_eq!(config.listeners[0].address.to_string(), "[::1]:443");
}

#[test]
fn names_with_dashes_and_capitals_can_be_reached() {
    let text = SHORTEST.replace("genesis", "Gene-sis");
    let variable = ("GENKAN__UPSTREAMS__GENE_SIS__IDLE_TIMEOUT_MS", "7");
    let config = read_with(&text, &[variable]).unwrap();
    assert_eq!(config.upstreams[0].idle_timeout_ms, 7);
}

#[test]
fn a_text_that_looks_like_a_number_is_still_a_text() {
    let credential =
        "scope = \"api\"\nupstream_credential = {header = \"x-api-key\", value = \"v\"}";
    let text = shortest_but("scope = \"api\"", credential);
    let variable = ("GENKAN__ROUTES__API__UPSTREAM_CREDENTIAL__VALUE", "1234");
    let config = read_with(&text, &[variable]).unwrap();
    let credential = config.routes[0].upstream_credential.as_ref().unwrap();
    assert_eq!(credential.value, "1234");
    assert!(credential.value.is_sensitive());
}

#[test]
fn a_variable_takes_the_place_of_the_files_other_way() {
    let variable = ("GENKAN__STORE__POSTGRES", "postgres://genkan@db/genkan");
    let config = read_with(SHORTEST, &[variable]).unwrap();
    assert!(matches!(config.store, Store::Postgres { .. }));
}

#[test]
fn two_variables_that_say_different_ways_are_refused() {
    let said = read_with(
        SHORTEST,
        &[
            ("GENKAN__STORE__SQLITE", "a.db"),
            ("GENKAN__STORE__POSTGRES", "postgres://genkan@db/genkan"),
        ],
    )
    .unwrap_err()
    .to_string();
    assert!(said.contains("given twice"), "{said}");
}

#[test]
fn a_mistake_names_the_variable() {
    insta::assert_snapshot!(refused("GENKAN__LIMITS__LEASE_MS", "soon"));
}

#[test]
fn an_unknown_variable_is_a_mistake_with_a_near_name() {
    let said = refused("GENKAN__LIMITS__LAESE_MS", "500");
    assert!(said.contains("GENKAN__LIMITS__LAESE_MS"), "{said}");
    assert!(said.contains("did you mean `LEASE_MS`?"), "{said}");

    let said = refused("GENKAN__LISTENERS__MIAN__ADDRESS", "x");
    assert!(said.contains("did you mean `MAIN`?"), "{said}");

    let said = refused("GENKAN__WORKERS__X", "1");
    assert!(said.contains("expected a whole number"), "{said}");

    let said = refused(&format!("GENKAN__{}", "A__".repeat(9)), "1");
    assert!(said.contains("no key stands this deep"));
}
