//! Access tokens of an outside issuer: a JWT becomes a [`Principal`], or a reason why not.
//!
//! The rules are those of RFC 8725 (best current practices) and RFC 9068 (access tokens): asymmetric
//! signatures only, with the keys of the one configured issuer, for the one configured audience.
//! What a token says of where its keys are is never looked at.

mod algorithm;
mod claims;
mod denied;
mod fetch;
mod issuer_keys;
mod jose;
mod key;
mod key_set;
mod seen;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::Principal;
use domain::principal::Roles;
use telemetry::Metrics;
use tokio::time::Instant;
use tracing::Instrument as _;

use self::claims::Expected;
use self::fetch::Source;
use self::issuer_keys::IssuerKeys;
use self::jose::Parts;
use self::key_set::KeySet;
use self::seen::Seen;

pub use self::denied::Denied;
pub use self::issuer_keys::KeyHealth;

/// Longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Where the keys of the issuer come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The URL of a JSON Web Key Set: `https`, or `http` on a loopback address.
    JwksUrl(String),
    /// One or more PEM blocks `PUBLIC KEY`.
    PublicKeys(String),
}

/// What tokens are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Where the keys come from.
    pub keys: KeySource,
    /// The exact value of `iss`.
    pub issuer: String,
    /// The value that `aud` must have or hold.
    pub audience: String,
    /// The claim that names the tenant; without one every token is of the tenant `default`.
    pub tenant_claim: Option<String>,
    /// The claim that names roles; a dot leads into an object. Without one tokens give none.
    pub role_claim: Option<String>,
    /// What roles give.
    pub roles: Roles,
}

/// Why the settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenSetupError {
    /// It is no URL.
    #[error("MCP_AUTH_JWKS_URL is not a URL with a host")]
    Url,
    /// Keys from an unprotected connection could be anybody's.
    #[error("MCP_AUTH_JWKS_URL must be https; http is for loopback addresses only")]
    NotHttps,
    /// The host is an address that is no issuer's.
    #[error("MCP_AUTH_JWKS_URL names a link-local address")]
    LinkLocal,
    /// There is nothing to check the issuer's certificate with.
    #[error(
        "the system has no certificates to trust; install the package ca-certificates or set \
         SSL_CERT_FILE"
    )]
    NoTrustRoots,
    /// The PEM text cannot be used.
    #[error("MCP_AUTH_PUBLIC_KEY {0}")]
    PublicKey(String),
}

/// A token that was accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// Until when the token is accepted, leeway included, in seconds since 1970.
    expires: f64,
}

impl Accepted {
    /// How long the token is still good.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        // An end that is further away than a year may as well be one.
        const LONGEST: f64 = 366.0 * 86_400.0;
        Duration::from_secs_f64((self.expires - now()).clamp(0.0, LONGEST))
    }
}

/// Checks tokens. One per process: it holds the issuer's keys and the tokens that were seen.
pub struct TokenVerifier {
    expected: Expected,
    keys: Arc<IssuerKeys>,
    seen: Seen,
    metrics: Arc<Metrics>,
}

impl TokenVerifier {
    /// A verifier. With a JWKS URL it knows no keys until [`TokenVerifier::keep_keys_fresh`] runs.
    ///
    /// # Errors
    /// What is wrong with the URL or the PEM text.
    pub fn new(settings: TokenSettings, metrics: Arc<Metrics>) -> Result<Self, TokenSetupError> {
        let keys = match &settings.keys {
            KeySource::JwksUrl(url) => IssuerKeys::remote(Source::new(url)?, Arc::clone(&metrics)),
            KeySource::PublicKeys(pem) => {
                let keys = KeySet::from_pem(pem)
                    .map_err(|error| TokenSetupError::PublicKey(error.to_string()))?;
                IssuerKeys::fixed(keys, Arc::clone(&metrics))
            }
        };
        let keys = Arc::new(keys);
        let watched = Arc::downgrade(&keys);
        metrics.on_scrape(move |metrics| {
            let Some(keys) = watched.upgrade() else {
                return;
            };
            let health = keys.health();
            let usable = i64::try_from(health.usable).unwrap_or(i64::MAX);
            metrics.jwks_keys.set(usable);
            if let Some(age) = health.age {
                metrics.jwks_age.set(age.as_secs_f64());
            }
        });
        Ok(Self {
            expected: Expected {
                issuer: settings.issuer,
                audience: settings.audience,
                tenant_claim: settings.tenant_claim,
                role_claim: settings.role_claim,
                roles: settings.roles,
            },
            keys,
            seen: Seen::new(),
            metrics,
        })
    }

    /// The task that fetches the issuer's keys, at once and then again and again; it has to run for
    /// the life of the process. `None` for keys from the configuration, which need none.
    #[must_use]
    pub fn keep_keys_fresh(
        &self,
    ) -> Option<impl Future<Output = Result<(), Infallible>> + Send + 'static> {
        let keys = Arc::clone(&self.keys);
        keys.is_remote().then_some(async move {
            keys.refresh().await;
            Ok(())
        })
    }

    /// What is known of the issuer's keys.
    #[must_use]
    pub fn key_health(&self) -> KeyHealth {
        self.keys.health()
    }

    /// Says whose token it is.
    ///
    /// Waits for nothing, unless the token names a key that is not known: then for a fetch of the
    /// issuer's keys, less than a second, and at most one a minute is made for such tokens.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub async fn verify(&self, token: &str) -> Result<Accepted, Denied> {
        let started = Instant::now();
        let fingerprint = Seen::fingerprint(token);
        let known = self.keys.now();
        let seen = known
            .as_ref()
            .and_then(|known| self.seen.get(&fingerprint, known.generation, now()));
        let (source, result) = match seen {
            Some(accepted) => ("cached", Ok(accepted)),
            None => {
                let span = tracing::debug_span!("verify token");
                let checked = self.check(token).instrument(span).await;
                if let Ok((accepted, generation)) = &checked {
                    self.seen.put(fingerprint, *generation, accepted.clone());
                }
                ("verified", checked.map(|(accepted, _)| accepted))
            }
        };
        self.metrics
            .auth_duration
            .with_label_values(&[source])
            .observe(started.elapsed().as_secs_f64());
        result
    }

    /// Checks a token that was not seen before; with it the generation of the keys.
    async fn check(&self, token: &str) -> Result<(Accepted, u64), Denied> {
        let parts = Parts::of(token)?;
        match self.check_signature(&parts) {
            Err(Denied::UnknownKey | Denied::KeysUnavailable) if self.keys.news().await => {
                self.check_signature(&parts)
            }
            checked => checked,
        }
        .and_then(|generation| Ok((self.expected.accept(&parts.claims, now())?, generation)))
    }

    fn check_signature(&self, parts: &Parts<'_>) -> Result<u64, Denied> {
        let known = self.keys.now().ok_or(Denied::KeysUnavailable)?;
        known
            .keys
            .verify(&parts.header, parts.message, &parts.signature)?;
        Ok(known.generation)
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TokenVerifier")
            .field("expected", &self.expected)
            .field("keys", &self.keys.health())
            .finish_non_exhaustive()
    }
}

/// Seconds since 1970 by the wall clock: tokens are dated by it.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests;
