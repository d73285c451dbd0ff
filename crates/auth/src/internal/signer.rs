//! The sender's half: one token for one request.

use std::sync::Arc;

use arc_swap::ArcSwap;
use domain::{CallContext, Error, Result};
use http::HeaderValue;
use jsonwebtoken::get_current_timestamp;

use super::{Audience, Claims, LIFETIME_SECONDS, SigningKey, digest};

/// The key of this service, shared by all its signers, so that all of them take a new one at once.
#[derive(Debug, Clone)]
pub struct SharedKey(Arc<ArcSwap<SigningKey>>);

impl SharedKey {
    /// Shares this key.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        Arc::new(key).into()
    }

    /// From here on requests are signed with this one.
    pub fn replace(&self, key: SigningKey) {
        self.0.store(Arc::new(key));
    }
}

impl From<Arc<SigningKey>> for SharedKey {
    fn from(key: Arc<SigningKey>) -> Self {
        Self(Arc::new(ArcSwap::new(key)))
    }
}

/// Signs the requests of this service to one kind of service.
#[derive(Debug, Clone)]
pub struct Signer {
    key: SharedKey,
    audience: Audience,
}

impl Signer {
    /// A signer for requests to `audience`.
    #[must_use]
    pub fn new(key: impl Into<SharedKey>, audience: Audience) -> Self {
        Self {
            key: key.into(),
            audience,
        }
    }

    /// The kind of service that the tokens are for.
    #[must_use]
    pub fn audience(&self) -> Audience {
        self.audience
    }

    /// The claims of a request: `message` is the protobuf bytes of its first message.
    #[must_use]
    pub fn claims(&self, context: &CallContext, method: &str, message: &[u8]) -> Claims {
        self.claims_of(&self.key.0.load(), context, method, message)
    }

    fn claims_of(
        &self,
        key: &SigningKey,
        context: &CallContext,
        method: &str,
        message: &[u8],
    ) -> Claims {
        let now = get_current_timestamp();
        let principal = &context.principal;
        Claims {
            iss: key.id(),
            aud: self.audience.as_str().to_owned(),
            iat: now,
            exp: now + LIFETIME_SECONDS,
            jti: uuid::Uuid::new_v4().to_string(),
            cid: context.call_id.to_string(),
            sub: principal.subject.clone(),
            tenant: principal.tenant.as_str().to_owned(),
            client_id: principal.client_id.clone(),
            scopes: principal.scopes.iter().cloned().collect(),
            mth: method.to_owned(),
            dig: digest(message),
        }
    }

    /// The value of the header [`super::HEADER`] for a request.
    ///
    /// # Errors
    /// `internal` when the key cannot sign.
    pub fn sign(&self, context: &CallContext, method: &str, message: &[u8]) -> Result<HeaderValue> {
        // One key for claims and signature, whatever comes in between.
        let key = self.key.0.load();
        let token = key.sign(&self.claims_of(&key, context, method, message))?;
        let mut value = HeaderValue::try_from(token).map_err(Error::internal)?;
        value.set_sensitive(true);
        Ok(value)
    }
}
