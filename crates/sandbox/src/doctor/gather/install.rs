//! The settings of installs: whether the file holds certificates, whether the registries answer.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::doctor::InstallSources;
use crate::doctor::facts::{InstallFacts, RegistryFact};

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn install(sources: &InstallSources) -> InstallFacts {
    let extra_ca = match sources.extra_ca_certs.clone() {
        None => None,
        Some(path) => {
            let shown = path.display().to_string();
            let read = tokio::task::spawn_blocking(move || certificates(&path));
            let found = match timeout(PATIENCE, read).await {
                Ok(Ok(found)) => found,
                _ => Err("it cannot be read in time".to_owned()),
            };
            Some((shown, found))
        }
    };
    let mut registries = Vec::new();
    for (key, url) in [
        ("MCP_SANDBOX_NPM_REGISTRY", &sources.npm_registry),
        ("MCP_SANDBOX_PIP_INDEX", &sources.pip_index),
    ] {
        if let Some(url) = url {
            registries.push(registry(key, url).await);
        }
    }
    InstallFacts {
        extra_ca,
        registries,
    }
}

fn certificates(path: &Path) -> Result<usize, String> {
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    all.map(|all| all.len()).map_err(|error| error.to_string())
}

/// Never shows the URL: it may hold a credential.
async fn registry(key: &'static str, url: &str) -> RegistryFact {
    let place = place(url);
    let reached = match &place {
        Err(why) => Err(why.clone()),
        Ok((_, host, port)) => {
            let host = host.trim_matches(['[', ']']);
            match timeout(PATIENCE, TcpStream::connect((host, *port))).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("nothing after {PATIENCE:?}")),
            }
        }
    };
    RegistryFact {
        key,
        place,
        reached,
    }
}

fn place(url: &str) -> Result<(String, String, u16), String> {
    let url = Url::parse(url).map_err(|_| "it is not a URL".to_owned())?;
    let known = matches!(url.scheme(), "http" | "https");
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) if known => Ok((url.scheme().to_owned(), host.to_owned(), port)),
        _ => Err("it is not an http or https URL with a host".to_owned()),
    }
}
