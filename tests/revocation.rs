//! What a returned `keys revoke` promises, beside real gateways under load, on both databases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use genkan::model::key::PlainKey;
use genkan::model::random::SystemEntropy;
use http_body_util::BodyExt;
use rustix::process::Signal;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::client::{self, Connection, Mode, Target};
use crate::support::deployment::{Deployment, Engine, Key, PROMPTLY, field, hex};
use crate::support::upstream::Upstream;
use crate::support::{ALONE, within};

const KEYS: usize = 50;
const CONNECTIONS: usize = 4;
/// Tries of one connection with one key after its revocation returned: 10,000 in all.
const TRIES: usize = 50;
const PATH: &str = "/api/identity";

/// What a cut request counts as: no status, and no whole answer.
const CUT: u16 = 0;

/// One request; its answer is read to the end, so that the connection goes on. One that is cut in the
/// middle, as those are that a revocation meets on their way, is followed by a new connection.
async fn ask_or_be_cut(connection: &mut Connection, target: &Target) -> u16 {
    let request = target.request(Mode::Http1, "GET", PATH);
    let request = request.body(client::empty()).unwrap();
    let answered = async {
        let response = connection.try_send(request).await.ok()?;
        let status = response.status().as_u16();
        response.into_body().collect().await.ok()?;
        Some(status)
    };
    if let Some(status) = answered.await {
        return status;
    }
    *connection = target.connect(Mode::Http1).await;
    CUT
}

/// One request; its answer is read to the end, so that the connection goes on.
async fn ask(connection: &mut Connection, target: &Target) -> u16 {
    let request = target.request(Mode::Http1, "GET", PATH);
    let response = connection
        .send(request.body(client::empty()).unwrap())
        .await;
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

async fn ask_once(target: &Target) -> u16 {
    let mut connection = target.connect(Mode::Http1).await;
    within("an answer", ask(&mut connection, target)).await
}

/// What one connection saw.
#[derive(Debug, Default)]
struct Seen {
    accepted_before: usize,
    tries_after: usize,
    accepted_after: usize,
    /// Of those after, answered with anything but a clear no.
    unclear_after: usize,
}

/// Asks without pause; whatever is asked after `returned` was told counts as after it.
async fn hammer(target: Target, returned: watch::Receiver<bool>, begun: Arc<AtomicUsize>) -> Seen {
    let mut connection = target.connect(Mode::Http1).await;
    let mut seen = Seen::default();
    while seen.tries_after < TRIES {
        let after = *returned.borrow();
        let status = ask_or_be_cut(&mut connection, &target).await;
        let accepted = status == 200;
        match after {
            true => {
                seen.tries_after += 1;
                seen.accepted_after += usize::from(accepted);
                seen.unclear_after += usize::from(!matches!(status, 200 | 401));
            }
            false if accepted && seen.accepted_before == 0 => {
                seen.accepted_before = 1;
                begun.fetch_add(1, Ordering::Relaxed);
            }
            false => seen.accepted_before += usize::from(accepted),
        }
    }
    seen
}

/// How long the command took, and what its receipt says.
struct Took {
    command: Duration,
    receipt: Duration,
}

/// Revokes a key that several connections are using; returns what they saw.
async fn revoke_under_load(deployment: &Deployment, target: Target, id: &str) -> (Took, Vec<Seen>) {
    let (tell, returned) = watch::channel(false);
    let accepted = Arc::new(AtomicUsize::new(0));
    let mut hammers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        hammers.spawn(hammer(
            target.clone(),
            returned.clone(),
            Arc::clone(&accepted),
        ));
    }
    let all_accepted = async {
        while accepted.load(Ordering::Relaxed) < CONNECTIONS {
            tokio::task::yield_now().await;
        }
    };
    within("every connection was accepted", all_accepted).await;
    let begun = Instant::now();
    let done = deployment.run_beside(&["keys", "revoke", id]).await;
    tell.send_replace(true);
    let command = begun.elapsed();
    let receipt = Duration::from_millis(confirmed_after_ms(&done.stderr));
    done.ok();
    let seen = within("every try is made", hammers.join_all()).await;
    (Took { command, receipt }, seen)
}

