//! Every form of a URL, and every option.

use proptest::prelude::*;

use super::options::{OPTIONS, Rule};
use super::*;

fn read(url: &str) -> Result<Server, UrlError> {
    url.parse()
}

fn good(url: &str) -> Server {
    read(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn refused(url: &str) -> String {
    match read(url) {
        Ok(server) => panic!("{url} is taken: {server:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_form_of_a_host_is_read_as_libpq_reads_it() {
    let host = |name: &str| Place::Host(name.to_owned());
    let folder = |path: &str| Place::Folder(path.into());
    for (url, place, port) in [
        ("postgres://db", host("db"), 5432),
        ("postgresql://db:6543", host("db"), 6543),
        (
            "postgres://db.example.com:6543/x",
            host("db.example.com"),
            6543,
        ),
        ("postgres://u:p@db/x", host("db"), 5432),
        ("postgres://10.0.0.1/x", host("10.0.0.1"), 5432),
        ("postgres://[::1]/x", host("::1"), 5432),
        (
            "postgres://u@[2001:db8::1]:6543/x",
            host("2001:db8::1"),
            6543,
        ),
        ("postgres://[fe80::1%25eth0]/x", host("fe80::1%eth0"), 5432),
        ("postgres:///x?host=::1", host("::1"), 5432),
        ("postgres:///x?hostaddr=::1", host("::1"), 5432),
        (
            "postgres://db/x?hostaddr=10.0.0.1&sslmode=require",
            host("10.0.0.1"),
            5432,
        ),
        ("postgres:///x", Place::Here, 5432),
        ("postgres://:6543/x", Place::Here, 6543),
        ("postgres://u@/x", Place::Here, 5432),
        ("postgres:///x?host=/run/pg", folder("/run/pg"), 5432),
        ("postgres://db/x?host=/run/pg&port=1", folder("/run/pg"), 1),
        ("postgres://%2Frun%2Fpg/x", folder("/run/pg"), 5432),
        ("postgres://u:p@%2frun%2fpg:6543/x", folder("/run/pg"), 6543),
    ] {
        let server = good(url);
        assert_eq!((server.place, server.port), (place, port), "{url}");
    }
}

#[test]
fn what_names_no_one_host_is_refused() {
    for (url, told) in [
        ("postgres://a,b/x", "several hosts"),
        ("postgres://a:1,b:2/x", "several hosts"),
        ("postgres://[::1]:1,b/x", "several hosts"),
        ("postgres:///x?host=a,b", "several hosts"),
        ("postgres:///x?hostaddr=1.2.3.4,::1", "several hosts"),
        ("postgres:///x?host=@abstract", "abstract"),
        ("postgres://[::1/x", "not an IPv6 address in brackets"),
        ("postgres://[]/x", "not an IPv6 address in brackets"),
        ("postgres://[::1]x/x", "not an IPv6 address in brackets"),
        ("postgres://db:x/x", "not a number from 1 to 65535"),
        ("postgres://db:0/x", "not a number from 1 to 65535"),
        ("postgres://db:65536/x", "not a number from 1 to 65535"),
        ("postgres://db:+80/x", "not a number from 1 to 65535"),
        ("postgres://d b/x", "neither a name"),
        ("postgres://d%00b/x", "%00"),
        ("postgres://d%zzb/x", "two hexadecimal digits"),
        ("postgres://d%ffb/x", "UTF-8"),
        ("postgres://", "not the URL"),
        ("mysql://db/x", "not the URL"),
        ("host=db dbname=x", "not the URL"),
    ] {
        let said = refused(url);
        assert!(said.contains(told), "{url}: {said}");
    }
}

#[test]
fn user_password_and_database_are_read_without_their_escapes() {
    for (url, user, password, database) in [
        ("postgres://db", None, "", None),
        ("postgres://u@db", Some("u"), "", None),
        ("postgres://u:@db/x", Some("u"), "", Some("x")),
        (
            "postgres://u:p%40%2F%3F%23%25@db/x%20y",
            Some("u"),
            "p@/?#%",
            Some("x y"),
        ),
        ("postgres://u:a+b#c@db/x", Some("u"), "a+b#c", Some("x")),
        ("postgres://u%40corp:p@db", Some("u@corp"), "p", None),
        // Not escaped, and still clear.
        ("postgres://u:p@ss@db/x", Some("u"), "p@ss", Some("x")),
        (
            "postgres://db?user=u@corp&password=p&dbname=x",
            Some("u@corp"),
            "p",
            Some("x"),
        ),
        ("postgres://u:p@db/x?user=v", Some("v"), "p", Some("x")),
    ] {
        let server = good(url);
        let read = (server.user.as_deref(), server.password.as_str());
        assert_eq!(read, (user, password), "{url}");
        assert_eq!(server.database.as_deref(), database, "{url}");
    }
}

#[test]
fn no_error_holds_a_part_of_a_password() {
    for url in [
        "postgres://u:c4n/4ry@db/x",
        "postgres://u:12/c4n4ry@db/x",
        "postgres://u:c4n4ry?c4n4ry=1@db/x",
        "postgres://u:p@h?c4n4ry=1@db/x",
        "postgres://u:p@c4n4ry/y@db/x",
        "postgres://u:c4n4ry%@db/x",
        "postgres://u:c4n4ry@db:c4n4ry/x",
        "postgres://u:[c4n4ry@db/x?sslmode=c4n4ry",
        "postgres://c4n4ry:c4n4ry",
        "postgres://u:c4n4ry@db/x?password=c4n4ry&password=c4n4ry",
        "postgres://u:p@db/x?application_name=c4n4ry=c4n4ry",
        "postgres://u:p@db/x?options=c4n4ry",
        "postgres://u:p@db/x?passfile=c4n4ry",
        "postgres://u:p@db/x?c4n%204ry=1&c4n4ry c4n4ry=1",
        "postgre://u:c4n4ry@db/x",
        "c4n4ry",
    ] {
        let said = refused(url);
        assert!(!said.contains("c4n") && !said.contains("4ry"), "{said}");
    }
    let server = good("postgres://c4n4ry:c4n4ry@db/c4n4ry");
    assert!(!format!("{server:?}").contains("c4n4ry"));
}

/// All that libpq 18 knows (`PQconninfoOptions` in fe-connect.c), and `ssl`, which it takes in URLs.
const LIBPQ: &[&str] = &[
    "service",
    "servicefile",
    "user",
    "password",
    "passfile",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslmode",
    "sslnegotiation",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslkeylogfile",
    "sslcertmode",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "requirepeer",
    "require_auth",
    "min_protocol_version",
    "max_protocol_version",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "gssencmode",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "replication",
    "target_session_attrs",
    "load_balance_hosts",
    "scram_client_key",
    "scram_server_key",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
    "ssl",
];

#[test]
fn every_option_of_libpq_is_honoured_or_refused_with_a_sentence() {
    for name in LIBPQ {
        assert!(OPTIONS.iter().any(|(known, _)| known == name), "{name}");
    }
    for (name, rule) in OPTIONS {
        match rule {
            Rule::Honoured(_) | Rule::Taken(_) => {}
            Rule::Only(words, why) => {
                for word in *words {
                    good(&format!("postgres://db/x?{name}={word}"));
                }
                let said = refused(&format!("postgres://db/x?{name}=something"));
                assert!(said.contains(name) && said.contains(why), "{said}");
            }
            Rule::Refused(why) => {
                let said = refused(&format!("postgres://db/x?{name}=something"));
                assert!(said.contains(name) && said.contains(why), "{said}");
            }
        }
        // Every one is about the connection: none is taken twice.
        if matches!(rule, Rule::Taken(_)) {
            let said = refused(&format!("postgres://db/x?{name}=&{name}="));
            assert!(said.contains("given twice"), "{said}");
        }
    }
}

#[test]
fn an_unknown_option_is_an_error_with_a_suggestion() {
    for (query, told) in [
        ("sslmod=require", "did you mean `sslmode`?"),
        ("ssl-mode=require", "did you mean `sslmode`?"),
        ("SSLMODE=require", "did you mean `sslmode`?"),
        ("chanel_binding=require", "did you mean `channel_binding`?"),
        ("sslroot_cert=/x", "did you mean `sslrootcert`?"),
        ("foo=1", "`foo` is not known"),
        ("sslmode", "has no `=`"),
        ("sslmode=a=b", "second `=`"),
        ("options[geqo]=off", "not known"),
    ] {
        let said = refused(&format!("postgres://u:p@db/x?{query}"));
        assert!(said.contains(told), "{query}: {said}");
    }
    assert!(read("postgres://db/x?").is_ok());
    // What an unset variable makes of the strictest word is not the laxest.
    for empty in [
        "sslmode",
        "channel_binding",
        "connect_timeout",
        "target_session_attrs",
        "sslrootcert",
    ] {
        let said = refused(&format!("postgres://db/x?{empty}="));
        assert!(said.contains("is empty"), "{empty}: {said}");
    }
    assert!(read("postgres://db/x?password=&user=&").is_ok());
}

#[test]
fn sslmode_is_one_of_libpqs_words_and_means_what_it_says() {
    for (query, mode) in [
        ("", TlsMode::Prefer),
        ("sslmode=disable", TlsMode::Disable),
        ("sslmode=allow", TlsMode::Allow),
        ("sslmode=prefer", TlsMode::Prefer),
        ("sslmode=require", TlsMode::Require),
        ("ssl=true", TlsMode::Require),
        ("sslmode=verify-full", TlsMode::VerifyFull),
        (
            "sslmode=verify-full&sslrootcert=system",
            TlsMode::VerifyFull,
        ),
        ("sslrootcert=system", TlsMode::VerifyFull),
        (
            "sslmode=verify-full&sslrootcert=/a.pem",
            TlsMode::VerifyFull,
        ),
    ] {
        let server = good(&format!("postgres://db/x?{query}"));
        assert_eq!(server.tls.mode, mode, "{query}");
    }
    for (query, told) in [
        ("sslmode=requrie", "did you mean sslmode=require?"),
        ("sslmode=verify_full", "did you mean sslmode=verify-full?"),
        ("sslmode=Require", "did you mean sslmode=require?"),
        (
            "sslmode=x",
            "disable, allow, prefer, require, verify-ca, verify-full",
        ),
        ("sslmode=verify-ca", "write sslmode=verify-full"),
        (
            "sslmode=require&sslrootcert=/a.pem",
            "write sslmode=verify-full",
        ),
        (
            "sslmode=require&sslrootcert=system",
            "write sslmode=verify-full",
        ),
        ("sslrootcert=/a.pem", "write sslmode=verify-full"),
        ("sslmode=verify-full&sslrootcert=a.pem", "the whole path"),
        ("sslcert=/a.pem", "give both"),
        ("sslkey=/a.pem", "give both"),
        ("sslmode=disable&sslcert=/a&sslkey=/b", "in TLS only"),
        (
            "sslmode=verify-full&hostaddr=10.0.0.1",
            "name that as the host alone",
        ),
        ("channel_binding=require", "write sslmode=verify-full"),
    ] {
        let said = refused(&format!("postgres://db/x?{query}"));
        assert!(said.contains(told), "{query}: {said}");
    }
}

#[test]
fn the_other_honoured_options_are_read() {
    let server = good(
        "postgres://db/x?connect_timeout=7&application_name=a%20b&target_session_attrs=read-write\
         &statement-cache-capacity=0&options=-c%20geqo%3Doff%20--search-path%3Da%5C%20b%20-cWORK_MEM%3D8MB",
    );
    assert_eq!(server.connect_timeout, Duration::from_secs(7));
    assert_eq!(server.application_name, "a b");
    assert!(server.must_take_writes);
    assert_eq!(server.statements_max, Some(0));
    let settings = [("geqo", "off"), ("search_path", "a b"), ("work_mem", "8MB")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(server.settings, settings);
    let name = |query: &str| good(&format!("postgres://db/x?{query}")).application_name;
    assert_eq!(name(""), "genkan");
    assert_eq!(name("fallback_application_name=f"), "f");
    assert_eq!(name("fallback_application_name=f&application_name=a"), "a");
    for (query, told) in [
        ("connect_timeout=0", "write 1 to 30"),
        ("connect_timeout=31", "write 1 to 30"),
        ("connect_timeout=x", "write 1 to 30"),
        ("target_session_attrs=standby", "name the primary"),
        ("options=geqo", "-c name=value"),
        ("options=-c", "-c name=value"),
        ("hostaddr=db", "an IPv4 or IPv6 address"),
        ("statement-cache-capacity=x", "a number up to"),
    ] {
        let said = refused(&format!("postgres://db/x?{query}"));
        assert!(said.contains(told), "{query}: {said}");
    }
}

proptest! {
    #[test]
    fn no_url_panics(rest in "[a-z0-9:/?@%&=\\[\\],.#-]{0,60}") {
        let _read = read(&format!("postgres://{rest}"));
    }
}
