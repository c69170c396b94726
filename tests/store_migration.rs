//! A database of the third schema, with people in it, is brought to the fourth: nothing is lost, and what
//! cannot be known counts as unproven.

use std::sync::Arc;

use genkan::config;
use genkan::model::change::{ChangeKind, Sequence};
use genkan::model::clock::SystemClock;
use genkan::model::key::{Key, KeyHash};
use genkan::model::member::Proof;
use genkan::model::random::SystemEntropy;
use genkan::service::Service;
use genkan::store::{self, Management, StoreError, WhenAbsent};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection,
};
use tempfile::TempDir;

use crate::support::postgres;

/// The schema up to its third version, as it was released.
macro_rules! texts {
    ($engine:literal) => {
        [
            (
                "ground",
                include_str!(concat!(
                    "../src/store/",
                    $engine,
                    "/migrations/0001_ground.sql"
                )),
            ),
            (
                "observed leases",
                include_str!(concat!(
                    "../src/store/",
                    $engine,
                    "/migrations/0002_observed_leases.sql"
                )),
            ),
            (
                "people",
                include_str!(concat!(
                    "../src/store/",
                    $engine,
                    "/migrations/0003_people.sql"
                )),
            ),
        ]
    };
}

const TABLES: [&str; 13] = [
    "organizations",
    "users",
    "memberships",
    "keys",
    "key_rotations",
    "key_usage",
    "key_usage_hours",
    "invitations",
    "sign_in_links",
    "sessions",
    "idempotency_keys",
    "revocation_log",
    "audit_head",
];

/// What was there before. `~n~` is a hash of 32 bytes `n`; ids are written short.
const ROWS: &str = "
    INSERT INTO organizations (id, name, created_at) VALUES (org1, 'Office', 1), (org2, 'Rivals', 1);
    INSERT INTO users (id, email, name, created_at, kind) VALUES
        (usr1, 'hana@example.com', 'Hana', 10, 'person'),
        (usr2, 'sora@example.com', 'Sora', 20, 'person'),
        (usr3, 'mina@example.com', 'Mina', 30, 'person'),
        (usr4, 'gone@example.com', 'Gone', 40, 'person'),
        (usr5, 'usr5@service-account.invalid', 'Bot', 50, 'service_account'),
        (usr6, 'moved@example.com', 'Moved', 60, 'person');
    INSERT INTO memberships (id, organization_id, user_id, role, created_at, removed_at) VALUES
        (mbr1, org1, usr1, 'owner', 100, NULL), (mbr2, org2, usr1, 'owner', 110, NULL),
        (mbr3, org1, usr2, 'admin', 120, NULL), (mbr4, org2, usr2, 'owner', 130, NULL),
        (mbr5, org1, usr3, 'member', 140, NULL), (mbr6, org1, usr4, 'member', 150, 160),
        (mbr7, org1, usr5, 'admin', 170, NULL), (mbr8, org2, usr6, 'member', 180, NULL);
    INSERT INTO keys (id, hash, hint, name, membership_id, organization_id, user_id, scopes, created_at,
        expires_at, revoked_at) VALUES
        (key1, ~1~, 'gk_…1', 'first', mbr1, org1, usr1, 'api mcp', 200, NULL, NULL),
        (key2, ~2~, 'gk_…2', 'second', mbr1, org1, usr1, 'api mcp', 210, NULL, NULL),
        (key3, ~3~, 'gk_…3', 'third', mbr1, org1, usr1, 'api', 220, 9000000000000, NULL),
        (key4, ~4~, 'gk_…4', 'of A', mbr3, org1, usr2, 'api manage', 230, NULL, NULL),
        (key5, ~5~, 'gk_…5', 'of B', mbr4, org2, usr2, 'api', 240, NULL, NULL),
        (key6, ~6~, 'imported', 'old', mbr5, org1, usr3, 'api', 250, NULL, NULL),
        (key7, ~7~, 'gk_…7', 'dead', mbr6, org1, usr4, 'api', 155, NULL, 160),
        (key8, ~8~, 'gk_…8', 'deploy', mbr7, org1, usr5, 'api', 260, NULL, NULL);
    INSERT INTO key_rotations (key_id, successor_id, at, ends_at, silent_ms) VALUES
        (key1, key2, 210, 9000000000000, NULL), (key2, key3, 220, NULL, 3600000);
    INSERT INTO key_usage (key_id, last_used_at, last_address, last_client)
        VALUES (key3, 300, '192.0.2.1', 'curl');
    INSERT INTO key_usage_hours (key_id, hour, requests) VALUES (key3, 0, 7);
    INSERT INTO invitations (id, organization_id, email, name, role, token_hash, invited_by, created_at,
        expires_at, accepted_at, withdrawn_at) VALUES
        (inv1, org1, 'sora@example.com', 'Sora', 'admin', ~11~, 'hana@example.com', 115, 999, 120, NULL),
        (inv2, org1, 'mina@example.com', 'Mina', 'member', ~12~, 'hana@example.com', 135, 999, 140, NULL),
        (inv3, org1, 'hana@example.com', 'Hana', 'member', ~13~, 'operator', 5, 999, NULL, 6),
        (inv4, org1, 'jiho@example.com', 'Jiho', 'member', ~14~, 'hana@example.com', 300, 9000000000000,
            NULL, NULL),
        (inv5, org2, 'before@example.com', 'Moved', 'member', ~15~, 'operator', 175, 999, 180, NULL);
    INSERT INTO sign_in_links (token_hash, membership_id, created_at, expires_at)
        VALUES (~21~, mbr5, 300, 9000000000000);
    INSERT INTO sessions (id, token_hash, membership_id, created_at, seen_at, ended_at) VALUES
        (ses1, ~31~, mbr1, 400, 401, NULL), (ses2, ~32~, mbr3, 400, 402, NULL),
        (ses3, ~33~, mbr4, 400, 403, NULL), (ses4, ~34~, mbr5, 400, 404, NULL),
        (ses5, ~35~, mbr2, 400, 405, 406);
    INSERT INTO idempotency_keys (membership_id, idempotency_key, request_hash, subject, created_at)
        VALUES (mbr1, 'once', ~41~, key1, 200);";

