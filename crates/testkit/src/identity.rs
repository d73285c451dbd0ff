//! An identity for a test: one key that signs and is accepted.

use std::sync::Arc;

use auth::internal::{Audience, Signer, SigningKey, Verifier, VerifyKeys};

/// One ephemeral key that signs and is accepted.
#[derive(Clone)]
pub struct Identity(Arc<SigningKey>);

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    /// A new key.
    ///
    /// # Panics
    /// When the system has no randomness.
    #[must_use]
    pub fn new() -> Self {
        match SigningKey::generate() {
            Ok(key) => Self(Arc::new(key)),
            Err(reason) => panic!("no key: {reason}"),
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Arc<SigningKey> {
        &self.0
    }

    /// Signs requests to `audience`.
    #[must_use]
    pub fn signer(&self, audience: Audience) -> Signer {
        Signer::new(Arc::clone(&self.0), audience)
    }

    /// Accepts this key at the service that is `audience`.
    #[must_use]
    pub fn verifier(&self, audience: Audience) -> Arc<Verifier> {
        Arc::new(Verifier::new(VerifyKeys::of(&self.0), audience))
    }
}
