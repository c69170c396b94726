//! Very many keys revoked at once: a mark refuses all of them in one small transaction, and their rows follow.

use std::sync::Arc;
use std::time::Instant;

use genkan::config;
use genkan::model::clock::SystemClock;
use genkan::model::key::KeyState;
use genkan::model::random::SystemEntropy;
use genkan::service::{KeyList, Service};
use genkan::store::{self, PageRequest, WhenAbsent};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

use crate::support::deployment::{Deployment, Engine, Process};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;
use crate::support::within;

/// More than are written in one transaction.
const MANY: usize = 12_000;

const FILL_POSTGRES: &str = "INSERT INTO keys (id, hash, hint, name, membership_id, organization_id, user_id, \
        scopes, created_at) \
    SELECT 'key_' || lpad(to_hex(n), 32, '0'), sha256(n::TEXT::BYTEA), 'gk_…0000', 'key ' || n, \
        k.membership_id, k.organization_id, k.user_id, k.scopes, n \
    FROM generate_series(1, {many}) n, keys k WHERE k.id = '{id}'";
const FILL_SQLITE: &str = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {many}) \
    INSERT INTO keys (id, hash, hint, name, membership_id, organization_id, user_id, scopes, created_at) \
    SELECT 'key_' || printf('%032x', n), randomblob(32), 'gk_…0000', 'key ' || n, \
        k.membership_id, k.organization_id, k.user_id, k.scopes, n \
    FROM s, keys k WHERE k.id = '{id}'";

/// A deployment with very many keys of Story, and one of another organization.
struct Scene {
    deployment: Deployment,
    service: Service,
    store: config::Store,
    theirs: String,
    _upstream: Upstream,
}

impl Scene {
    async fn set(engine: Engine) -> Self {
        let upstream = Upstream::start().await;
        let deployment = Deployment::new(engine, upstream.plain, "").await;
        deployment.run(&["organizations", "create", "Other"]).ok();
        let other = [
            "members",
            "add",
            "jiro@example.com",
            "--name",
            "J",
            "--role",
            "owner",
        ];
        deployment
            .run(&[&other[..], &["--organization", "Other"]].concat())
            .ok();
        let theirs = deployment.key_of("jiro@example.com", "theirs", &[]).plain;
        let template = deployment.key("template", &[]);
        let store = config::load(&deployment.config(), []).unwrap().store;
        let scene = Self {
            service: service(&store).await,
            deployment,
            store,
            theirs,
            _upstream: upstream,
        };
        let fill = match engine {
            Engine::Postgres => FILL_POSTGRES,
            Engine::Sqlite => FILL_SQLITE,
        };
        let fill = fill
            .replace("{many}", &MANY.to_string())
            .replace("{id}", &template.id);
        scene.sql(&fill).await.unwrap();
        scene
    }

    /// Plain SQL, past genkan.
    async fn sql(&self, statement: &str) -> Result<u64, sqlx::Error> {
        let statement = AssertSqlSafe(statement.to_owned());
        Ok(match &self.store {
            config::Store::Sqlite { path } => {
                let mut shell =
                    SqliteConnection::connect(&format!("sqlite://{}", path.display())).await?;
                shell.execute(statement).await?.rows_affected()
            }
            config::Store::Postgres { url, .. } => {
                let mut shell = PgConnection::connect(url).await?;
                shell.execute(statement).await?.rows_affected()
            }
        })
    }

    async fn count(&self, question: &str) -> i64 {
        let question = AssertSqlSafe(question.to_owned());
        match &self.store {
            config::Store::Sqlite { path } => {
                let mut shell = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
                    .await
                    .unwrap();
                sqlx::query_scalar(question)
                    .fetch_one(&mut shell)
                    .await
                    .unwrap()
            }
            config::Store::Postgres { url, .. } => {
                let mut shell = PgConnection::connect(url).await.unwrap();
                sqlx::query_scalar(question)
                    .fetch_one(&mut shell)
                    .await
                    .unwrap()
            }
        }
    }

    async fn unwritten(&self) -> i64 {
        let of_story = "SELECT COUNT(*) FROM keys WHERE revoked_at IS NULL AND organization_id = \
            (SELECT id FROM organizations WHERE name = 'Story')";
        self.count(of_story).await
    }

    async fn head(&self) -> i64 {
        self.count("SELECT seq FROM revocation_head").await
    }

    async fn marks(&self) -> i64 {
        self.count("SELECT COUNT(*) FROM revoke_all_marks").await
    }
}

async fn service(place: &config::Store) -> Service {
    let store = store::open(place, WhenAbsent::Create).await.unwrap();
    Service::new(store, Arc::new(SystemClock), Arc::new(SystemEntropy))
}

