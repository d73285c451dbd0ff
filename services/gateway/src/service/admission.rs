//! From the configuration to how callers over HTTP are known.

use std::sync::Arc;

use auth::ApiKey;
use auth::token::{KeySource, TokenSettings, TokenVerifier};
use bootstrap::config::{Admission, PublicConfig};
use bootstrap::{App, CheckReport, OnFailure, StartError};
use domain::principal::{Principal, Scope};
use serde_json::{Value, json};

use crate::http::{HttpAuth, TokenAuth, anonymous};

/// How callers over HTTP are known; with tokens also the task that keeps the issuer's keys fresh,
/// and the check `jwks`.
///
/// # Errors
/// A setting cannot be used, or an API key is needed: that is made by whoever has a store.
pub(super) fn of(
    public: &PublicConfig,
    key: Option<ApiKey>,
    app: &App,
) -> Result<HttpAuth, StartError> {
    match public.admission {
        Admission::Everyone => {
            let everybody = anonymous(public.access.token.is_some());
            Ok(HttpAuth::Anonymous(everybody))
        }
        Admission::Tokens => tokens(public, app).map(|tokens| HttpAuth::Tokens(Arc::new(tokens))),
        Admission::FirstKey => {
            let key = key.ok_or("an API key is needed here, and none was made")?;
            let mut principal = Principal::anonymous(Scope::OUTSIDE);
            principal.subject = format!("api-key:{}", key.prefix());
            let principal = Arc::new(principal);
            Ok(HttpAuth::Key { key, principal })
        }
    }
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
    Ok(TokenAuth::new(
        verifier,
        issuer,
        required,
        auth.resource.as_deref(),
    )?)
}

/// The part `auth` of the configuration, as clients of the Node server know it. `auto` has come to
/// an end: it says what it means here.
pub(super) fn as_clients_know_it(public: &PublicConfig, auth: &mut Value) {
    let tokens = public.admission == Admission::Tokens;
    auth["mode"] = json!(match public.admission {
        Admission::Everyone => "none",
        Admission::Tokens => "jwt",
        Admission::FirstKey => "apikey",
    });
    auth["jwtConfigured"] = json!(tokens);
    auth["requiredScopes"] = match tokens {
        true => json!(public.auth.required_scopes),
        false => json!([]),
    };
}
