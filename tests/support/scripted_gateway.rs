//! A gateway before a scripted upstream, spoken to in raw bytes.

use super::deployment::{Deployment, Engine, Key, Process, route};
use super::raw::{Answer, Wire};
use super::scripted::{OK, Reply, Scripted, Seen};

pub struct ScriptedGateway {
    pub deployment: Deployment,
    pub gateway: Process,
    pub upstream: Scripted,
    /// A key of hana's, for `api` and `mcp`.
    pub key: Key,
}

/// Says yes to everything.
pub fn agree(_: &Seen) -> Reply {
    Reply::Bytes(OK)
}

impl ScriptedGateway {
    /// With the routes `/api/` (open to `https://pages.example`, with `/api/public`) and `/mcp`.
    pub async fn open(script: fn(&Seen) -> Reply, extra: &str) -> Self {
        let (upstream, deployment) = Self::deployment(script, &patient(extra)).await;
        Self::before(upstream, deployment).await
    }

    /// As [`Self::open`]; peers in `network` are trusted proxies.
    pub async fn open_trusting(script: fn(&Seen) -> Reply, network: &str) -> Self {
        Self::open_behind(script, &[network], "").await
    }

    /// As [`Self::open`]; peers in these networks are trusted proxies.
    pub async fn open_behind(script: fn(&Seen) -> Reply, networks: &[&str], extra: &str) -> Self {
        let trust = |text| format!("trusted_proxies = {networks:?}\n{text}");
        Self::open_changed(script, extra, trust).await
    }

    /// As [`Self::open`], with something changed in the whole configuration.
    pub async fn open_changed(
        script: fn(&Seen) -> Reply,
        extra: &str,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let (upstream, deployment) = Self::deployment(script, &patient(extra)).await;
        let text = std::fs::read_to_string(deployment.config()).unwrap();
        std::fs::write(deployment.config(), change(text)).unwrap();
        Self::before(upstream, deployment).await
    }

    /// As [`Self::open`], on another database, which is `store` in the configuration's words.
    pub async fn open_on(script: fn(&Seen) -> Reply, store: &str, extra: &str) -> Self {
        let (upstream, deployment) = Self::deployment(script, extra).await;
        let text = std::fs::read_to_string(deployment.config()).unwrap();
        let is_store = |line: &&str| line.starts_with("sqlite = ");
        let line = text.lines().find(is_store).expect("a store").to_owned();
        std::fs::write(deployment.config(), text.replace(&line, store)).unwrap();
        deployment.run(&["init"]).ok();
        deployment.run(&["organizations", "create", "Story"]).ok();
        let owner = [
            "members",
            "add",
            "hana@example.com",
            "--name",
            "Hana",
            "--role",
            "owner",
        ];
        deployment.run(&owner).ok();
        Self::before(upstream, deployment).await
    }

    async fn deployment(script: fn(&Seen) -> Reply, extra: &str) -> (Scripted, Deployment) {
        let upstream = Scripted::start(script).await;
        let text = format!(
            "[upstreams.genesis]\nurls = [\"http://{}\"]\nfirst_byte_timeout_ms = 1_000\n{}\
             cors_origins = [\"https://pages.example\"]\npublic_paths = [\"/api/public\"]\n{}{extra}",
            upstream.address,
            route("api", "/api/", "genesis", "api"),
            route("mcp", "/mcp", "genesis", "mcp"),
        );
        let deployment = Deployment::with_routes(Engine::Sqlite, &text).await;
        (upstream, deployment)
    }

    async fn before(upstream: Scripted, deployment: Deployment) -> Self {
        let key = deployment.key("ci", &[]);
        let gateway = deployment.start().await;
        Self {
            deployment,
            gateway,
            upstream,
            key,
        }
    }

    pub async fn wire(&self) -> Wire {
        Wire::connect(self.gateway.address("plain")).await
    }

    /// A request line, a host, this gateway's key, and more header lines, each with its line end.
    pub fn get(&self, path: &str, headers: &str) -> String {
        get(path, &format!("x-api-key: {}\r\n{headers}", self.key.plain))
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        self.wire().await.ask(request).await
    }

    /// What reaches the upstream of one request that is answered 200.
    pub async fn passed(&self, request: impl AsRef<[u8]>) -> Seen {
        let before = self.upstream.seen().len();
        let answer = self.ask(request).await;
        assert_eq!(answer.status, 200, "{}\n{}", answer.head, answer.text());
        let seen = self.upstream.seen();
        assert_eq!(seen.len(), before + 1);
        seen[before].clone()
    }
}

/// A look-up may wait for long: a busy machine is not what these stories are about.
fn patient(extra: &str) -> String {
    const LIMITS: &str = "[limits]\n";
    let (before, after) = extra.split_once(LIMITS).unwrap_or((extra, ""));
    format!("{before}{LIMITS}lookup_timeout_ms = 10_000\n{after}")
}

pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: genkan.test\r\n{headers}\r\n")
}
