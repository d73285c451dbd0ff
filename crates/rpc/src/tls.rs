//! Mutual TLS between the services: who is at the other end, by the name in its certificate.
//!
//! A certificate names its service by one URI, `spiffe://dynamic-mcp/service/NAME`. Both sides check
//! the chain to the authority of the services and that name; host names are not looked at, so one
//! certificate serves every replica under whatever address it is reached. TLS 1.3 only, no
//! resumption: each connection shows its certificate.

mod verify;

use std::io;
use std::sync::Arc;

use auth::internal::{Audience, is_service_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use self::verify::{ServiceClients, ServiceServer};

/// What comes before the name of a service in its certificate.
const SERVICE: &str = "spiffe://dynamic-mcp/service/";

/// HTTP/2 only: gRPC.
const ALPN: &[u8] = b"h2";

/// The URI by which a certificate names a service.
#[must_use]
pub fn service_uri(name: &str) -> String {
    format!("{SERVICE}{name}")
}

/// What this service shows and accepts, made of one certificate.
#[derive(Debug)]
pub struct Certificates {
    server: Arc<ServerConfig>,
    registry: Arc<ClientConfig>,
    executor: Arc<ClientConfig>,
}

impl Certificates {
    /// This service shows `chain` and accepts what `roots` signed.
    ///
    /// # Errors
    /// The certificate names no service, the key is not its own, or there is no root.
    pub fn new(
        chain: &[CertificateDer<'static>],
        key: &PrivateKeyDer<'static>,
        roots: &RootCertStore,
    ) -> Result<Self, rustls::Error> {
        let named = chain.first().and_then(service_of);
        if named.is_none() {
            let why = format!("names no service: it needs the URI {SERVICE}NAME, once");
            return Err(rustls::Error::General(why));
        }
        let client = |audience| client_config(audience, chain, key, roots).map(Arc::new);
        Ok(Self {
            server: Arc::new(server_config(chain, key, roots)?),
            registry: client(Audience::Registry)?,
            executor: client(Audience::Executor)?,
        })
    }

    fn of(&self, audience: Audience) -> &Arc<ClientConfig> {
        match audience {
            Audience::Registry => &self.registry,
            Audience::Executor => &self.executor,
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn server_config(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    roots: &RootCertStore,
) -> Result<ServerConfig, rustls::Error> {
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider())
        .build()
        .map_err(|why| rustls::Error::General(why.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(ServiceClients(clients)))
        .with_single_cert(chain.to_vec(), key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    audience: Audience,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    roots: &RootCertStore,
) -> Result<ClientConfig, rustls::Error> {
    let server = ServiceServer {
        expected: audience.as_str(),
        roots: roots.clone(),
        algorithms: provider().signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(server))
        .with_client_auth_cert(chain.to_vec(), key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The certificates in use, which may be replaced at any time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls(watch::Receiver<Arc<Certificates>>);

impl Tls {
    /// Follows what the other end of the channel sends.
    #[must_use]
    pub fn new(current: watch::Receiver<Arc<Certificates>>) -> Self {
        Self(current)
    }

    /// Whether other certificates came since this was cloned or last asked.
    pub(crate) fn take_change(&mut self) -> bool {
        let changed = self.0.has_changed().unwrap_or(false);
        if changed {
            self.0.mark_unchanged();
        }
        changed
    }

    /// Waits until other certificates come.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody replaces them any more.
            std::future::pending::<()>().await;
        }
    }

    /// Starts TLS as a client of the kind of service that is `audience`.
    pub(crate) async fn connect<S>(
        &self,
        audience: Audience,
        host: &str,
        stream: S,
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(self.0.borrow().of(audience));
        let host = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(host, stream).await?;
        Ok(TlsStream::Client(stream))
    }

    /// What accepts a connection now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.borrow().server))
    }
}

/// The service that a certificate names: by exactly one URI of ours.
pub(crate) fn service_of(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate
        .valid_uri_names()
        .filter_map(|uri| uri.strip_prefix(SERVICE));
    match (names.next(), names.next()) {
        (Some(name), None) if is_service_name(name) => Some(Arc::from(name)),
        _ => None,
    }
}
