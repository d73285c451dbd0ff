//! Where the daemon is: Docker's own variables, read as Docker's own client reads them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::error::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::DockerSettings;

/// Where Docker listens when nobody says otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Docker's ports without and with TLS.
const PORTS: [u16; 2] = [2375, 2376];

/// A daemon's address with all that is needed to connect.
#[derive(Clone)]
pub(super) enum Address {
    /// A socket on this machine.
    Unix(PathBuf),
    /// Another machine (or this one), in the clear.
    Tcp { host: String, port: u16 },
    /// The same with TLS.
    Tls {
        host: String,
        port: u16,
        name: ServerName<'static>,
        connector: TlsConnector,
    },
}

impl Address {
    /// Reads the settings and, for TLS, the certificates.
    ///
    /// # Errors
    /// `invalid_argument` that names the variable, its value and the fix.
    pub(super) fn parse(settings: &DockerSettings) -> Result<Self> {
        let host = settings.host.as_deref().filter(|host| !host.is_empty());
        let Some(given) = host else {
            return Ok(Self::Unix(PathBuf::from(DEFAULT_SOCKET)));
        };
        let wrong = |what: &str| {
            Err(Error::invalid("DOCKER_HOST", format!("`{given}` {what}"))
                .with_limit("unix:///path, tcp://host:port, http://host:port, https://host:port"))
        };
        let Some((scheme, rest)) = given.split_once("://") else {
            return wrong("has no scheme");
        };
        let tls = match scheme {
            "unix" if Path::new(rest).is_absolute() => {
                return Ok(Self::Unix(PathBuf::from(rest)));
            }
            "unix" => return wrong("is not an absolute path"),
            "tcp" => settings.tls_verify,
            "http" if settings.tls_verify => {
                return wrong("is without TLS, and DOCKER_TLS_VERIFY asks for it");
            }
            "http" => false,
            "https" => true,
            "ssh" => {
                return wrong(
                    "goes over ssh, which is not spoken here: forward the socket \
                     (ssh -L) or use tcp:// with TLS",
                );
            }
            _ => return wrong("has a scheme that is not known"),
        };
        if !tls && settings.cert_path.is_some() {
            // Docker's libraries would take this for "encrypt, but trust anybody".
            return Err(Error::invalid(
                "DOCKER_CERT_PATH",
                "is set and DOCKER_TLS_VERIFY is not, so the daemon would not be verified",
            )
            .with_fix("set DOCKER_TLS_VERIFY=1, or unset DOCKER_CERT_PATH"));
        }
        let Ok(url) = url::Url::parse(&format!("http://{rest}")) else {
            return wrong("is not host:port");
        };
        let bare = matches!(url.path(), "" | "/") && url.query().is_none();
        let Some(host) = url.host_str().filter(|_| bare && url.username().is_empty()) else {
            return wrong("has more than host and port");
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let explicit = rest.trim_end_matches('/').ends_with(":80").then_some(80);
        let port = url.port().or(explicit).unwrap_or(PORTS[usize::from(tls)]);
        if !tls {
            return Ok(Self::Tcp { host, port });
        }
        let Ok(name) = ServerName::try_from(host.clone()) else {
            return wrong("has no host that a certificate could name");
        };
        let connector = TlsConnector::from(Arc::new(client_config(settings)?));
        Ok(Self::Tls {
            host,
            port,
            name,
            connector,
        })
    }

    /// The value of the Host header.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "docker".to_owned(),
            Self::Tcp { host, port } | Self::Tls { host, port, .. } if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix://{}", path.display()),
            Self::Tcp { .. } => write!(out, "tcp://{}", self.authority()),
            Self::Tls { .. } => write!(out, "tcp://{} with TLS", self.authority()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

/// `ca.pem` is the only authority that is trusted, as with Docker's own client: one that any public
/// authority could stand in for would be no protection. `cert.pem` and `key.pem` go together.
fn client_config(settings: &DockerSettings) -> Result<ClientConfig> {
    let Some(folder) = &settings.cert_path else {
        return Err(Error::invalid(
            "DOCKER_CERT_PATH",
            "is needed for TLS: the folder with ca.pem, cert.pem and key.pem",
        ));
    };
    let unusable = |file: &Path, why: String| {
        Error::invalid("DOCKER_CERT_PATH", format!("{}: {why}", file.display()))
            .with_fix("put ca.pem, cert.pem and key.pem (PEM) there, readable by this program")
    };
    let certificates = |file: &Path| -> Result<Vec<CertificateDer<'static>>> {
        let pem = fs::read(file).map_err(|error| unusable(file, error.to_string()))?;
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match all {
            Ok(all) if !all.is_empty() => Ok(all),
            Ok(_) => Err(unusable(file, "holds no certificate".to_owned())),
            Err(error) => Err(unusable(file, error.to_string())),
        }
    };
    let authority = folder.join("ca.pem");
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&authority)? {
        roots
            .add(certificate)
            .map_err(|error| unusable(&authority, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_root_certificates(roots);
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut config = if cert.exists() || key.exists() {
        let chain = certificates(&cert)?;
        let pem = fs::read(&key).map_err(|error| unusable(&key, error.to_string()))?;
        let secret = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|error| unusable(&key, error.to_string()))?;
        config
            .with_client_auth_cert(chain, secret)
            .map_err(|error| unusable(&key, error.to_string()))?
    } else {
        config.with_no_client_auth()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
