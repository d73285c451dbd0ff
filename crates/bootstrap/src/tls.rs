//! Certificates and keys from PEM files, read again when the files change.
//!
//! What is in use is replaced as a whole: new connections take the new certificate, those that are
//! open go on. Files that cannot be used are told in the log and in `mcp_reloads_total`; what was in
//! use stays in use.

mod expiry;
mod files;
mod follow;
mod material;

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

pub use self::files::{FileProblem, NamedFile};
pub use self::follow::{TextFile, follow_text, follow_tls};
pub use self::material::{Material, TlsFiles};

use crate::run::{App, StartError};

/// TLS of a public server: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, no client certificates.
#[derive(Debug, Clone)]
pub struct ServerTls {
    current: watch::Receiver<Arc<ServerConfig>>,
}

impl ServerTls {
    /// Reads the files and follows them for the life of the process.
    ///
    /// # Errors
    /// A [`FileProblem`] that names the setting and the fix.
    pub fn public(files: TlsFiles, app: &App) -> Result<Self, StartError> {
        let current = follow_tls(files, app, public_config)?;
        Ok(Self { current })
    }

    /// What a connection that comes in now is to use.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.borrow())
    }
}

fn public_config(material: &Material) -> Result<ServerConfig, rustls::Error> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let mut config = ServerConfig::builder_with_provider(material::provider())
        .with_protocol_versions(&versions)?
        .with_no_client_auth()
        .with_single_cert(material.chain.clone(), material.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
