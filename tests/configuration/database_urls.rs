//! The URL of a PostgreSQL: nothing that it says is ignored, and `config check` says what protects the
//! connection. (Every form and every option: `config::postgres::tests`.)

use super::{CANARY, Written, assert_hidden};
use crate::support::deployment::Done;
use crate::support::postgres::{self, Server};
use crate::support::tls::Certificate;

/// What `config check` says of the database at this URL.
fn checked(url: &str) -> Done {
    checked_with(url, &[])
}

fn checked_with(url: &str, environment: &[(&str, &str)]) -> Done {
    let written = Written::new(&format!("postgres = {url:?}"), "");
    // The first has no schema yet; what is wrong with the others, both say.
    written.run(&["init"], environment);
    written.run(&["config", "check"], environment)
}

/// The line about the database is good and says this.
fn is_good(url: &str, message: &str) {
    let done = checked(url);
    let line = done.stderr.lines().find(|line| line.contains("PostgreSQL"));
    let line = line.unwrap_or_else(|| panic!("{url}: {done:#?}"));
    assert!(
        line.starts_with("ok") && line.ends_with(message),
        "{url}: {line}"
    );
}

/// The database is not good, and this is said of it.
fn is_bad(url: &str, message: &str) {
    let done = checked(url);
    let said = done.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(message), "{url}: {}", done.stderr);
    assert!(!said.contains("ok: database"), "{url}: {}", done.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_is_not_honoured_is_an_error_at_its_place_in_the_file() {
    let url = postgres::database().await;
    let url = url.split('?').next().unwrap();
    for (query, message) in [
        (
            "channel_binding=require",
            "`channel_binding` cannot be honoured",
        ),
        ("sslmod=require", "did you mean `sslmode`?"),
        ("sslmode=requrie", "did you mean sslmode=require?"),
        (
            "require_auth=scram-sha-256",
            "`require_auth` cannot be honoured",
        ),
        ("sslcrl=/x", "`sslcrl` cannot be honoured"),
        ("gssencmode=require", "`gssencmode` cannot be honoured"),
        ("requirepeer=postgres", "`requirepeer` cannot be honoured"),
        ("ssl_min_protocol_version=TLSv1.3", "cannot be honoured"),
        ("keepalives_idle=30", "`keepalives_idle` cannot be honoured"),
        ("passfile=/x", "`passfile` cannot be honoured"),
        ("service=x", "`service` cannot be honoured"),
        ("target_session_attrs=standby", "name the primary"),
        ("surprise=1", "`surprise` is not known"),
        (
            "options=-c%20session_replication_role%3Dreplica",
            "tell no gateway of a revocation",
        ),
        (
            "options=--session-replication-role%3Dreplica",
            "tell no gateway of a revocation",
        ),
        (
            "options=-c%20Session-Replication_Role%3Dreplica",
            "tell no gateway of a revocation",
        ),
        (
            "options=-c%20statement_timeout%3D0",
            "genkan sets it on every connection itself",
        ),
        (
            "options=-c%20synchronous_commit%3Doff",
            "a confirmed revocation must be on disk",
        ),
    ] {
        let done = checked(&format!("{url}?{query}"));
        done.failed_at_length(3, &["store.postgres", "genkan.toml:"]);
        let said = done.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(message), "{query}: {}", done.stderr);
    }
    let several = url.replacen("127.0.0.1", "127.0.0.1,127.0.0.2", 1);
    checked(&several).failed_at_length(3, &["several hosts"]);
}

