//! The TLS side of a listener: certificate, key, and what is agreed on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::ListenerTls;

/// What HTTP/2 and HTTP/1.1 are called in ALPN (RFC 7301, RFC 9113 §3.2), in our order of preference.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is absent, unreadable, or not PEM of the right kind.
    #[error(
        "cannot read {what} from {}: {why}; name a PEM file that genkan may read",
        .file.display()
    )]
    File {
        /// `the certificate` or `the private key`.
        what: &'static str,
        /// Where it should be.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Both were read, but they do not fit.
    #[error(
        "the private key {} does not fit the certificate {} ({why}); name the key that the \
         certificate was made for",
        .key.display(),
        .certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        why: String,
    },
}

/// TLS 1.2 and 1.3 with rustls' safe defaults, ALPN `h2` and `http/1.1`.
pub fn server_config(config: &ListenerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&config.certificate_file)?;
    let key = private_key(&config.key_file)?;
    let mut tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Mismatch {
            certificate: config.certificate_file.clone(),
            key: config.key_file.clone(),
            why: error.to_string(),
        })?;
    tls.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(tls))
}

/// Every certificate of a PEM file; at least one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |why: String| TlsError::File {
        what: "the certificate",
        file: file.to_owned(),
        why,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| failed(error.to_string()))?;
    if chain.is_empty() {
        return Err(failed("it has no `BEGIN CERTIFICATE` block".to_owned()));
    }
    Ok(chain)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| TlsError::File {
        what: "the private key",
        file: file.to_owned(),
        why: error.to_string(),
    })
}