async fn status(gateway: &Process, key: &str) -> u16 {
    let request =
        format!("GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {key}\r\n\r\n");
    Wire::connect(gateway.address("plain"))
        .await
        .ask(request)
        .await
        .status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_refuses_them_all_on_every_gateway_and_then_writes_the_rows() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let scene = Scene::set(engine).await;
        let (used, fresh) = (
            scene.deployment.key("used", &[]),
            scene.deployment.key("fresh", &[]),
        );
        let gateways = [
            scene.deployment.start().await,
            scene.deployment.start().await,
        ];
        for gateway in &gateways {
            assert_eq!(status(gateway, &used.plain).await, 200);
        }
        let begun = Instant::now();
        let revoke = [
            "keys",
            "revoke-all",
            "--organization",
            "Story",
            "--output",
            "json",
        ];
        let receipt = scene.deployment.run_beside(&revoke).await.ok();
        println!("{engine:?}: {MANY} keys in {:?}", begun.elapsed());
        let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
        assert_eq!(receipt["ended"]["keys"], MANY + 3, "{receipt:#}");
        for gateway in &gateways {
            // One that is remembered there, and one that was never looked up.
            assert_eq!(status(gateway, &used.plain).await, 401);
            assert_eq!(status(gateway, &fresh.plain).await, 401);
            assert_eq!(status(gateway, &scene.theirs).await, 200);
        }
        assert_eq!((scene.unwritten().await, scene.marks().await), (0, 0));
        let new = scene.deployment.key("new", &[]);
        for gateway in &gateways {
            assert_eq!(status(gateway, &new.plain).await, 200);
        }
    }
}

/// Plain SQL cannot delete, change or replace a mark, and no key can be taken out of it.
async fn no_statement_takes_the_mark_back(scene: &Scene, engine: Engine) {
    const REFUSED: [(&str, &str); 3] = [
        ("DELETE FROM revoke_all_marks", "stays revoked"),
        ("UPDATE revoke_all_marks SET seq = 0", "stays revoked"),
        ("UPDATE keys SET created_seq = 9000000000", "stays revoked"),
    ];
    const REFUSED_BY_SQLITE: [(&str, &str); 2] = [
        (
            "INSERT OR REPLACE INTO revoke_all_marks (rowid, organization_id, seq, at) \
             SELECT rowid, 'nobody', (SELECT seq + 1 FROM revocation_head), 0 FROM revoke_all_marks",
            "stays revoked",
        ),
        (
            "UPDATE OR REPLACE keys SET rowid = (SELECT MAX(rowid) FROM keys) \
             WHERE rowid = (SELECT MIN(rowid) FROM keys)",
            "not replaced",
        ),
    ];
    let own = match engine {
        Engine::Sqlite => &REFUSED_BY_SQLITE[..],
        Engine::Postgres => &[],
    };
    for (statement, why) in REFUSED.iter().chain(own) {
        let refused = scene.sql(statement).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{statement}: {refused}");
    }
}

/// The process that made the mark ended before it wrote a row.
#[tokio::test(flavor = "multi_thread")]
async fn between_the_mark_and_the_rows_every_reader_sees_them_revoked() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let scene = Scene::set(engine).await;
        let old = scene.deployment.key("old", &[]);
        let (revoked, _) = scene
            .service
            .revoke_everything(Some("Story"), true)
            .await
            .unwrap();
        assert_eq!(usize::try_from(revoked.keys).unwrap(), MANY + 2);
        assert_eq!(
            usize::try_from(scene.unwritten().await).unwrap(),
            MANY + 2,
            "no row yet"
        );
        let key = scene.service.key(old.id.parse().unwrap()).await.unwrap();
        assert_eq!(key.state(scene.service.now()), KeyState::Revoked);
        let filter = scene.service.key_filter(KeyList::default()).await.unwrap();
        let page = PageRequest {
            after: None,
            limit: 10,
        };
        let live = scene.service.keys(filter, page).await.unwrap();
        assert_eq!(live.len(), 1, "theirs alone: {live:?}");
        // A second time there is nothing left; a key that is made now lives, whatever its maker's clock says.
        let (again, _) = scene
            .service
            .revoke_everything(Some("Story"), true)
            .await
            .unwrap();
        assert_eq!(again.keys, 0);
        let new = scene.deployment.key("new", &[]);
        no_statement_takes_the_mark_back(&scene, engine).await;
        // To revoke one of them again changes nothing, in the log neither.
        let head = scene.head().await;
        let alone = scene.service.revoke_key(old.id.parse().unwrap()).await;
        assert_eq!(alone.unwrap().keys, 0);
        assert_eq!(scene.head().await, head);
        // A gateway that starts writes the rows.
        let gateway = scene.deployment.start().await;
        assert_eq!(status(&gateway, &old.plain).await, 401);
        assert_eq!(status(&gateway, &new.plain).await, 200);
        assert_eq!(status(&gateway, &scene.theirs).await, 200);
        within("the rows are written", async {
            while scene.marks().await > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(scene.unwritten().await, 1, "the new one");
        assert_eq!(status(&gateway, &old.plain).await, 401);
        assert_eq!(status(&gateway, &new.plain).await, 200);
    }
}

