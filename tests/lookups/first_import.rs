//! The first key of another system: known everywhere when the import returns; and nothing is said of such
//! keys by a gateway whose lease is out.

use super::{ask, foreign_key, import};
use crate::support::deployment::{Deployment, Engine};
use crate::support::postgres::Server;
use crate::support::upstream::Upstream;
use crate::support::within;

/// Databases on which a first key is imported.
const TIMES: usize = 3;

async fn known_everywhere(engine: Engine) {
    let upstream = Upstream::start().await;
    for _ in 0..TIMES {
        let deployment = Deployment::new(engine, upstream.plain, "").await;
        let gateways = [deployment.start().await, deployment.start().await];
        let (first, second) = (foreign_key(), foreign_key());
        for gateway in &gateways {
            assert_eq!(ask(gateway, &first).await, 401);
        }
        for key in [&first, &second] {
            import(&deployment, key).await;
            for gateway in &gateways {
                assert_eq!(ask(gateway, key).await, 200, "the import has returned");
            }
        }
        // One that starts later learns it when it registers.
        let later = deployment.start().await;
        assert_eq!(ask(&later, &first).await, 200);
        for gateway in gateways.iter().chain([&later]) {
            assert_eq!(ask(gateway, &foreign_key()).await, 401);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_import_is_known_to_every_gateway_when_it_returns_on_sqlite() {
    known_everywhere(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_import_is_known_to_every_gateway_when_it_returns_on_postgresql() {
    known_everywhere(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_system_is_decided_while_the_lease_holds_and_503_after_it() {
    let upstream = Upstream::start().await;
    let server = Server::start_private();
    let url = server.database("genkan").await;
    let deployment = Deployment::on(&url, upstream.plain, "[limits]\nlease_ms = 3_000\n");
    let gateway = deployment.start().await;
    assert_eq!(ask(&gateway, &foreign_key()).await, 401);
    server.freeze();
    // Known from the snapshot that was read with the lease: no store need be asked.
    assert_eq!(ask(&gateway, &foreign_key()).await, 401);
    within("the lease is out", async {
        while ask(&gateway, &foreign_key()).await == 401 {}
    })
    .await;
    for _ in 0..5 {
        assert_eq!(ask(&gateway, &foreign_key()).await, 503);
    }
    server.thaw();
    within("the lease is back", async {
        while ask(&gateway, &foreign_key()).await != 401 {}
    })
    .await;
    let imported = foreign_key();
    import(&deployment, &imported).await;
    assert_eq!(ask(&gateway, &imported).await, 200);
}