enum Old {
    Sqlite(TempDir),
    Postgres(String),
}

impl Old {
    async fn both() -> [Self; 2] {
        let all = [
            Self::Sqlite(TempDir::new().unwrap()),
            Self::Postgres(postgres::database().await),
        ];
        for old in &all {
            old.fill().await;
        }
        all
    }

    fn config(&self) -> config::Store {
        match self {
            Self::Sqlite(folder) => config::Store::Sqlite {
                path: folder.path().join("genkan.db"),
            },
            Self::Postgres(url) => config::Store::Postgres {
                url: url.clone().into(),
                connections_max: 10,
            },
        }
    }

    fn file(folder: &TempDir) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(folder.path().join("genkan.db"))
            .create_if_missing(true)
            .foreign_keys(true)
    }

    async fn fill(&self) {
        match self {
            Self::Sqlite(folder) => {
                let mut shell = Self::file(folder).connect().await.unwrap();
                let migrator = migrator(&texts!("sqlite"));
                migrator.run_direct(None, &mut shell, false).await.unwrap();
            }
            Self::Postgres(url) => {
                let mut shell = PgConnection::connect(url).await.unwrap();
                let migrator = migrator(&texts!("postgres"));
                migrator.run_direct(None, &mut shell, false).await.unwrap();
            }
        }
        self.sql(&self.written(ROWS)).await.unwrap();
    }

    /// With whole ids, and hashes as the engine writes them.
    fn written(&self, short: &str) -> String {
        let mut text = String::new();
        for (place, part) in short.split('~').enumerate() {
            if place % 2 == 0 {
                text.push_str(part);
                continue;
            }
            let hex = format!("{:02x}", part.parse::<u8>().unwrap()).repeat(32);
            let literal = match self {
                Self::Sqlite(_) => format!("x'{hex}'"),
                Self::Postgres(_) => format!("decode('{hex}', 'hex')"),
            };
            text.push_str(&literal);
        }
        for prefix in ["org", "usr", "mbr", "key", "inv", "ses"] {
            for number in 1..=8 {
                let id = format!("'{}'", id(prefix, number));
                for end in [",", ")", ";"] {
                    let name = format!("{prefix}{number}{end}");
                    text = text.replace(&name, &format!("{id}{end}"));
                }
            }
        }
        text
    }

    async fn sql(&self, statement: &str) -> Result<u64, sqlx::Error> {
        let statement = AssertSqlSafe(statement.to_owned()).into_sql_str();
        Ok(match self {
            Self::Sqlite(folder) => {
                let mut shell = Self::file(folder).connect().await?;
                shell.execute(statement).await?.rows_affected()
            }
            Self::Postgres(url) => {
                let mut shell = PgConnection::connect(url).await?;
                shell.execute(statement).await?.rows_affected()
            }
        })
    }

    async fn number(&self, question: &str) -> i64 {
        let question = sqlx::AssertSqlSafe(question.to_owned());
        match self {
            Self::Sqlite(folder) => {
                let mut shell: SqliteConnection = Self::file(folder).connect().await.unwrap();
                let asked = sqlx::query_scalar(question).fetch_one(&mut shell);
                asked.await.unwrap()
            }
            Self::Postgres(url) => {
                let mut shell = PgConnection::connect(url).await.unwrap();
                let asked = sqlx::query_scalar(question).fetch_one(&mut shell);
                asked.await.unwrap()
            }
        }
    }

    async fn counts(&self) -> Vec<i64> {
        let mut all = Vec::new();
        for table in TABLES {
            all.push(self.number(&format!("SELECT COUNT(*) FROM {table}")).await);
        }
        all
    }
}

