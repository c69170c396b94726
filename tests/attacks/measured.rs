//! The same attacks, measured: what honest requests wait with and without them, as medians of several runs. Long,
//! so only where it is asked for: `GENKAN_TEST_LONG=1 cargo test attacks::measured -- --nocapture`.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Crowd, DESCRIPTORS, HALF_SENT, IDLE, SIGN_INS, Scene, half_a_form, silent_provider};
use crate::support::legitimate::{Legitimate, median};

/// Runs of each kind, one with the attack after one without.
const RUNS: usize = 7;
const RUN: Duration = Duration::from_secs(5);
/// With these the slowest of a hundred is the tenth slowest of a run.
const REQUESTS_PER_SECOND: u32 = 200;
/// Keys of which each is presented once: a fifth of the requests.
const FRESH_IN_A_RUN: usize = 200;
/// An attack may make the slowest of a hundred honest requests so much slower.
const RATIO_MAX: f64 = 1.5;

/// How much longer the slowest of a hundred takes with an attack than without.
async fn measure(name: &str, scene: &mut Scene, attack: impl AsyncFn(SocketAddr) -> Crowd) -> f64 {
    let (mut calm, mut attacked) = (Vec::new(), Vec::new());
    for run in 0..2 * RUNS {
        let is_attacked = run % 2 == 1;
        let plan = scene.traffic(REQUESTS_PER_SECOND, FRESH_IN_A_RUN);
        let crowd = if is_attacked {
            Some(attack(scene.admin()).await)
        } else {
            None
        };
        let seen = Legitimate::during(plan, RUN).await;
        drop(crowd);
        seen.none_failed(name);
        if is_attacked {
            attacked.push(seen.p99());
        } else {
            calm.push(seen.p99());
        }
    }
    println!("{name}: p99 without {calm:?}, with {attacked:?}");
    let (calm, attacked) = (median(calm), median(attacked));
    let ratio = attacked.as_secs_f64() / calm.as_secs_f64();
    println!("{name}: median p99 without {calm:?}, with {attacked:?}: {ratio:.2}");
    ratio
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_requests_wait_no_longer_under_attack() {
    if !std::env::var("GENKAN_TEST_LONG").is_ok_and(|value| value == "1") {
        return;
    }
    let keys = 2 * RUNS * FRESH_IN_A_RUN;
    let mut scene = Scene::set("", keys, Some(DESCRIPTORS)).await;
    let idle = async |admin| Crowd::of(IDLE, admin, String::new()).await;
    let idle = measure("idle connections", &mut scene, idle).await;
    drop(scene);
    let mut scene = Scene::set("", keys, None).await;
    let half_sent = async |admin| Crowd::of(HALF_SENT, admin, half_a_form(admin)).await;
    let half_sent = measure("half-sent bodies", &mut scene, half_sent).await;
    drop(scene);
    let (_provider, oidc) = silent_provider().await;
    let mut scene = Scene::set(&oidc, keys, None).await;
    let sign_ins = async |admin: SocketAddr| {
        let request = format!("GET /sign-in/provider HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        Crowd::of(SIGN_INS, admin, request).await
    };
    let sign_ins = measure("sign-ins", &mut scene, sign_ins).await;
    for ratio in [idle, half_sent, sign_ins] {
        assert!(ratio <= RATIO_MAX, "{idle:.2} {half_sent:.2} {sign_ins:.2}");
    }
}
