//! The sender's half: one token for one request.

use std::sync::Arc;

use domain::{CallContext, Error, Result};
use http::HeaderValue;
use jsonwebtoken::get_current_timestamp;

use super::{Audience, Claims, LIFETIME_SECONDS, SigningKey, digest};

/// Signs the requests of this service to one kind of service.
#[derive(Debug, Clone)]
pub struct Signer {
    key: Arc<SigningKey>,
    audience: Audience,
}

impl Signer {
    /// A signer for requests to `audience`.
    #[must_use]
    pub fn new(key: Arc<SigningKey>, audience: Audience) -> Self {
        Self { key, audience }
    }

    /// The kind of service that the tokens are for.
    #[must_use]
    pub fn audience(&self) -> Audience {
        self.audience
    }

    /// The claims of a request: `message` is the protobuf bytes of its first message.
    #[must_use]
    pub fn claims(&self, context: &CallContext, method: &str, message: &[u8]) -> Claims {
        let now = get_current_timestamp();
        let principal = &context.principal;
        Claims {
            iss: self.key.id(),
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
        let token = self.key.sign(&self.claims(context, method, message))?;
        let mut value = HeaderValue::try_from(token).map_err(Error::internal)?;
        value.set_sensitive(true);
        Ok(value)
    }
}
