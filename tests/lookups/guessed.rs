//! Hundreds of connections that guess keys in genkan's own format, from the very address from which honest people come
//! with new keys: nobody honest is refused, and the log stays short.

use std::time::{Duration, Instant};

use genkan::model::key::PlainKey;
use genkan::model::random::SystemEntropy;
use tokio::task::JoinSet;

use super::flood::Flood;
use super::{Manager, request};
use crate::support::ALONE;
use crate::support::deployment::{Deployment, Engine};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;

const GUESSING: usize = 600;
/// Keys that nobody has presented yet.
const FRESH: usize = 120;
/// At a time.
const ARRIVING: usize = 4;
/// Between two guesses of a connection: some 2,000 guesses a second in all, more than a debug build looks up.
const REST: Duration = Duration::from_millis(300);
/// Bytes of log for each second of guessing.
const LOG_BYTES_PER_SECOND: f64 = 65_536.0;

fn guessed_key() -> String {
    PlainKey::generate(&SystemEntropy).expose().to_owned()
}

async fn guesses(engine: Engine) {
    let _alone = ALONE.lock().await;
    let upstream = Upstream::start().await;
    let deployment = Deployment::new(engine, upstream.plain, "").await;
    let gateway = deployment.start().await;
    let manager = Manager::of(&deployment, &gateway);
    let mut fresh = Vec::new();
    for _ in 0..FRESH {
        fresh.push(manager.new_key().await);
    }
    let logged = || gateway.stderr().iter().map(String::len).sum::<usize>();
    let (address, before, begun) = (gateway.address("plain"), logged(), Instant::now());
    let flood = Flood::start(address, GUESSING, REST, guessed_key).await;
    let mut statuses = Vec::new();
    let mut arriving = JoinSet::new();
    for key in fresh {
        arriving.spawn(async move {
            let mut wire = Wire::connect(address).await;
            wire.ask(request(&key)).await.status
        });
        if arriving.len() >= ARRIVING {
            statuses.extend(arriving.join_next().await.unwrap());
        }
    }
    statuses.extend(arriving.join_all().await);
    manager.everything_answers().await;
    let tally = flood.ended().await;
    let (bytes, seconds) = (logged() - before, begun.elapsed().as_secs_f64());
    let failed = statuses.iter().filter(|status| **status != 200).count();
    println!(
        "{engine:?}: {failed} of {} new keys failed beside {tally:?}; {bytes} bytes of log in {seconds:.1} s",
        statuses.len()
    );
    assert_eq!((statuses.len(), failed), (FRESH, 0), "{statuses:?}");
    #[expect(clippy::cast_precision_loss, reason = "bytes of a log")]
    let rate = bytes as f64 / seconds;
    assert!(rate < LOG_BYTES_PER_SECOND, "{rate} bytes a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_new_keys_beside_guesses_are_found_on_sqlite() {
    guesses(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_new_keys_beside_guesses_are_found_on_postgresql() {
    guesses(Engine::Postgres).await;
}
