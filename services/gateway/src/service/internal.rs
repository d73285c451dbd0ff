//! How this gateway shows registry and executors who it is: its key and its certificate, both read
//! again when their files change.

use std::sync::Arc;

use auth::internal::{Audience, SharedKey, Signer, SigningKey};
use bootstrap::config::GatewayConfig;
use bootstrap::tls::{NamedFile, TextFile, follow_text, follow_tls};
use bootstrap::{App, StartError};
use domain::{Error, ErrorCode, Result};
use rpc::client::Link;
use rpc::{Certificates, Endpoint, Tls};
use telemetry::Metrics;

/// Makes links to the services behind the gateway.
#[derive(Debug, Clone)]
pub(crate) struct Internal {
    key: SharedKey,
    tls: Option<Tls>,
    insecure: bool,
    metrics: Arc<Metrics>,
}

impl Internal {
    /// Reads what the configuration names and follows it.
    pub(crate) fn start(
        config: &GatewayConfig,
        app: &App,
    ) -> std::result::Result<Self, StartError> {
        let signing = config.signing.key.as_ref();
        let signing = signing.ok_or("MCP_INTERNAL_SIGNING_KEY must be set")?;
        let key = SharedKey::new(SigningKey::from_pem(signing.value.expose())?);
        if let Some(path) = &signing.file {
            let file = TextFile {
                what: "signing_key",
                file: NamedFile::new("MCP_INTERNAL_SIGNING_KEY_FILE", path),
                private: true,
                in_use: signing.value.expose(),
            };
            let shared = key.clone();
            follow_text(file, app, move |pem| {
                let next = SigningKey::from_pem(pem).map_err(|why| why.to_string())?;
                shared.replace(next);
                Ok(())
            });
        }
        let tls = config.internal.tls_files().map(|files| {
            follow_tls(files, app, |made| {
                Certificates::new(&made.chain, &made.key, &made.roots)
            })
        });
        Ok(Self {
            key,
            tls: tls.transpose()?.map(Tls::new),
            insecure: config.internal.insecure,
            metrics: Arc::clone(&app.metrics),
        })
    }

    /// A link to the service at `address`, which `field` named.
    ///
    /// # Errors
    /// It is no address, or nothing would say who is there: an executor tells its own address, and
    /// nothing is sent in clear because it says so.
    pub(crate) fn link(&self, field: &str, address: &str, audience: Audience) -> Result<Link> {
        let endpoint = Endpoint::parse(field, address)?;
        if !self.insecure && !endpoint.is_tls() && !endpoint.is_local() {
            return Err(Error::new(
                ErrorCode::PolicyDenied,
                format!("{endpoint} is not on this machine and not https"),
            )
            .with_field(field)
            .with_fix(
                "let it speak TLS, or set MCP_INTERNAL_INSECURE=true on a network you trust",
            ));
        }
        let signer = Signer::new(self.key.clone(), audience);
        let link = Link::over_tls(&endpoint, signer, self.tls.clone())?;
        Ok(link.with_metrics(Arc::clone(&self.metrics)))
    }
}
