//! Callers who invent keys, and what they may not take from others: not a place for a look-up from callers
//! with new keys, no connection from readiness and management, no lease from the gateway.

mod beside;
mod first_import;
mod flood;
mod guessed;
mod invented;

use genkan::model::random::{Entropy, SystemEntropy};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::deployment::{Deployment, Process, hex};
use crate::support::raw::Wire;

/// A text that could be a key of another system, and is none.
fn foreign_key() -> String {
    let mut random = [0; 16];
    SystemEntropy.fill(&mut random);
    format!("legacy-{}", hex(&random))
}

fn request(key: &str) -> String {
    format!("GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {key}\r\n\r\n")
}

/// The status of one request, on a connection of its own.
async fn ask(gateway: &Process, key: &str) -> u16 {
    let mut wire = Wire::connect(gateway.address("plain")).await;
    wire.ask(request(key)).await.status
}

/// Imports a key of another system as hana's.
async fn import(deployment: &Deployment, key: &str) {
    let hash = hex(&Sha256::digest(key));
    let import = ["keys", "import", "--sha256", &hash, "--name", "old"];
    let whose = ["--member", "hana@example.com"];
    deployment
        .run_beside(&[&import[..], &whose].concat())
        .await
        .ok();
}

/// One number of `/metrics`, by the beginning of its line.
async fn metric(gateway: &Process, name: &str) -> u64 {
    let text = gateway.operators("/metrics").await.into_body();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    // Whole, of a gauge too.
    number.trim().trim_end_matches(".0").parse().unwrap()
}

/// Who calls the management API with a key.
struct Manager {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Manager {
    fn of(deployment: &Deployment, gateway: &Process) -> Self {
        let scopes = ["--scope", "api", "--scope", "mcp", "--scope", "manage"];
        Self {
            client: reqwest::Client::new(),
            url: format!("http://{}", gateway.address("admin")),
            key: deployment.key("manager", &scopes).plain,
        }
    }

    /// The text of a new key.
    async fn new_key(&self) -> String {
        let made = self
            .client
            .post(format!("{}/api/v1/keys", self.url))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(json!({ "name": "fresh" }).to_string());
        let made = made.send().await.unwrap();
        assert!(made.status().is_success(), "{}", made.status());
        let made: Value = serde_json::from_str(&made.text().await.unwrap()).unwrap();
        made["secret"].as_str().unwrap().to_owned()
    }

    /// Readiness, the API and the console answer, and the store too, as readiness sees it.
    async fn everything_answers(&self) {
        let get = |path: &str| self.client.get(format!("{}{path}", self.url));
        let mut answers = Vec::new();
        // On a busy machine one look may be late by itself.
        for _ in 0..3 {
            let ready = get("/readyz").send().await.unwrap();
            assert_eq!(ready.status(), 200);
            let ready: Value = serde_json::from_str(&ready.text().await.unwrap()).unwrap();
            answers.push(ready["store_answers"] == true);
        }
        assert!(answers.contains(&true), "the store is said to be silent");
        let bearer = format!("Bearer {}", self.key);
        let me = get("/api/v1/me").header("authorization", bearer);
        assert_eq!(me.send().await.unwrap().status(), 200);
        assert_eq!(get("/sign-in").send().await.unwrap().status(), 200);
    }
}
