//! A real HAProxy, found or installed, never skipped.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::apt;
use super::deployment::Process;
use super::postgres::free_port;
use super::raw::Wire;

const ADVICE: &str = "No HAProxy for the tests: apt-get install -y --no-install-recommends haproxy";
/// Where Debian and others put it; not every user's PATH has the first.
const PLACES: [&str; 3] = [
    "/usr/sbin/haproxy",
    "/usr/bin/haproxy",
    "/usr/local/sbin/haproxy",
];

/// Between two looks at its statistics.
const POLL: Duration = Duration::from_millis(20);

/// A server behind it: where it serves, and where it is asked whether it is ready.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    pub readiness: SocketAddr,
}

/// One that runs, with two checks of readiness in 200 ms.
pub struct Balancer {
    _process: Process,
    _folder: TempDir,
    pub address: SocketAddr,
    statistics: SocketAddr,
}

impl Balancer {
    pub async fn start(servers: &[Server]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (address, statistics) = (local(free_port()), local(free_port()));
        let mut text = format!(
            "defaults\n mode http\n timeout connect 1s\n timeout client 30s\n timeout server 30s\n \
             option redispatch\n\
             frontend statistics\n bind {statistics}\n stats enable\n stats uri /\n\
             frontend all\n bind {address}\n default_backend gateways\n\
             backend gateways\n option httpchk GET /readyz\n http-check expect status 200\n \
             default-server inter 100ms fall 2 rise 2\n"
        );
        for server in servers {
            let Server {
                name,
                address,
                readiness,
            } = server;
            let (host, port) = (readiness.ip(), readiness.port());
            writeln!(
                text,
                " server {name} {address} check addr {host} port {port}"
            )
            .unwrap();
        }
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(binary());
        command.arg("-db").arg("-f").arg(file);
        let balancer = Self {
            _process: Process::spawn(command),
            _folder: folder,
            address,
            statistics,
        };
        for server in servers {
            balancer.says(server.name, "UP").await;
        }
        balancer
    }

    /// Waits until a server is in this state for it.
    pub async fn says(&self, server: &str, state: &str) {
        let said = async {
            while !self.has(server, state).await {
                tokio::time::sleep(POLL).await;
            }
        };
        super::within(&format!("HAProxy says that {server} is {state}"), said).await;
    }

    async fn has(&self, server: &str, state: &str) -> bool {
        let Ok(mut wire) = Wire::try_connect(self.statistics).await else {
            return false;
        };
        wire.send("GET /;csv HTTP/1.1\r\nHost: haproxy.test\r\n\r\n")
            .await;
        let Some(answer) = wire.answer().await else {
            return false;
        };
        let line = format!("gateways,{server},");
        let text = answer.text();
        let mut lines = text.lines().filter(|it| it.starts_with(&line));
        lines.any(|it| it.split(',').any(|column| column == state))
    }
}

fn binary() -> PathBuf {
    let found = || PLACES.iter().map(Path::new).find(|path| path.exists());
    if found().is_none() {
        apt::install(&["haproxy"]);
    }
    found().expect(ADVICE).to_owned()
}
