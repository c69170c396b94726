//! Stories of configurations: good ones, and what is said of the others.

mod documents;
mod environment;
mod mistakes;
mod secrets;

use std::path::Path;

use super::{Config, ConfigErrors};

/// As short as a configuration can be.
const SHORTEST: &str = r#"
[[listeners]]
name = "main"
address = "127.0.0.1:8080"

[upstreams.genesis]
urls = ["https://genesis.example.com"]

[[routes]]
name = "api"
path_prefix = "/api/"
upstream = "genesis"
scope = "api"

[store]
sqlite = "genkan.db"
"#;

/// Reads a text as `genkan.toml` in `/etc/genkan`, with nothing in the environment.
fn read(text: &str) -> Result<Config, ConfigErrors> {
    read_with(text, &[])
}

/// The same, with these variables.
fn read_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    super::parse("genkan.toml", text, Path::new("/etc/genkan"), environment)
}

/// The shortest configuration with one piece of it replaced.
fn shortest_but(piece: &str, replacement: &str) -> String {
    assert!(SHORTEST.contains(piece), "no `{piece}` to replace");
    SHORTEST.replacen(piece, replacement, 1)
}

/// What is said of a text that is not right.
fn complaint(text: &str) -> String {
    read(text).expect_err("should be refused").to_string()
}
