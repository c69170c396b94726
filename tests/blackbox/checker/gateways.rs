//! The gateways: each a process of the real binary, with a configuration and a way to the database of
//! its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::process::Signal;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::support::client::Target;
use crate::support::deployment::{Deployment, Process};
use crate::support::fault_proxy::FaultProxy;

use super::time::Weather;

pub struct Gateway {
    pub number: usize,
    /// Between this gateway and the database.
    pub proxy: FaultProxy,
    pub weather: Weather,
    config: PathBuf,
    process: tokio::sync::Mutex<Process>,
    /// Where it listens: elsewhere after each start.
    target: Mutex<Target>,
    panics: Mutex<Vec<String>>,
}

impl Gateway {
    pub async fn start(deployment: &Deployment, database: &str, number: usize) -> Self {
        let options: PgConnectOptions = database.parse().unwrap();
        let host = (options.get_host().to_owned(), options.get_port());
        let server: SocketAddr = tokio::net::lookup_host(host).await.unwrap().next().unwrap();
        let proxy = FaultProxy::before(server).await;
        let through = options.host("127.0.0.1").port(proxy.address().port());
        let text = std::fs::read_to_string(deployment.config()).unwrap();
        let text = text.replace(database, through.to_url_lossy().as_str());
        let config = deployment
            .folder
            .path()
            .join(format!("genkan-{number}.toml"));
        std::fs::write(&config, text).unwrap();
        let process = deployment.start_with(&config).await;
        Self {
            number,
            proxy,
            weather: Weather::default(),
            config,
            target: Mutex::new(deployment.target(&process, None)),
            process: tokio::sync::Mutex::new(process),
            panics: Mutex::default(),
        }
    }

    /// As a client with this key sees it now.
    pub fn target(&self, key: &str) -> Target {
        let mut target = self.target.lock().unwrap().clone();
        target.key = Some(key.to_owned());
        target
    }

    pub async fn signal(&self, signal: Signal) {
        self.process.lock().await.signal(signal);
    }

    pub async fn kill(&self) {
        let mut process = self.process.lock().await;
        process.signal(Signal::KILL);
        process.ended().await;
        self.note_panics(&process);
    }

    pub async fn start_again(&self, deployment: &Deployment) {
        let mut process = self.process.lock().await;
        *process = deployment.start_with(&self.config).await;
        *self.target.lock().unwrap() = deployment.target(&process, None);
    }

    /// Every panic of this gateway, of its earlier processes too.
    pub async fn panics(&self) -> Vec<String> {
        self.note_panics(&*self.process.lock().await);
        self.panics.lock().unwrap().clone()
    }

    fn note_panics(&self, process: &Process) {
        let lines = process.stderr().into_iter();
        let panics = lines.filter(|line| line.contains("panicked"));
        self.panics.lock().unwrap().extend(panics);
    }
}
