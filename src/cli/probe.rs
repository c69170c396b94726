//! Tests what a configuration names: reads its files and connects to its upstreams.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{Address, Config, ListenerTls};

/// The result of one test.
#[derive(Debug)]
pub struct Probe {
    /// What was tested.
    pub what: String,
    /// A description on success; on failure, what failed and what to do.
    pub result: Result<String, String>,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(found) => write!(f, "ok: {}: {found}", self.what),
            Err(failed) => write!(f, "failed: {}: {failed}", self.what),
        }
    }
}

/// Reads every certificate, private key and root that the configuration names.
pub fn files(config: &Config) -> Vec<Probe> {
    let listeners = config.listeners.iter().filter_map(|listener| {
        Some(Probe {
            what: format!("certificate of listener {}", listener.name),
            result: certificate(listener.tls.as_ref()?),
        })
    });
    let upstreams = config.upstreams.iter().filter_map(|upstream| {
        Some(Probe {
            what: format!("roots of upstream {}", upstream.name),
            result: certificates(upstream.tls_roots_file.as_ref()?)
                .map(|roots| format!("{} roots", roots.len())),
        })
    });
    listeners.chain(upstreams).collect()
}

/// Connects to every address of every upstream.
pub async fn upstreams(config: &Config) -> Vec<Probe> {
    let mut probes = Vec::new();
    for upstream in &config.upstreams {
        let limit = Duration::from_millis(upstream.connect_timeout_ms);
        for address in &upstream.addresses {
            probes.push(Probe {
                what: format!("upstream {} at {address}", upstream.name),
                result: connect(address, limit).await,
            });
        }
    }
    probes
}

async fn connect(address: &Address, limit: Duration) -> Result<String, String> {
    let stream = TcpStream::connect((address.host.as_str(), address.port));
    match timeout(limit, stream).await {
        Ok(Ok(_)) => Ok("connected".to_owned()),
        Ok(Err(error)) => Err(format!(
            "{error}: check that it is running, and its name and port"
        )),
        Err(_) => Err(format!(
            "no answer within {} ms (connect_timeout_ms): check for a firewall in between",
            limit.as_millis()
        )),
    }
}

/// Checks that the certificate and the key can be read and match.
fn certificate(tls: &ListenerTls) -> Result<String, String> {
    let chain = certificates(&tls.certificate_file)?;
    let file = tls.key_file.display();
    let key = PrivateKeyDer::from_pem_file(&tls.key_file)
        .map_err(|error| format!("{file}: {error}: a private key in PEM is needed"))?;
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| format!("{file}: {error}: use an RSA, ECDSA or Ed25519 key"))?;
    let length = chain.len();
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) => Ok(format!("matches its key, {length} in the chain")),
        Err(error) => Err(format!(
            "{} and {file} do not match ({error}): the first certificate of the file must be that \
             of the key",
            tls.certificate_file.display()
        )),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = path.display();
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| {
            format!("{file}: {error}: a PEM file that this user may read is needed")
        })?;
    if certificates.is_empty() {
        return Err(format!("{file} holds no certificate in PEM"));
    }
    Ok(certificates)
}