/// Makes a key by plain SQL, at a place in the log.
fn key_by_sql(engine: Engine, template: &str, id: &str, place: &str) -> String {
    let hash = match engine {
        Engine::Postgres => format!("sha256('{id}'::BYTEA)"),
        Engine::Sqlite => "randomblob(32)".to_owned(),
    };
    format!(
        "INSERT INTO keys (id, hash, hint, name, membership_id, organization_id, user_id, scopes, created_at,             created_seq)         SELECT '{id}', {hash}, k.hint, 'by SQL', k.membership_id, k.organization_id, k.user_id, k.scopes, 1, {place}         FROM keys k WHERE k.id = '{template}'"
    )
}

/// Plain SQL can make keys with any id, but none that a mark made later does not cover.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_plain_sql_made_are_covered_and_written_whatever_their_ids() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let scene = Scene::set(engine).await;
        let template = scene.deployment.key("model", &[]).id;
        let beyond = key_by_sql(engine, &template, "key_beyond", "9000000000");
        let refused = scene.sql(&beyond).await.unwrap_err().to_string();
        assert!(refused.contains("next place in the log"), "{refused}");
        for (id, place) in [
            ("key_zzz", "0"),
            ("zzz", "(SELECT seq + 1 FROM revocation_head)"),
            ("KEY_A", "0"),
            ("~", "0"),
        ] {
            let made = key_by_sql(engine, &template, id, place);
            assert_eq!(scene.sql(&made).await.unwrap(), 1, "{id}");
        }
        let everybody = scene.service.revoke_everything(None, true).await.unwrap();
        assert_eq!(usize::try_from(everybody.0.keys).unwrap(), MANY + 7);
        let written = within(
            "the rows are written",
            scene.service.write_marked_rows(|_| {}),
        )
        .await;
        assert_eq!(usize::try_from(written.unwrap()).unwrap(), MANY + 7);
        assert_eq!((scene.unwritten().await, scene.marks().await), (0, 0));
    }
}

/// A gateway of a version before marks looks keys up without them. Its own statement registers it.
#[tokio::test(flavor = "multi_thread")]
async fn no_mark_is_made_beside_a_gateway_that_does_not_know_marks() {
    let register = |id: u32| {
        format!(
            "INSERT INTO instances (id, renewals, lease_ms, applied, evicted, renewed_at) \
             SELECT 'ins_{id:032x}', 0, 4000, seq, FALSE, clock_ms() FROM revocation_head"
        )
    };
    let scene = Scene::set(Engine::Postgres).await;
    scene.sql(&register(1)).await.unwrap();
    scene
        .service
        .revoke_everything(Some("Story"), true)
        .await
        .unwrap();
    assert_eq!(
        (scene.unwritten().await, scene.marks().await),
        (0, 0),
        "in one transaction"
    );
    let evict = "UPDATE instances SET evicted = TRUE";
    scene.sql(evict).await.unwrap();
    let template = scene.deployment.key("template", &[]);
    let fill = FILL_POSTGRES
        .replace(
            "generate_series(1, {many})",
            "generate_series({many} + 1, 2 * {many})",
        )
        .replace("{many}", &MANY.to_string())
        .replace("{id}", &template.id);
    scene.sql(&fill).await.unwrap();
    scene
        .service
        .revoke_everything(Some("Story"), true)
        .await
        .unwrap();
    assert_eq!(scene.marks().await, 1);
    let refused = scene.sql(&register(2)).await.unwrap_err().to_string();
    assert!(refused.contains("rows of revoked keys"), "{refused}");
    scene.service.write_marked_rows(|_| {}).await.unwrap();
    scene.sql(&register(2)).await.unwrap();
}

/// While the rows are written, others write too.
#[tokio::test(flavor = "multi_thread")]
async fn others_write_between_the_parts() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let scene = Scene::set(engine).await;
        scene
            .service
            .revoke_everything(Some("Story"), true)
            .await
            .unwrap();
        let writer = service(&scene.store).await;
        let writing = tokio::spawn(async move { writer.write_marked_rows(|_| {}).await.unwrap() });
        let mut made = 0;
        while !writing.is_finished() {
            scene
                .deployment
                .run_beside(&[
                    "keys",
                    "create",
                    "--name",
                    "x",
                    "--member",
                    "jiro@example.com",
                ])
                .await
                .ok();
            made += 1;
        }
        println!("{engine:?}: {made} keys were made meanwhile");
        assert_eq!(usize::try_from(writing.await.unwrap()).unwrap(), MANY + 1);
        assert_eq!((scene.unwritten().await, scene.marks().await), (0, 0));
    }
}