#[test]
fn no_error_of_a_url_shows_it() {
    for url in [
        format!("postgres://genkan:{CANARY}@127.0.0.1:9/genkan"),
        format!("postgres://genkan:{CANARY}@127.0.0.1:9/genkan?sslmod=require"),
        format!("postgres://genkan:{CANARY}/x@127.0.0.1:9/genkan"),
        format!("postgres://genkan:x?{CANARY}=1@127.0.0.1:9/genkan"),
    ] {
        let done = checked(&url);
        assert_eq!(done.code, Some(3), "{done:#?}");
        assert_hidden(&done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_connection_is_encrypted_and_verified_is_said() {
    let (mine, other) = (Certificate::for_loopback(), Certificate::for_loopback());
    let server = Server::start_with_tls(&mine, "");
    let port = server.address().port();
    server.database("story").await;
    let url = |query: &str| format!("postgres://genkan@127.0.0.1:{port}/story?{query}");
    let root = mine.certificate_file.to_str().unwrap();
    let wrong_root = other.certificate_file.to_str().unwrap();
    let verified = format!("sslmode=verify-full&sslrootcert={root}");

    is_good(&url(&verified), "TLS 1.3, certificate verified");
    is_good(
        &url("sslmode=require"),
        "TLS 1.3, certificate NOT verified (sslmode=require)",
    );
    is_good(
        &url(""),
        "TLS 1.3, certificate NOT verified (sslmode=prefer)",
    );
    is_good(&url("sslmode=disable"), "NOT encrypted (sslmode=disable)");
    is_good(&url("sslmode=allow"), "NOT encrypted (sslmode=allow)");

    let failed = "the TLS handshake with PostgreSQL failed";
    is_bad(
        &url(&format!("sslmode=verify-full&sslrootcert={wrong_root}")),
        failed,
    );
    is_bad(&url("sslmode=verify-full"), failed);
    is_bad(&url("sslrootcert=system"), failed);
    is_bad(&url("sslmode=verify-ca"), "write sslmode=verify-full");
    is_bad(
        &url("sslmode=verify-full&sslrootcert=/nowhere.pem"),
        "`sslrootcert`",
    );
    // The certificate is for 127.0.0.1 and localhost.
    is_bad(
        &format!("postgres://genkan@[::1]:{port}/story?{verified}"),
        failed,
    );
    // What the system trusts.
    let done = checked_with(&url("sslrootcert=system"), &[("SSL_CERT_FILE", root)]);
    assert!(
        done.stderr.contains("TLS 1.3, certificate verified"),
        "{done:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_where_tls_is_wanted() {
    let url = postgres::database().await;
    let url = url.split('?').next().unwrap();
    is_good(url, "NOT encrypted (sslmode=prefer)");
    is_good(
        &format!("{url}?sslmode=allow"),
        "NOT encrypted (sslmode=allow)",
    );
    for mode in ["require", "verify-full"] {
        is_bad(
            &format!("{url}?sslmode={mode}"),
            "handshake with PostgreSQL failed",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn allow_and_prefer_take_the_other_way_where_the_first_is_refused() {
    let mine = Certificate::for_loopback();
    let rules = "hostssl all sealed samehost trust\nhost all sealed samehost reject\n\
                 hostnossl all open samehost trust\nhost all open samehost reject\n";
    let server = Server::start_with_tls(&mine, rules);
    let port = server.address().port();
    let admin = server.url("postgres");
    for role in ["sealed", "open"] {
        postgres::execute(&admin, &format!("CREATE ROLE {role} SUPERUSER LOGIN")).await;
    }
    server.database("story").await;
    let url =
        |user: &str, mode: &str| format!("postgres://{user}@127.0.0.1:{port}/story?sslmode={mode}");
    let sealed = "TLS 1.3, certificate NOT verified";
    is_good(
        &url("sealed", "allow"),
        &format!("{sealed} (sslmode=allow)"),
    );
    is_good(
        &url("sealed", "prefer"),
        &format!("{sealed} (sslmode=prefer)"),
    );
    is_good(&url("open", "prefer"), "NOT encrypted (sslmode=prefer)");
    is_bad(&url("sealed", "disable"), "pg_hba.conf");
    is_bad(&url("open", "require"), "pg_hba.conf");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_host_connects() {
    let server = Server::start_with_tls(&Certificate::for_loopback(), "");
    let port = server.address().port();
    server.database("story").await;
    let folder = server.folder().to_str().unwrap();
    let escaped = folder.replace('/', "%2F");
    let socket = "a Unix socket of this machine";
    let network = "TLS 1.3, certificate NOT verified (sslmode=prefer)";
    for (url, message) in [
        (format!("postgres://genkan@localhost:{port}/story"), network),
        (
            format!("postgresql://genkan@127.0.0.1:{port}/story"),
            network,
        ),
        (format!("postgres://genkan@[::1]:{port}/story"), network),
        (
            format!("postgres://genkan@x.invalid:{port}/story?hostaddr=::1"),
            network,
        ),
        (
            format!("postgres:///story?host=127.0.0.1&port={port}&user=genkan"),
            network,
        ),
        (
            format!("postgres://genkan@/story?host={folder}&port={port}"),
            socket,
        ),
        (format!("postgres://genkan@{escaped}:{port}/story"), socket),
        (
            format!("postgres://genkan@{escaped}:{port}/story?sslmode=verify-full"),
            socket,
        ),
        (
            format!("postgres://genkan@:{port}/story?host=localhost"),
            network,
        ),
    ] {
        is_good(&url, message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_of_libpq_change_no_connection() {
    let server = Server::start_with_tls(&Certificate::for_loopback(), "");
    server.database("story").await;
    let url = format!("{}?sslmode=require", server.url("story"));
    let environment = [
        ("PGHOST", "/nowhere"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "9"),
        ("PGDATABASE", "nothing"),
        ("PGUSER", "nobody"),
        ("PGSSLMODE", "disable"),
        ("PGSSLROOTCERT", "/nowhere"),
        ("PGAPPNAME", "other"),
    ];
    let done = checked_with(&url, &environment);
    assert!(
        done.stderr.contains("TLS 1.3, certificate NOT verified"),
        "{done:#?}"
    );
    // Without a database in the URL it is called as the user is: not as the environment says.
    let url = server.url("").replace("genkan@", "story@");
    postgres::execute(&server.url("postgres"), "CREATE ROLE story SUPERUSER LOGIN").await;
    let done = checked_with(&url, &environment);
    assert!(done.stderr.contains("/story: TLS 1.3"), "{done:#?}");
    // What the driver reads and cannot be told to forget.
    for name in ["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"] {
        let done = checked_with(&url, &[(name, CANARY)]);
        done.failed_at_length(3, &[name, "unset it"]);
        assert_hidden(&done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_writes_is_refused_where_writes_are_wanted() {
    let url = postgres::database().await;
    let url = url.split('?').next().unwrap();
    let wanted = format!("{url}?target_session_attrs=read-write");
    is_good(&wanted, "NOT encrypted (sslmode=prefer)");
    let name = url.rsplit('/').next().unwrap();
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    postgres::execute(url, &read_only).await;
    is_bad(&wanted, "takes no writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_switches_triggers_off_is_refused_whoever_told_it_to() {
    let server = Server::start_private();
    let url = server.database("story").await;
    let address = url.split('?').next().unwrap();
    let off = "session_replication_role = replica";
    for (set, reset) in [
        (
            format!("ALTER DATABASE story SET {off}"),
            "ALTER DATABASE story RESET session_replication_role",
        ),
        (
            format!("ALTER ROLE CURRENT_USER SET {off}"),
            "ALTER ROLE CURRENT_USER RESET session_replication_role",
        ),
        (
            format!("ALTER ROLE CURRENT_USER IN DATABASE story SET {off}"),
            "ALTER ROLE CURRENT_USER IN DATABASE story RESET session_replication_role",
        ),
    ] {
        postgres::execute(&url, &set).await;
        is_bad(address, "session_replication_role is `replica`");
        postgres::execute(&url, reset).await;
        is_good(address, "NOT encrypted (sslmode=prefer)");
    }
}
