//! Each rule, and all mistakes at once.

use proptest::prelude::*;

use super::super::RenderStyle;
use super::{SHORTEST, complaint, read, read_with, shortest_but};

const EIGHT_MISTAKES: &str = r#"worker = 4

[[listeners]]
name = "main"
address = "127.0.0.1"

[upstreams.genesis]
urls = ["https://genesis.example.com/api"]
host = "upstraem"

[[routes]]
name = "api"
path_prefix = "api/"
upstream = "genesys"
scope = "api"

[[routes]]
name = "mcp"
path_prefix = "/mcp"
upstream = "genesis"
scope = "mpc"

[store]
sqlite = "genkan.db"

[limits]
lease_ms = 100
"#;

#[test]
fn eight_mistakes_are_reported_at_once_with_lines_carets_and_near_words() {
    let errors = read(EIGHT_MISTAKES).unwrap_err();
    assert_eq!(errors.count(), 8);
    insta::assert_snapshot!("eight_mistakes", errors.to_string());
    let unicode = RenderStyle {
        colour: false,
        unicode: true,
    };
    insta::assert_snapshot!("eight_mistakes_in_unicode", errors.render(unicode));
}

#[test]
fn colour_is_there_when_it_is_wanted_and_only_then() {
    let errors = read("workers = 0").unwrap_err();
    let coloured = RenderStyle {
        colour: true,
        unicode: true,
    };
    assert!(errors.render(coloured).contains('\u{1b}'));
    assert!(!errors.to_string().contains('\u{1b}'));
}

#[test]
fn an_empty_file_is_told_what_is_missing() {
    let said = complaint("");
    for key in ["listeners", "upstreams", "routes", "store"] {
        assert!(said.contains(&format!("`{key}` is missing")), "{said}");
    }
}

#[test]
fn a_file_that_is_not_toml_is_told_every_place() {
    let said = complaint("[store\nsqlite = \"genkan.db\"\n\n[limits]\nlease_ms = = 3\n");
    assert!(said.contains("[genkan.toml:1:"), "{said}");
    assert!(said.contains("[genkan.toml:5:"), "{said}");
}

const SCOPE: &str = "scope = \"api\"";

/// What of the shortest configuration is replaced by what, and what is told then.
const RULES: &[(&str, &str, &str)] = &[
    (
        "urls = [\"https://genesis.example.com\"]",
        "urls = []",
        "upstreams.genesis.urls: the list is empty",
    ),
    (
        "urls = [\"https://genesis.example.com\"]",
        "urls = \"x\"",
        "expected a list in brackets, found a string",
    ),
    (
        "https://genesis",
        "ftp://genesis",
        "upstreams.genesis.urls[0]: not the URL of an upstream",
    ),
    (
        "genesis.example.com\"]",
        "a\", \"http://b\"]",
        "urls[1]: http and https in one upstream",
    ),
    ("[upstreams.genesis]", "[upstreams.\"a b\"]", "not a name"),
    ("\"genesis\"\n", "\"gnesis\"\n", "did you mean `genesis`?"),
    (
        "\"genesis\"\n",
        "\"other\"\n",
        "write a table [upstreams.other]",
    ),
    ("/api/", "api", "routes[0].path_prefix: not a plain path"),
    ("/api/", "/a/../b", "not a plain path"),
    ("/api/", "/%61", "not a plain path"),
    ("/api/", "/a//b", "not a plain path"),
    (SCOPE, "scope = \"ap\"", "did you mean `api`?"),
    (
        SCOPE,
        "scope = \"api\"\ncredentials = []",
        "credentials: the list is empty",
    ),
    (
        SCOPE,
        "scope = \"api\"\ncredentials = [\"baerer\"]",
        "did you mean `bearer`?",
    ),
    (
        SCOPE,
        "scope = \"api\"\nhost = \"a.example:80\"",
        "not a host name",
    ),
    (
        SCOPE,
        "scope = \"api\"\npublic_paths = [\"/apix\"]",
        "outside of the route's path_prefix",
    ),
    (
        SCOPE,
        "scope = \"api\"\ncors_origins = [\"https://a/\"]",
        "not an origin",
    ),
    (
        SCOPE,
        "scope = \"api\"\nhost = \"a..example\"",
        "not a host name",
    ),
    (
        SCOPE,
        "scope = \"api\"\nkeep_headers = [\"x-api-key\"]",
        "there is no choice for this header",
    ),
    (
        SCOPE,
        "scope = \"api\"\ncors_headers = [\"a b\"]",
        "not the name of a header",
    ),
    (
        SCOPE,
        "scope = \"api\"\npublic_paths = [\"/api/a\"]\nupstream_credential = \
         {header = \"x-api-key\", value = \"v\", public_paths = [\"/api/b\"]}",
        "not a public path of the route",
    ),
    (
        SCOPE,
        "scope = \"api\"\nmcp = 1",
        "expected true or false, found a number",
    ),
    (
        SCOPE,
        "scope = \"api\"\nupstream_credential = {header = \"x-api-key\"}",
        "write one of: value_file, value",
    ),
    (
        "sqlite = \"genkan.db\"",
        "",
        "write one of: sqlite, postgres_file, postgres",
    ),
    (
        "sqlite = \"genkan.db\"",
        "sqlite = \"a\"\npostgres = \"postgres://h/d\"",
        "given twice",
    ),
    (
        "sqlite = \"genkan.db\"",
        "sqlite = \"\"",
        "the path is empty",
    ),
    (
        "sqlite = \"genkan.db\"",
        "sqlite = \"postgres://h/d\"",
        "store.sqlite: a URL where a path is wanted",
    ),
    (
        "sqlite = \"genkan.db\"",
        "postgres = \"mysql://h/d\"",
        "not the URL of a PostgreSQL",
    ),
    (
        "sqlite = \"genkan.db\"",
        "postgres_file = \"none\"",
        "store.postgres_file: there is no such file",
    ),
    (
        "sqlite = \"genkan.db\"",
        "sqlite = \"a\"\nconnections_max = 1",
        "at least 6 and at most 1000",
    ),
    (
        "[store]",
        "[limits]\nlease_ms = 60_001\n[store]",
        "at least 300 and at most 60000",
    ),
    (
        "[store]",
        "[limits]\nlookup_timeout_ms = 9\n[store]",
        "at least 10",
    ),
    (
        "[store]",
        "[limits]\nhead_bytes_max = 1.5\n[store]",
        "found a number with a fraction",
    ),
    (
        "[store]",
        "[limits]\nlaese_ms = 500\n[store]",
        "did you mean `lease_ms`?",
    ),
    (
        "[store]",
        "[log]\nlevel = \"verbose\"\n[store]",
        "one of: error, warn, info, debug, trace",
    ),
    ("[store]", "[stor]\n[store]", "did you mean `store`?"),
    (
        "\n[[listeners]]",
        "workers = 257\n[[listeners]]",
        "at least 1 and at most 256",
    ),
    (
        "\n[[listeners]]",
        "trusted_proxies = [\"10.0.0.0/33\"]\n[[listeners]]",
        "trusted_proxies[0]: not a network",
    ),
];

