//! What all contenders share: a folder, 10,000 keys, a certificate, and the service behind them.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use genkan::model::key::PlainKey;
use genkan::model::random::SystemEntropy;
use tempfile::TempDir;

use crate::contenders::Contender;
use crate::pinned::{Core, Pinned};
use crate::tools::{Program, Tools};
use crate::{genkan_gateway, nginx, probe};

/// How many keys every contender with authentication knows.
const KEYS: usize = 10_000;

/// The keys; callers present one of them.
pub(crate) struct Keys(Vec<PlainKey>);

impl Keys {
    fn generate() -> Self {
        Self(
            (0..KEYS)
                .map(|_| PlainKey::generate(&SystemEntropy))
                .collect(),
        )
    }

    /// All of them.
    pub(crate) fn plain(&self) -> impl Iterator<Item = &PlainKey> {
        self.0.iter()
    }

    /// All of them, as text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(PlainKey::expose)
    }

    /// Their numbers and SHA-256, in lower-case hexadecimal.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = (usize, String)> {
        self.0.iter().map(|key| key.hash().to_string()).enumerate()
    }

    /// The one that is presented: from the middle, where no list finds it first.
    pub(crate) fn valid(&self) -> &str {
        self.0.get(KEYS / 2).map_or("", PlainKey::expose)
    }
}

/// A self-signed certificate for 127.0.0.1, in PEM.
pub(crate) struct Certificate {
    /// The certificate.
    pub(crate) chain: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub(crate) bundle: PathBuf,
}

impl Certificate {
    fn write(folder: &Path) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = Self {
            chain: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            bundle: folder.join("bundle.pem"),
        };
        std::fs::write(&files.chain, &chain)?;
        std::fs::write(&files.key, &key)?;
        std::fs::write(&files.bundle, chain + &key)?;
        Ok(files)
    }
}

/// The service behind: nginx on the load generator's core.
pub(crate) struct Upstream {
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    _process: Pinned,
}

/// Everything that stays up from the first round to the last.
pub(crate) struct Lab {
    /// Where the programs are.
    pub(crate) tools: Tools,
    /// Who may pass.
    pub(crate) keys: Keys,
    /// For the contenders that speak TLS.
    pub(crate) certificate: Certificate,
    /// What is behind.
    pub(crate) upstream: Upstream,
    // Last: the folder is removed after the processes that write into it have ended.
    folder: TempDir,
}

impl Lab {
    /// Writes keys and certificate and starts the upstream.
    pub(crate) async fn build(tools: Tools, contenders: &[&Contender]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let certificate = Certificate::write(folder.path())?;
        let upstream = start_upstream(&tools, folder.path()).await?;
        let lab = Self {
            tools,
            keys: Keys::generate(),
            certificate,
            upstream,
            folder,
        };
        if contenders
            .iter()
            .any(|contender| contender.program == Program::Genkan)
        {
            crate::talk::say!("writing {KEYS} keys into genkan's store");
            genkan_gateway::fill(&lab.genkan_database(), &lab.keys).await?;
        }
        Ok(lab)
    }

    /// genkan's store, filled once for all rounds.
    pub(crate) fn genkan_database(&self) -> PathBuf {
        self.folder.path().join("genkan.db")
    }

    /// A fresh folder, removed with the laboratory.
    pub(crate) fn fresh_folder(&self) -> std::io::Result<PathBuf> {
        Ok(tempfile::tempdir_in(self.folder.path())?.keep())
    }
}

async fn start_upstream(tools: &Tools, folder: &Path) -> anyhow::Result<Upstream> {
    let (port, folder) = (free_port()?, folder.join("upstream"));
    std::fs::create_dir(&folder)?;
    let config = folder.join("nginx.conf");
    std::fs::write(&config, nginx::upstream(&folder, port))?;
    let arguments = ["-c".to_owned(), config.display().to_string()];
    let process = Pinned::start(
        Core::Generator,
        tools.path(Program::Nginx)?,
        &arguments,
        &folder,
    )?;
    probe::until_served(port, "").await?;
    Ok(Upstream {
        port,
        _process: process,
    })
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
