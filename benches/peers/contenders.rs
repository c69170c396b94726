//! Who runs: every row of the table, in its order.

use std::path::PathBuf;

use crate::lab::Lab;
use crate::options::Options;
use crate::tools::{Program, Tools};
use crate::{caddy, envoy, genkan_gateway, haproxy, nginx};

/// What a contender asks of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Nothing.
    Off,
    /// The only key there is.
    OneKey,
    /// One of 10,000.
    Keys,
}

/// What callers speak; upstream it is always plain HTTP/1.1 over connections that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Plain HTTP/1.1: 32 keep-alive connections, by wrk.
    Http1,
    /// TLS 1.3 and HTTP/2: 8 connections of 8 streams, by h2load.
    TlsHttp2,
}

/// One start of one contender: what its configuration is written from.
pub(crate) struct Start<'a> {
    /// Keys, certificate and upstream.
    pub(crate) lab: &'a Lab,
    /// What callers speak.
    pub(crate) wire: Wire,
    /// Where to listen, on 127.0.0.1.
    pub(crate) port: u16,
    /// A fresh folder for configuration and whatever the program writes.
    pub(crate) folder: PathBuf,
}

impl Start<'_> {
    /// Writes a file into the folder and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> std::io::Result<String> {
        let path = self.folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }
}

/// Writes the configuration; returns the arguments of the program.
type Configure = fn(&Start<'_>) -> anyhow::Result<Vec<String>>;

/// A row of the table.
pub(crate) struct Contender {
    name: &'static str,
    /// What it asks of callers.
    pub(crate) auth: Auth,
    /// What callers speak to it.
    pub(crate) wire: Wire,
    /// What runs.
    pub(crate) program: Program,
    /// How it is told what to do.
    pub(crate) configure: Configure,
}

impl Contender {
    const fn new(name: &'static str, auth: Auth, program: Program, configure: Configure) -> Self {
        let wire = Wire::Http1;
        Self {
            name,
            auth,
            wire,
            program,
            configure,
        }
    }

    const fn over_tls(self) -> Self {
        Self {
            wire: Wire::TlsHttp2,
            ..self
        }
    }

    /// Its name in the table, different for every row.
    pub(crate) fn label(&self) -> String {
        match self.wire {
            Wire::Http1 => self.name.to_owned(),
            Wire::TlsHttp2 => format!("{} (TLS, HTTP/2)", self.name),
        }
    }
}

/// The cheapest that a proxy can be: bytes are moved, nothing is parsed. Others are compared with it.
pub(crate) const FLOOR: &str = "HAProxy, TCP mode";
/// What genkan wants to cost no more than, with everything on.
pub(crate) const MARK: &str = "nginx, proxy_pass";

/// Every row, in the order of the table.
const ALL: &[Contender] = &[
    Contender::new(FLOOR, Auth::Off, Program::Haproxy, haproxy::tcp),
    Contender::new(MARK, Auth::Off, Program::Nginx, nginx::plain),
    Contender::new(
        "HAProxy, HTTP mode",
        Auth::Off,
        Program::Haproxy,
        haproxy::http,
    ),
    Contender::new(
        "nginx, map of plain keys",
        Auth::Keys,
        Program::Nginx,
        nginx::map,
    ),
    Contender::new(
        "nginx, Lua + SHA-256",
        Auth::Keys,
        Program::NginxLua,
        nginx::lua,
    ),
    Contender::new(
        "HAProxy, SHA-256 + map",
        Auth::Keys,
        Program::Haproxy,
        haproxy::keys,
    ),
    Contender::new(
        "Envoy, api_key_auth",
        Auth::Keys,
        Program::Envoy,
        envoy::keys,
    ),
    Contender::new(
        "Caddy, one key",
        Auth::OneKey,
        Program::Caddy,
        caddy::one_key,
    ),
    Contender::new(
        "genkan, public route",
        Auth::Off,
        Program::Genkan,
        genkan_gateway::public,
    ),
    Contender::new("genkan", Auth::Keys, Program::Genkan, genkan_gateway::keys),
    Contender::new(MARK, Auth::Off, Program::Nginx, nginx::plain).over_tls(),
    Contender::new(
        "HAProxy, SHA-256 + map",
        Auth::Keys,
        Program::Haproxy,
        haproxy::keys,
    )
    .over_tls(),
    Contender::new(
        "Envoy, api_key_auth",
        Auth::Keys,
        Program::Envoy,
        envoy::keys,
    )
    .over_tls(),
    Contender::new("genkan", Auth::Keys, Program::Genkan, genkan_gateway::keys).over_tls(),
];

/// Those that were asked for and whose programs are here.
pub(crate) fn present(tools: &Tools, options: &Options) -> Vec<&'static Contender> {
    ALL.iter()
        .filter(|contender| options.wants(&contender.label()))
        .filter(|contender| {
            let generator = match contender.wire {
                Wire::Http1 => Program::Wrk,
                Wire::TlsHttp2 => Program::H2load,
            };
            tools.has(contender.program) && tools.has(generator) && tools.has(Program::Nginx)
        })
        .collect()
}
