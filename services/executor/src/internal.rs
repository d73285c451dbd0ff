//! Whom this executor lets in, and how it shows the registry who it is: keys and certificates, read
//! again when their files change.

use std::sync::Arc;

use auth::internal::{Audience, SharedKey, Signer, SigningKey, Verifier, VerifyKeys};
use bootstrap::config::{InternalConfig, SigningConfig, VerifyConfig};
use bootstrap::tls::{NamedFile, TextFile, follow_text, follow_tls};
use bootstrap::{App, StartError};
use rpc::{Certificates, Tls};

/// What accepts the calls of gateways.
pub(crate) fn verifier(config: &VerifyConfig, app: &App) -> Result<Arc<Verifier>, StartError> {
    let keys = config.keys.as_ref();
    let keys = keys.ok_or("MCP_INTERNAL_VERIFY_KEYS must be set")?;
    let known = VerifyKeys::parse(&keys.value.0)?;
    let verifier = Arc::new(Verifier::new(known, Audience::Executor));
    if let Some(path) = &keys.file {
        let file = TextFile {
            what: "verify_keys",
            file: NamedFile::new("MCP_INTERNAL_VERIFY_KEYS_FILE", path),
            private: false,
            in_use: &keys.value.0,
        };
        let shared = Arc::clone(&verifier);
        follow_text(file, app, move |text| {
            let next = VerifyKeys::parse(text).map_err(|why| why.to_string())?;
            shared.replace_keys(next);
            Ok(())
        });
    }
    Ok(verifier)
}

/// What signs the calls to the registry; `None` without a key.
pub(crate) fn signer(config: &SigningConfig, app: &App) -> Result<Option<Signer>, StartError> {
    let Some(signing) = &config.key else {
        return Ok(None);
    };
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
    Ok(Some(Signer::new(key, Audience::Registry)))
}

/// The certificates of the channels, when there are any.
pub(crate) fn tls(config: &InternalConfig, app: &App) -> Result<Option<Tls>, StartError> {
    let followed = config.tls_files().map(|files| {
        follow_tls(files, app, |made| {
            Certificates::new(&made.chain, &made.key, &made.roots)
        })
    });
    Ok(followed.transpose()?.map(Tls::new))
}
