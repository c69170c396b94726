//! An organization of 1,000 members with 100,000 keys: every list goes by an index. What each call takes is
//! printed (`cargo test api::scale -- --nocapture`), and not asserted: the machine may be busy.

use std::time::{Duration, Instant};

use genkan::config;
use genkan::store::{postgres, sqlite};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqlSafeStr, SqliteConnection};

use super::{Office, Who};
use crate::support::ALONE;
use crate::support::deployment::Engine;

const MEMBERS: u32 = 1_000;
const KEYS: u32 = 100_000;
/// Of each call; the fastest is what the server takes, the rest is the machine.
const TRIES: usize = 5;

/// Statements of lists and of single things: none may read a table from end to end.
const BY_INDEX: [&str; 8] = [
    "LOOK_UP",
    "LIVE_KEYS_OF_ORGANIZATION",
    "ALL_KEYS_OF_ORGANIZATION",
    "KEYS_OF_MEMBERSHIP",
    "LISTED_KEY",
    "MEMBERS_PAGE",
    "NEWEST_OF",
    "OF_KEY",
];

/// Everything at once, in the dialect of each; the log's triggers rest meanwhile.
const FILL_POSTGRES: &str = "ALTER TABLE keys DISABLE TRIGGER USER; \
    INSERT INTO users (id, email, name, created_at) \
        SELECT 'usr_' || lpad(to_hex(n), 32, '0'), 'm' || n || '@example.com', 'Member ' || n, 1 \
        FROM generate_series(1, {members}) n; \
    INSERT INTO memberships (id, organization_id, user_id, role, created_at) \
        SELECT 'mbr_' || lpad(to_hex(n), 32, '0'), o.id, 'usr_' || lpad(to_hex(n), 32, '0'), 'member', 1 \
        FROM organizations o, generate_series(1, {members}) n WHERE o.name = 'Story'; \
    INSERT INTO keys (id, hash, hint, name, membership_id, organization_id, user_id, scopes, created_at, \
            revoked_at) \
        SELECT 'key_' || lpad(to_hex(n), 32, '0'), sha256(n::TEXT::BYTEA), 'gk_…0000', 'key ' || n, \
            m.id, m.organization_id, m.user_id, 'api mcp', n, CASE WHEN n % 3 = 0 THEN n END \
        FROM generate_series(1, {keys}) n \
        JOIN memberships m ON m.id = 'mbr_' || lpad(to_hex(1 + n % {members}), 32, '0'); \
    INSERT INTO audit_log (seq, at, organization_id, actor, means, action, subject, details, hash) \
        SELECT 1000 + n, n, o.id, 'operator', 'command line', 'key.created', 'x', '{}', '' \
        FROM organizations o, generate_series(1, {members}) n WHERE o.name = 'Story'; \
    ALTER TABLE keys ENABLE TRIGGER USER; ANALYZE";
const FILL_SQLITE: &str = "CREATE TEMP TABLE series AS WITH RECURSIVE s(n) AS \
        (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {keys}) SELECT n FROM s; \
    INSERT INTO users (id, email, name, created_at) \
        SELECT 'usr_' || printf('%032x', n), 'm' || n || '@example.com', 'Member ' || n, 1 \
        FROM series WHERE n <= {members}; \
    INSERT INTO memberships (id, organization_id, user_id, role, created_at) \
        SELECT 'mbr_' || printf('%032x', n), o.id, 'usr_' || printf('%032x', n), 'member', 1 \
        FROM organizations o, series WHERE o.name = 'Story' AND n <= {members}; \
    INSERT INTO keys (id, hash, hint, name, membership_id, organization_id, user_id, scopes, created_at, \
            revoked_at) \
        SELECT 'key_' || printf('%032x', n), randomblob(32), 'gk_…0000', 'key ' || n, m.id, \
            m.organization_id, m.user_id, 'api mcp', n, CASE WHEN n % 3 = 0 THEN n END \
        FROM series JOIN memberships m ON m.id = 'mbr_' || printf('%032x', 1 + n % {members}); \
    INSERT INTO audit_log (seq, at, organization_id, actor, means, action, subject, details, hash) \
        SELECT 1000 + n, n, o.id, 'operator', 'command line', 'key.created', 'x', '{}', x'' \
        FROM organizations o, series WHERE o.name = 'Story' AND n <= {members}; \
    ANALYZE";

fn filled(text: &str) -> String {
    text.replace("{members}", &MEMBERS.to_string())
        .replace("{keys}", &KEYS.to_string())
}

/// A statement with something in every place, for `EXPLAIN`.
fn with_values(name: &str, sql: &str, hash: &str) -> String {
    let id = "'key_0000000000000000000000000000c350'";
    let values = match name {
        "LOOK_UP" => [hash, "", "", ""],
        "LIVE_KEYS_OF_ORGANIZATION" | "ALL_KEYS_OF_ORGANIZATION" => [
            "(SELECT id FROM organizations WHERE name = 'Story')",
            id,
            "51",
            "",
        ],
        "KEYS_OF_MEMBERSHIP" => [
            "'mbr_00000000000000000000000000000011'",
            "'key_g'",
            "51",
            "FALSE",
        ],
        "LISTED_KEY" => [id, "", "", ""],
        "MEMBERS_PAGE" => {
            let organization = "(SELECT id FROM organizations WHERE name = 'Story')";
            [organization, "'mbr_g'", "51", "'person'"]
        }
        "NEWEST_OF" => ["9", "51", "'org_0'", ""],
        "OF_KEY" => [id, "1", "1", ""],
        other => panic!("{other}"),
    };
    let mut text = sql.to_owned();
    for (place, value) in (1..=4).zip(values) {
        text = text.replace(&format!("${place}"), value);
    }
    text
}

