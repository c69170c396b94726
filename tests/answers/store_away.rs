//! A database that is away: 503 and when to come back, never a word about the key. Keys that are
//! remembered go on working until the lease is out.

use std::time::Duration;

use super::unknown_key;
use crate::support::postgres::Server;
use crate::support::raw::Answer;
use crate::support::scripted_gateway::{ScriptedGateway, agree, get};
use crate::support::within;

fn says_nothing_about_the_key(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}\n{}", answer.head, answer.text());
    let seconds: u32 = answer.header("retry-after")[0].parse().unwrap();
    assert!(seconds > 0);
    assert!(answer.header("www-authenticate").is_empty());
    // A log without headers says when to come back, too.
    let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains(&format!("after {seconds} second")),
        "{detail}"
    );
}

async fn scripted(server: &Server) -> ScriptedGateway {
    let url = server.database("genkan").await;
    ScriptedGateway::open_on(
        agree,
        &format!("postgres = {url:?}"),
        "[limits]\nlease_ms = 3_000\nlookup_timeout_ms = 1_000\n",
    )
    .await
}

/// What a gateway does from the moment that its database is gone.
async fn outage(scripted: &ScriptedGateway, fresh: &str) {
    let mut wire = scripted.wire().await;
    let ask_fresh = get("/api/a", &format!("x-api-key: {fresh}\r\n"));
    // Remembered keys open, unknown ones are not decided.
    assert_eq!(wire.ask(scripted.get("/api/a", "")).await.status, 200);
    says_nothing_about_the_key(&wire.ask(&ask_fresh).await);
    let unknown = get("/api/a", &format!("x-api-key: {}\r\n", unknown_key()));
    says_nothing_about_the_key(&wire.ask(unknown).await);
    // What no store has to be asked for is answered as ever.
    assert_eq!(wire.ask(get("/api/a", "")).await.status, 401);
    assert_eq!(
        wire.ask(get("/api/a", "x-api-key: gk_no\r\n")).await.status,
        401
    );
    let refused = within("the lease is out", async {
        loop {
            let answer = wire.ask(scripted.get("/api/a", "")).await;
            if answer.status != 200 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    says_nothing_about_the_key(&refused);
}

/// Both keys open again once the database is back.
async fn recovery(scripted: &ScriptedGateway, fresh: &str) {
    let mut wire = scripted.wire().await;
    for key in [&scripted.key.plain, fresh] {
        within("the key opens again", async {
            while wire
                .ask(get("/api/a", &format!("x-api-key: {key}\r\n")))
                .await
                .status
                != 200
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashed_is_503_until_it_is_back() {
    let server = Server::start_private();
    let scripted = scripted(&server).await;
    let fresh = scripted.deployment.key("fresh", &[]).plain;
    assert_eq!(scripted.ask(scripted.get("/api/a", "")).await.status, 200);
    server.stop();
    outage(&scripted, &fresh).await;
    server.start();
    recovery(&scripted, &fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_is_503_until_it_goes_on() {
    let server = Server::start_private();
    let scripted = scripted(&server).await;
    let fresh = scripted.deployment.key("fresh", &[]).plain;
    assert_eq!(scripted.ask(scripted.get("/api/a", "")).await.status, 200);
    server.freeze();
    outage(&scripted, &fresh).await;
    server.thaw();
    recovery(&scripted, &fresh).await;
}