#[test]
fn every_rule_is_held() {
    for (piece, replacement, told) in RULES {
        let said = complaint(&shortest_but(piece, replacement));
        let said_in_one_line = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said_in_one_line.contains(told), "{replacement}: {said}");
    }
}

#[test]
fn what_must_be_its_own_is_not_taken_twice() {
    let listener = "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:8080\"\n";
    let said = complaint(&format!("{SHORTEST}\n{listener}"));
    assert!(
        said.contains("the same name as listeners[0].name"),
        "{said}"
    );
    assert!(
        said.contains("the same address as listeners[0].address"),
        "{said}"
    );

    let route = "[[routes]]\nname = \"api\"\nscope = \"mcp\"\nupstream = \"genesis\"\n";
    let said = complaint(&format!("{SHORTEST}\n{route}path_prefix = \"/api\"\n"));
    assert!(said.contains("the same name as routes[0].name"), "{said}");
    assert!(
        said.contains("the same host and prefix as routes[0].path_prefix"),
        "{said}"
    );
}

#[test]
fn two_listeners_may_leave_their_ports_to_the_system() {
    let second = "[[listeners]]\nname = \"second\"\naddress = \"127.0.0.1:0\"\n";
    let text = shortest_but(":8080", ":0");
    assert_eq!(
        read(&format!("{text}\n{second}")).unwrap().listeners.len(),
        2
    );
}

#[test]
fn headers_that_belong_to_the_connection_or_to_genkan_are_reserved() {
    for header in [
        "Connection",
        "Host",
        "content-length",
        "transfer-encoding",
        "X-Genkan-User-Id",
        "x_genkan_user_id",
        "X!Genkan!User!Id",
        "transfer~encoding",
        "Via",
        "X_Request_Id",
        "X-Forwarded-For",
    ] {
        let credential = format!("upstream_credential = {{header = \"{header}\", value = \"v\"}}");
        let text = shortest_but("scope = \"api\"", &format!("scope = \"api\"\n{credential}"));
        let said = complaint(&text);
        assert!(said.contains("this header is reserved"), "{header}: {said}");
    }
}

proptest! {
    /// Whatever is written, there is an answer, and it can be drawn.
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        if let Err(errors) = read(&text) {
            prop_assert!(errors.count() > 0);
            errors.render(RenderStyle { colour: true, unicode: true });
        }
    }

    /// Nor does a good file with a piece of it overwritten, or a variable.
    #[test]
    fn no_damage_and_no_variable_makes_it_panic(
        start in 0..SHORTEST.len(),
        length in 0..40_usize,
        piece in "(\\PC|[\\n\\r\\t\"='\\[\\]{}]){0,20}",
        name in "(_|[A-Z]|(LISTENERS__)|(LIMITS__)|(STORE__)){0,6}",
        value in "\\PC{0,20}",
    ) {
        let end = SHORTEST.len().min(start + length);
        let text = format!("{}{piece}{}", &SHORTEST[..start], &SHORTEST[end..]);
        if let Err(errors) = read_with(&text, &[(&format!("GENKAN__{name}"), &value)]) {
            prop_assert!(errors.count() > 0);
            errors.to_string();
        }
    }
}