/// The plan of each statement, in words of each engine.
async fn plans(store: &config::Store) -> Vec<(String, String)> {
    let mut plans = Vec::new();
    match store {
        config::Store::Postgres { url, .. } => {
            let mut shell = PgConnection::connect(url).await.unwrap();
            for (name, sql) in wanted(&postgres::STATEMENTS.concat()) {
                let sql = format!("EXPLAIN {}", with_values(name, sql, "'\\x00'::BYTEA"));
                let rows = shell.fetch_all(AssertSqlSafe(sql)).await.unwrap();
                let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
                plans.push((name.to_owned(), lines.join("\n")));
            }
        }
        config::Store::Sqlite { path } => {
            let url = format!("sqlite://{}", path.display());
            let mut shell = SqliteConnection::connect(&url).await.unwrap();
            for (name, sql) in wanted(&sqlite::STATEMENTS.concat()) {
                let sql = format!("EXPLAIN QUERY PLAN {}", with_values(name, sql, "x'00'"));
                let rows = shell.fetch_all(AssertSqlSafe(sql)).await.unwrap();
                let lines: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
                plans.push((name.to_owned(), lines.join("\n")));
            }
        }
    }
    plans
}

fn wanted<'a>(all: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    BY_INDEX
        .map(|name| *all.iter().find(|(it, _)| *it == name).unwrap())
        .to_vec()
}

/// Whether a plan reads keys, members or the audit log from end to end.
fn reads_everything(plan: &str) -> bool {
    plan.lines().any(|line| {
        let line = line.trim_start_matches(['-', '>', ' ']);
        let tables = ["keys", "memberships", "users", "audit_log", "sessions"];
        // SQLite names aliases, and `USING INDEX` where it walks one in order.
        let scans = line.starts_with("SCAN ")
            && !line.contains("USING")
            && !line.contains("revocation_head");
        let in_postgres = tables
            .iter()
            .any(|table| line.starts_with(&format!("Seq Scan on {table}")));
        let is_small =
            line.contains("CONSTANT ROW") || line.contains("SCAN x") || line.contains("SCAN h");
        (scans && !is_small) || in_postgres
    })
}

async fn fastest(office: &Office, who: &Who, path: &str) -> Duration {
    let mut took = Vec::new();
    for _ in 0..TRIES {
        let begun = Instant::now();
        let answer = office.ask(who, "GET", path, None).await;
        took.push(begun.elapsed());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    took.into_iter().min().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_of_a_large_organization_goes_by_an_index() {
    let _alone = ALONE.lock().await;
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let office = Office::open(engine).await;
        let store = config::load(&office.deployment.config(), []).unwrap().store;
        match &store {
            config::Store::Postgres { url, .. } => {
                let mut shell = PgConnection::connect(url).await.unwrap();
                let fill = AssertSqlSafe(filled(FILL_POSTGRES)).into_sql_str();
                shell.execute(fill).await.unwrap();
            }
            config::Store::Sqlite { path } => {
                let url = format!("sqlite://{}", path.display());
                let mut shell = SqliteConnection::connect(&url).await.unwrap();
                let fill = AssertSqlSafe(filled(FILL_SQLITE)).into_sql_str();
                shell.execute(fill).await.unwrap();
            }
        }
        for (name, plan) in plans(&store).await {
            assert!(!reads_everything(&plan), "{engine:?} {name}:\n{plan}");
        }
        let (hana, _) = office.signed_in("hana").await;
        for path in [
            "/api/v1/keys",
            "/api/v1/organization/keys?limit=200",
            "/api/v1/organization/keys?after=key_0000000000000000000000000000c350",
            "/api/v1/organization/keys?revoked=true&limit=200",
            "/api/v1/organization/keys?owner=mbr_00000000000000000000000000000011",
            "/api/v1/keys/key_0000000000000000000000000000c350",
            "/api/v1/keys/key_0000000000000000000000000000c350/usage",
            "/api/v1/members?limit=200",
            "/api/v1/service-accounts",
            "/api/v1/audit",
            "/keys",
            "/organization/keys",
            "/organization/keys/key_0000000000000000000000000000c350/revoke",
            "/members",
            "/members/invite",
            "/service-accounts",
            "/service-accounts/new",
            "/keys/new",
            "/mcp-server",
            "/status",
            "/api/v1/status",
            "/api/v1/invitations",
            "/members/mbr_00000000000000000000000000000011/remove",
            "/audit",
        ] {
            let took = fastest(&office, &hana, path).await;
            println!("{engine:?}: {took:>12.3?} {path}");
        }
    }
}
