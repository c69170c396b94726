//! A certificate for loopback, made anew for each test that wants one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A self-signed certificate in files: it is its own authority.
pub struct Certificate {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    /// Keeps the files until the test ends.
    _folder: tempfile::TempDir,
}

impl Certificate {
    pub fn for_loopback() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made =
            rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()]).unwrap();
        let certificate_file = folder.path().join("certificate.pem");
        let key_file = folder.path().join("key.pem");
        std::fs::write(&certificate_file, made.cert.pem()).unwrap();
        std::fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
        Self {
            certificate_file,
            key_file,
            _folder: folder,
        }
    }

    /// A server that offers HTTP/2, then HTTP/1.1.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        install_provider();
        let certificate = CertificateDer::from_pem_file(&self.certificate_file).unwrap();
        let key = PrivateKeyDer::from_pem_file(&self.key_file).unwrap();
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// A client that trusts this one certificate and offers this one protocol.
pub fn client(authority: &Path, alpn: &[u8]) -> Arc<rustls::ClientConfig> {
    install_provider();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority).unwrap())
        .unwrap();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

/// Once for the whole test process: whoever comes second finds it done.
pub fn install_provider() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}