fn migrator(texts: &[(&'static str, &'static str)]) -> Migrator {
    let numbered = (1..).zip(texts).map(|(version, (name, text))| {
        let text = text.into_sql_str();
        Migration::new(version, (*name).into(), MigrationType::Simple, text, false)
    });
    Migrator::with_migrations(numbered.collect())
}

fn id(prefix: &str, number: u8) -> String {
    format!("{prefix}_{number:032x}")
}

fn hash(number: u8) -> KeyHash {
    KeyHash::from_bytes([number; 32])
}

async fn key(store: &dyn Management, number: u8) -> Key {
    let found = store.look_up(&hash(number)).await.unwrap();
    found.key.expect("a key")
}

/// What the log tells after a position.
async fn changes(store: &dyn Management, since: Sequence) -> Vec<ChangeKind> {
    let log = store.read_log(since, 100).await.unwrap();
    log.changes.into_iter().map(|one| one.kind).collect()
}

#[tokio::test]
async fn the_fourth_schema_keeps_everything_and_trusts_nothing_that_cannot_be_known() {
    for old in Old::both().await {
        let before = old.counts().await;
        let store = store::open(&old.config(), WhenAbsent::Create)
            .await
            .unwrap();
        assert_eq!(old.counts().await, before);
        if let Old::Sqlite(_) = &old {
            let dangling = "SELECT COUNT(*) FROM pragma_foreign_key_check";
            assert_eq!(old.number(dangling).await, 0);
        }

        // Whoever never accepted an invitation, by this address or by one before, was added by the operator.
        for (number, user, verified, chain) in [
            (1, 1, true, 1),
            (2, 1, true, 1),
            (3, 1, true, 1),
            (4, 2, false, 4),
            (5, 2, false, 5),
            (6, 3, false, 6),
            (7, 4, true, 7),
            (8, 5, false, 8),
        ] {
            let key = key(&*store, number).await;
            assert_eq!(key.id.to_string(), id("key", number));
            assert_eq!(key.user_id.to_string(), id("usr", user), "{number}");
            assert_eq!(key.email_verified, verified, "{number}");
            assert_eq!(key.chain_id.to_string(), id("key", chain), "{number}");
            assert_eq!(key.parent_id, None);
            assert_eq!(key.revoked_at.is_some(), number == 7);
        }
        let members = store.members(None).await.unwrap();
        let message = members
            .iter()
            .map(|one| (one.name.as_str(), one.email_verified));
        assert_eq!(
            message.collect::<Vec<_>>(),
            [
                ("Hana", true),
                ("Hana", true),
                ("Sora", false),
                ("Sora", false),
                ("Mina", false),
                ("Bot", false),
                ("Moved", false),
            ]
        );

        // A session that may have come from another organization by a link is over.
        let session = async |number| store.session(&hash(number)).await.unwrap();
        assert_eq!(session(31).await.unwrap().proof, Proof::Address);
        assert_eq!(session(34).await.unwrap().proof, Proof::Membership);
        for over in [32, 33, 35] {
            assert_eq!(session(over).await, None, "{over}");
        }
        let log = store.read_log(Sequence::new(0), 100).await.unwrap();
        assert!(log.has_imported);
        store.close().await;
    }
}

