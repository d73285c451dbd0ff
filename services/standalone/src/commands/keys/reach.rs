//! Where the keys are: in the store of this configuration, opened beside whatever else uses it, or at a
//! registry that is asked over gRPC.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use auth::internal::{Audience, Signer, SigningKey};
use bootstrap::config::{ConfigError, Service, StandaloneConfig};
use bootstrap::tls::{NamedFile, TlsFiles};
use clap::Args;
use domain::keys::Keys;
use domain::{CallContext, Principal, RequestId, Scope, TenantId};
use registry::Registry;
use rpc::client::{KeysClient, Link};
use rpc::{Certificates, Endpoint, Tls};
use tokio::sync::watch;

use crate::compose::registry_parts;

/// Longest wait for an answer.
const WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Reach {
    /// Whose keys.
    #[arg(long, global = true, default_value = "default", value_parser = tenant)]
    pub(super) tenant: TenantId,
    /// Asks a registry instead of opening a store: https://host:port, http://127.0.0.1:port or
    /// unix:/path.
    #[arg(long, global = true, value_name = "URL", requires = "signing_key")]
    registry: Option<String>,
    /// The file of a service's signing key that the registry accepts.
    #[arg(long, global = true, value_name = "FILE", requires = "registry")]
    signing_key: Option<PathBuf>,
    /// The authority of the registry's certificate, PEM.
    #[arg(long, global = true, value_name = "FILE", requires_all = ["registry", "cert", "key"])]
    ca: Option<PathBuf>,
    /// The certificate of that service, PEM.
    #[arg(long, global = true, value_name = "FILE", requires_all = ["registry", "ca", "key"])]
    cert: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, global = true, value_name = "FILE", requires_all = ["registry", "ca", "cert"])]
    key: Option<PathBuf>,
    /// Asks a registry on another machine without TLS, on a network that you trust.
    #[arg(long, global = true, requires = "registry")]
    insecure: bool,
}

/// What answers.
pub(super) struct Reached {
    pub(super) keys: Arc<dyn Keys>,
    pub(super) context: CallContext,
    /// The store that was opened for it.
    registry: Option<Registry>,
}

impl Reached {
    pub(super) async fn close(&self) {
        if let Some(registry) = &self.registry {
            registry.close().await;
        }
    }
}

impl Reach {
    /// Whether a registry is asked.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.registry.is_some()
    }

    pub(super) async fn open(
        self,
        config: Result<StandaloneConfig, ConfigError>,
    ) -> Result<Reached, String> {
        let context = context(&self.tenant);
        if let Some(url) = &self.registry {
            let keys = Arc::new(KeysClient::new(self.link(url)?));
            return Ok(Reached {
                keys,
                context,
                registry: None,
            });
        }
        let config = config.map_err(|error| error.to_string())?;
        let parts = registry_parts(&config);
        let app = bootstrap::App::detached(Service::Standalone).map_err(|e| e.to_string())?;
        let metrics = Arc::clone(&app.metrics);
        let opening = registry::service::open_store(parts.catalog, parts.postgres, metrics);
        let (store, _) = opening.await.map_err(|error| error.to_string())?;
        let settings = registry::service::settings(parts);
        let registry = Registry::new(store, settings, app.metrics);
        Ok(Reached {
            keys: Arc::new(registry.clone()),
            context,
            registry: Some(registry),
        })
    }

    fn link(&self, url: &str) -> Result<Link, String> {
        let told = |error: domain::Error| error.to_string();
        let endpoint = Endpoint::parse("--registry", url).map_err(told)?;
        if !self.insecure && !endpoint.is_tls() && !endpoint.is_local() {
            return Err(format!(
                "{endpoint} is not on this machine and not https; use TLS, or --insecure on a network \
                 that you trust"
            ));
        }
        let path = self
            .signing_key
            .as_deref()
            .ok_or("--signing-key is needed")?;
        let pem = std::fs::read_to_string(path)
            .map_err(|error| format!("--signing-key {}: {error}", path.display()))?;
        let key = SigningKey::from_pem(&pem)
            .map_err(|error| format!("--signing-key {}: {error}", path.display()))?;
        let signer = Signer::new(Arc::new(key), Audience::Registry);
        let tls = match (&self.ca, &self.cert, &self.key) {
            (Some(ca), Some(cert), Some(key)) => Some(certificates(ca, cert, key)?),
            _ => None,
        };
        Link::over_tls(&endpoint, signer, tls).map_err(told)
    }
}

fn certificates(ca: &Path, cert: &Path, key: &Path) -> Result<Tls, String> {
    let files = TlsFiles {
        endpoint: "internal",
        certificate: NamedFile::new("--cert", cert),
        key: NamedFile::new("--key", key),
        authority: Some(NamedFile::new("--ca", ca)),
    };
    let made = files.read().map_err(|problem| problem.to_string())?;
    let certificates = Certificates::new(&made.chain, &made.key, &made.roots);
    let certificates = certificates.map_err(|error| format!("--cert: {error}"))?;
    Ok(Tls::new(
        watch::Sender::new(Arc::new(certificates)).subscribe(),
    ))
}

/// An administrator of the tenant: whoever may open the store, or sign for a service, is one.
fn context(tenant: &TenantId) -> CallContext {
    let principal = Principal {
        tenant: tenant.clone(),
        subject: "dynamic-mcp keys".to_owned(),
        client_id: None,
        scopes: BTreeSet::from([Scope::Admin.as_str().to_owned()]),
        tier: None,
    };
    CallContext::new(Arc::new(principal), RequestId::random(), WITHIN)
}

fn tenant(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|error| error.to_string())
}
