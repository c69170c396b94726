//! TLS towards an upstream: whom is trusted, and what is agreed on.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::sockets::CountedSocket;
use crate::config::{Scheme, Upstream};
use crate::listen::tls::{ALPN, TlsError, certificates};

/// How the TLS connections of one upstream are made.
#[derive(Clone)]
pub struct Connectors {
    /// Offers `h2` and `http/1.1`, or the latter alone where the configuration says so.
    any: TlsConnector,
    /// Offers `http/1.1`, for connections that become tunnels.
    http1: TlsConnector,
}

impl Connectors {
    /// For an upstream; none for a plain one.
    ///
    /// # Errors
    /// Roots that cannot be read.
    pub fn new(upstream: &Upstream) -> Result<Option<Self>, TlsError> {
        if upstream.scheme == Scheme::Http {
            return Ok(None);
        }
        let mut config = client_config(upstream.tls_roots_file.as_deref())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = TlsConnector::from(Arc::new(config.clone()));
        if upstream.http2 {
            config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        }
        let any = TlsConnector::from(Arc::new(config));
        Ok(Some(Self { any, http1 }))
    }

    pub(super) async fn connect(
        &self,
        host: &str,
        socket: CountedSocket,
        exclusive: bool,
    ) -> io::Result<TlsStream<CountedSocket>> {
        let connector = if exclusive { &self.http1 } else { &self.any };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        connector.connect(name, socket).await
    }
}

/// Trusts the given roots alone, or what the system trusts.
fn client_config(roots: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder();
    let Some(file) = roots else {
        let system = builder
            .with_platform_verifier()
            .map_err(|error| TlsError::File {
                what: "the trusted roots",
                file: "the system's certificate store".into(),
                why: error.to_string(),
            })?;
        return Ok(system.with_no_client_auth());
    };
    let mut store = RootCertStore::empty();
    for root in certificates(file)? {
        store.add(root).map_err(|error| TlsError::File {
            what: "the trusted roots",
            file: file.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}