fn confirmed_after_ms(receipt: &str) -> u64 {
    let after = receipt.split(" after ").nth(1);
    let number = after.and_then(|text| text.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no receipt: {receipt}"))
}

fn percentile(of: &mut [Duration], percent: usize) -> Duration {
    of.sort_unstable();
    of[(of.len() * percent / 100).min(of.len() - 1)]
}

async fn ten_thousand_tries(engine: Engine) {
    let _alone = ALONE.lock().await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(engine, upstream.plain, "").await;
    let keys: Vec<Key> = (0..KEYS)
        .map(|number| deployment.key(&format!("key {number}"), &[]))
        .collect();
    let gateway = deployment.start().await;
    let (mut commands, mut receipts) = (Vec::new(), Vec::new());
    let mut all = Seen::default();
    for key in &keys {
        let target = deployment.target(&gateway, Some(&key.plain));
        let (took, seen) = revoke_under_load(&deployment, target, &key.id).await;
        commands.push(took.command);
        receipts.push(took.receipt);
        for seen in seen {
            all.accepted_before += seen.accepted_before;
            all.tries_after += seen.tries_after;
            all.accepted_after += seen.accepted_after;
            all.unclear_after += seen.unclear_after;
        }
    }
    println!(
        "{engine:?}: {all:?}; command p50 {:?} p99 {:?}; receipt p50 {:?} p99 {:?}",
        percentile(&mut commands, 50),
        percentile(&mut commands, 99),
        percentile(&mut receipts, 50),
        percentile(&mut receipts, 99),
    );
    // What made a receipt late, if anything did.
    for line in gateway.stderr() {
        if field(&line, "level") == "WARN" {
            println!("{engine:?}: {line}");
        }
    }
    assert_eq!(all.tries_after, KEYS * CONNECTIONS * TRIES);
    assert_eq!(
        all.accepted_after, 0,
        "of requests that began after the command returned"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_accepted_after_the_command_returned_on_sqlite() {
    ten_thousand_tries(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_accepted_after_the_command_returned_on_postgresql() {
    ten_thousand_tries(Engine::Postgres).await;
}

async fn two_gateways(engine: Engine) {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(engine, upstream.plain, "").await;
    let key = deployment.key("ci", &[]);
    let gateways = [deployment.start().await, deployment.start().await];
    let targets = gateways
        .each_ref()
        .map(|gateway| deployment.target(gateway, Some(&key.plain)));
    for target in &targets {
        assert_eq!(ask_once(target).await, 200);
    }
    let done = deployment.run_beside(&["keys", "revoke", &key.id]).await;
    for target in &targets {
        assert_eq!(ask_once(target).await, 401);
    }
    assert!(done.stderr.contains("confirmed by 2 gateways"), "{done:#?}");
    assert_eq!(done.stderr.matches("acknowledged").count(), 2, "{done:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_one_sqlite_file_obey() {
    two_gateways(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_one_postgresql_obey() {
    two_gateways(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_goes_takes_every_key_along() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let add = [
        "members",
        "add",
        "jiro@example.com",
        "--name",
        "Jiro",
        "--role",
        "member",
    ];
    deployment.run(&add).ok();
    let his: Vec<Key> = (0..5)
        .map(|number| deployment.key_of("jiro@example.com", &format!("key {number}"), &[]))
        .collect();
    let hers = deployment.key("hers", &[]);
    let gateway = deployment.start().await;
    for key in his.iter().chain([&hers]) {
        assert_eq!(
            ask_once(&deployment.target(&gateway, Some(&key.plain))).await,
            200
        );
    }
    let done = deployment
        .run_beside(&["members", "remove", "jiro@example.com"])
        .await;
    assert!(done.stderr.contains("5 keys ended"), "{done:#?}");
    for key in &his {
        assert_eq!(
            ask_once(&deployment.target(&gateway, Some(&key.plain))).await,
            401
        );
    }
    assert_eq!(
        ask_once(&deployment.target(&gateway, Some(&hers.plain))).await,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_unknown_works_as_soon_as_it_is_imported() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let gateway = deployment.start().await;
    let foreign = "legacy-platform-key-5f1d3c";
    let target = deployment.target(&gateway, Some(foreign));
    for _ in 0..2 {
        assert_eq!(ask_once(&target).await, 401);
    }
    let lookups = gateway.metric("genkan_store_lookups_total").await;
    assert_eq!(lookups, 0, "nothing was imported yet");
    import(&deployment, foreign).await;
    assert_eq!(ask_once(&target).await, 200);
    // From then on the store has to be asked, and remembers.
    let foreign = "legacy-platform-key-0c7b11";
    let target = deployment.target(&gateway, Some(foreign));
    for _ in 0..2 {
        assert_eq!(ask_once(&target).await, 401);
    }
    let lookups = gateway.metric("genkan_store_lookups_total").await;
    assert_eq!(lookups, 2, "the second refusal came from memory");
    import(&deployment, foreign).await;
    assert_eq!(ask_once(&target).await, 200);
}

/// Imports a key of another system as hana's.
async fn import(deployment: &Deployment, key: &str) {
    let hash = hex(&Sha256::digest(key));
    let import = [
        "keys", "import", "--sha256", &hash, "--name", "old", "--member",
    ];
    deployment
        .run_beside(&[&import[..], &["hana@example.com"]].concat())
        .await
        .ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_refused_from_its_expiry_on() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let gateway = deployment.start().await;
    let key = deployment.key("short", &["--expires", "2s"]);
    let shown = deployment
        .run(&["keys", "show", &key.id, "--output", "json"])
        .ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let end: jiff::Timestamp = shown["expires_at"].as_str().unwrap().parse().unwrap();
    let target = deployment.target(&gateway, Some(&key.plain));
    let mut connection = target.connect(Mode::Http1).await;
    let mut accepted = 0;
    let last = async {
        loop {
            let begun = jiff::Timestamp::now();
            match ask(&mut connection, &target).await {
                // What is printed may be rounded to the second.
                200 => assert!(begun < end + Duration::from_secs(1), "accepted at {begun}"),
                401 => return jiff::Timestamp::now(),
                other => panic!("{other}"),
            }
            accepted += 1;
        }
    };
    let refused = within("the key is refused", last).await;
    assert!(accepted > 0, "it never worked");
    assert!(refused >= end, "refused at {refused}, good until {end}");
    println!(
        "{accepted} accepted; refused {} after the printed expiry",
        refused - end
    );
}

/// Sends `times` requests with a key over several connections at once; every one is refused.
async fn refused(target: &Target, times: usize) {
    let failed = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (target, failed) = (target.clone(), Arc::clone(&failed));
        clients.spawn(async move {
            let mut connection = target.connect(Mode::Http1).await;
            for _ in 0..times / 8 {
                if ask(&mut connection, &target).await != 401 {
                    failed.store(true, Ordering::Relaxed);
                }
            }
        });
    }
    within("every answer", clients.join_all()).await;
    assert!(!failed.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_misses_are_one_query_and_a_bad_checksum_is_none() {
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, "").await;
    let gateway = deployment.start().await;
    let unknown = PlainKey::generate(&SystemEntropy).expose().to_owned();
    let (rest, last) = unknown.split_at(unknown.len() - 1);
    let mistyped = format!("{rest}{}", if last == "a" { "b" } else { "a" });

    refused(&deployment.target(&gateway, Some(&mistyped)), 1_000).await;
    assert_eq!(gateway.metric("genkan_store_lookups_total").await, 0);
    refused(&deployment.target(&gateway, Some(&unknown)), 10_000).await;
    assert_eq!(gateway.metric("genkan_store_lookups_total").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_delays_a_revocation_until_its_lease_ends_and_no_longer() {
    let lease = Duration::from_secs(1);
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(
        Engine::Sqlite,
        upstream.plain,
        "[limits]\nlease_ms = 1_000\n",
    )
    .await;
    let key = deployment.key("ci", &[]);
    let (mut killed, alive) = (deployment.start().await, deployment.start().await);
    for gateway in [&killed, &alive] {
        assert_eq!(
            ask_once(&deployment.target(gateway, Some(&key.plain))).await,
            200
        );
    }
    killed.signal(Signal::KILL);
    assert_eq!(killed.ended().await, None);
    let begun = Instant::now();
    let done = deployment.run_beside(&["keys", "revoke", &key.id]).await;
    let took = begun.elapsed();
    println!("{took:?}: {}", done.stderr);
    assert!(took < lease + PROMPTLY, "{took:?}");
    for outcome in ["fenced", "acknowledged"] {
        assert_eq!(done.stderr.matches(outcome).count(), 1, "{done:#?}");
    }
    assert!(confirmed_after_ms(&done.stderr) <= 1_200, "{done:#?}");
    assert_eq!(
        ask_once(&deployment.target(&alive, Some(&key.plain))).await,
        401
    );
}
