//! From the configuration to how callers over HTTP are known.

use std::sync::Arc;
use std::time::Duration;

use auth::token::{KeySource, TokenSettings, TokenVerifier};
use bootstrap::config::{Admission, PublicConfig};
use bootstrap::{App, CheckReport, OnFailure, StartError};
use domain::keys::Keys;
use serde_json::{Value, json};

use crate::http::{HttpAuth, TokenAuth, anonymous};
use crate::keys::KeyRing;

/// How long a start waits for the first keys. Without them it goes on, not ready until they come.
const FIRST_KEYS: Duration = Duration::from_secs(5);

/// How callers over HTTP are known; with tokens also the task that keeps the issuer's keys fresh,
/// and the check `jwks`; with API keys the task that follows the registry's, and the check `keys`.
///
/// # Errors
/// A setting cannot be used.
pub(super) fn of(
    public: &PublicConfig,
    keys: Arc<dyn Keys>,
    app: &App,
) -> Result<HttpAuth, StartError> {
    let admission = public.admission;
    if admission == Admission::Everyone {
        let everybody = anonymous(public.access.token.is_some());
        return Ok(HttpAuth::Anonymous(everybody));
    }
    let tokens = match admission.takes_tokens() {
        true => Some(Arc::new(tokens(public, app)?)),
        false => None,
    };
    let ring = match admission.takes_keys() {
        true => Some(ring(public, keys, app)),
        false => None,
    };
    match (tokens, ring) {
        (Some(tokens), Some(ring)) => Ok(HttpAuth::TokensAndKeys(tokens, ring)),
        (Some(tokens), None) => Ok(HttpAuth::Tokens(tokens)),
        (None, Some(ring)) => Ok(HttpAuth::Keys(ring)),
        (None, None) => Err("nothing says how callers are known".into()),
    }
}

/// Waits until the registry's API keys are known, but not for ever.
pub(super) async fn first_keys(auth: &HttpAuth) {
    if let Some(ring) = auth.ring()
        && !ring.synced(FIRST_KEYS).await
    {
        tracing::warn!("the registry has not sent its API keys yet: not ready until it does");
    }
}

fn ring(public: &PublicConfig, keys: Arc<dyn Keys>, app: &App) -> Arc<KeyRing> {
    let metrics = Arc::clone(&app.metrics);
    let ring = Arc::new(KeyRing::new(public.file_keys.clone(), metrics));
    let kept = Arc::clone(&ring);
    app.tasks.last("API keys", OnFailure::Essential, |closing| {
        kept.keep(keys, closing)
    });
    let watched = Arc::clone(&ring);
    app.health.require("keys", move || {
        let (count, age) = watched.extent();
        let report = match watched.has_synced() {
            true => CheckReport::up(),
            false => CheckReport::down("the registry has not sent its API keys yet".to_owned()),
        };
        report.with(json!({"keys": count, "ageSeconds": age.map(|age| age.as_secs())}))
    });
    ring
}

fn tokens(public: &PublicConfig, app: &App) -> Result<TokenAuth, StartError> {
    let auth = &public.auth;
    let keys = match (&auth.jwks_url, &auth.public_key) {
        (Some(url), _) => KeySource::JwksUrl(url.clone()),
        (None, Some(pem)) => KeySource::PublicKeys(pem.0.clone()),
        (None, None) => return Err("MCP_AUTH_JWKS_URL or MCP_AUTH_PUBLIC_KEY must be set".into()),
    };
    let issuer = auth.issuer.clone().ok_or("MCP_AUTH_ISSUER must be set")?;
    let audience = auth.audience.clone();
    let settings = TokenSettings {
        keys,
        issuer: issuer.clone(),
        audience: audience.ok_or("MCP_AUTH_AUDIENCE must be set")?,
        tenant_claim: auth.tenant_claim.clone(),
        role_claim: auth.role_claim.clone(),
        roles: auth.roles.clone(),
    };
    let verifier = Arc::new(TokenVerifier::new(settings, Arc::clone(&app.metrics))?);
    if let Some(fresh) = verifier.keep_keys_fresh() {
        app.tasks.spawn("issuer keys", OnFailure::Essential, fresh);
    }
    let watched = Arc::clone(&verifier);
    app.health.require("jwks", move || {
        let keys = watched.key_health();
        let age = keys.age.map(|age| age.as_secs());
        CheckReport {
            failure: keys.failure.map(str::to_owned),
            detail: json!({"keys": keys.usable, "ageSeconds": age}),
        }
    });
    let required = auth.required_scopes.clone();
    let auth = TokenAuth::new(verifier, issuer, required, auth.resource.as_deref())?;
    Ok(auth.over_https(public.http.tls_cert.is_some()))
}

/// The part `auth` of the configuration, as clients of the Node server know it. `auto` has come to
/// an end: it says what it means here.
pub(super) fn as_clients_know_it(public: &PublicConfig, auth: &mut Value) {
    let tokens = public.admission.takes_tokens();
    auth["mode"] = json!(match public.admission {
        Admission::Everyone => "none",
        Admission::Tokens => "jwt",
        Admission::TokensAndKeys => "jwt+apikey",
        Admission::Keys | Admission::FirstKey => "apikey",
    });
    auth["jwtConfigured"] = json!(tokens);
    auth["requiredScopes"] = match tokens {
        true => json!(public.auth.required_scopes),
        false => json!([]),
    };
}