#[tokio::test]
async fn after_the_migration_a_proof_joins_what_was_one_user_and_is_taken_back_from_it() {
    for old in Old::both().await {
        let store = store::open(&old.config(), WhenAbsent::Create)
            .await
            .unwrap();
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let service = Service::new(Arc::clone(&store), clock, entropy);
        let head = store.head().await.unwrap();
        let email = "sora@example.com".parse().unwrap();
        let signed_in = service
            .sign_in_by_address(&email, Proof::Address, None)
            .await
            .unwrap();
        assert_ne!(signed_in.member.user_id.to_string(), id("usr", 2));
        let member_context = service.by_session(&signed_in.token, None).await.unwrap();
        let member_context = member_context.unwrap();
        assert_eq!(member_context.organizations().await.unwrap().len(), 2);
        for number in [4, 5] {
            let key = key(&*store, number).await;
            assert_eq!(key.user_id.to_string(), id("usr", 2));
            assert!(!key.email_verified);
        }
        let expected = [id("mbr", 3), id("mbr", 4)];
        let expected = expected.map(|id| ChangeKind::MemberChanged(id.parse().unwrap()));
        assert_eq!(changes(&*store, head).await, expected);

        // What the operator takes back from the verified user holds for who was joined to it, and gateways hear of it.
        let verified = signed_in.member.user_id;
        let before = store.head().await.unwrap();
        let unverify = format!("UPDATE users SET email_verified_at = NULL WHERE id = '{verified}'");
        assert_eq!(old.sql(&unverify).await.unwrap(), 1);
        assert_eq!(changes(&*store, before).await, expected);
        for stay in store.members_by_email(&email).await.unwrap() {
            let message = (stay.user_id.to_string(), stay.email_verified);
            assert_eq!(message, (id("usr", 2), false));
        }
        // The next proof joins them anew, to somebody new.
        let again = service
            .sign_in_by_address(&email, Proof::Address, None)
            .await
            .unwrap();
        let somebody = again.member.user_id;
        assert!(again.member.email_verified && somebody != verified);
        assert_ne!(somebody.to_string(), id("usr", 2));
        store.close().await;
    }
}

#[tokio::test]
async fn after_the_migration_the_triggers_guard() {
    for old in Old::both().await {
        let store = store::open(&old.config(), WhenAbsent::Create)
            .await
            .unwrap();
        let head = store.head().await.unwrap();
        let flag = match &old {
            Old::Sqlite(_) => "1",
            Old::Postgres(_) => "TRUE",
        };
        let lie = format!("UPDATE keys SET email_verified = {flag} WHERE id = key4;");
        assert!(old.sql(&old.written(&lie)).await.is_err());
        let second = "INSERT INTO users (id, email, name, created_at, email_verified_at) \
            VALUES (usr8, 'hana@example.com', 'Hana', 1, 1);";
        assert!(old.sql(&old.written(second)).await.is_err());
        // What the operator takes back is told by no key any more.
        let unverify = "UPDATE users SET email_verified_at = NULL WHERE id = usr1;";
        assert_eq!(old.sql(&old.written(unverify)).await.unwrap(), 1);
        assert!(!key(&*store, 1).await.email_verified);
        let verify = "UPDATE users SET email_verified_at = 1 WHERE id = usr1;";
        assert_eq!(old.sql(&old.written(verify)).await.unwrap(), 1);
        assert!(key(&*store, 1).await.email_verified);
        let gone = "DELETE FROM users WHERE id = usr3;";
        assert_eq!(old.sql(&old.written(gone)).await.unwrap(), 1);
        assert!(store.look_up(&hash(6)).await.unwrap().key.is_none());
        let message = changes(&*store, head).await.into_iter().any(
            |kind| matches!(kind, ChangeKind::MemberRemoved(gone) if gone.to_string() == id("mbr", 5)),
        );
        assert!(message);
        // Whoever looks at the guards again finds them, and misses one that is gone.
        store::open(&old.config(), WhenAbsent::Create)
            .await
            .unwrap()
            .close()
            .await;
        let drop_it = match &old {
            Old::Sqlite(_) => "DROP TRIGGER users_changed",
            Old::Postgres(_) => "DROP TRIGGER users_changed ON users",
        };
        old.sql(drop_it).await.unwrap();
        let refused = store::open(&old.config(), WhenAbsent::Create).await.err();
        assert!(
            matches!(&refused, Some(StoreError::Unguarded(name)) if name.contains("users_changed")),
            "{refused:?}"
        );
        store.close().await;
    }
}
