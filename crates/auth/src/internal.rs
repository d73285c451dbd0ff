//! The identity between our services.
//!
//! Every request carries one Ed25519 token in the header [`HEADER`]. It says on whose behalf the
//! request is made and holds for nothing but this request: it names the audience, the gRPC method
//! and the SHA-256 of the first request message, lives 60 seconds, and where a method has effects
//! it is accepted once. The sender builds its headers from nothing; the receiver learns the caller
//! from the token and from nowhere else. A key that is listed with an issuer signs within bounds:
//! for the audiences, scopes and tenants of its entry.

mod frame;
mod keys;
mod layer;
mod replay;
mod signer;
mod verifier;
mod verify_keys;

use std::sync::Arc;

use domain::{CallId, Principal};
use serde::{Deserialize, Serialize};

pub use self::frame::Replayed;
pub use self::keys::{KeyError, SigningKey};
pub use self::layer::{Access, IdentityLayer, IdentityService, Policy};
pub use self::signer::{SharedKey, Signer};
pub use self::verifier::{Identified, Verifier};
pub use self::verify_keys::{Grant, VerifyKeys, is_service_name};

/// The header that carries the token.
pub const HEADER: http::HeaderName = http::HeaderName::from_static("dynamic-mcp-identity");
/// How long a token lives, in seconds.
pub const LIFETIME_SECONDS: u64 = 60;
/// How far the clocks of two machines may be apart, in seconds.
pub const LEEWAY_SECONDS: u64 = 5;
/// Longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The kind of service that a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// The registry.
    Registry,
    /// An executor.
    Executor,
}

impl Audience {
    /// The value of the claim `aud`; also how errors name the service.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Audience::Registry => "registry",
            Audience::Executor => "executor",
        }
    }
}

/// What a token says. The names are those of the JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Id of the signing key, the same as `kid` in the header, or the issuer that the key is listed with.
    pub iss: String,
    /// `registry` or `executor`.
    pub aud: String,
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970; at most [`LIFETIME_SECONDS`] after `iat`.
    pub exp: u64,
    /// Id of this token: a UUID that is never used again.
    pub jti: String,
    /// The call that the request belongs to: a UUID.
    pub cid: String,
    /// The subject of the principal.
    pub sub: String,
    /// The tenant of the principal.
    pub tenant: String,
    /// The client program of the principal, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The scopes of the principal.
    pub scopes: Vec<String>,
    /// Path of the gRPC method, for example `/dynamic_mcp.v1.Runner/Run`.
    pub mth: String,
    /// SHA-256 of the protobuf bytes of the first request message, as base64url without padding.
    pub dig: String,
}

/// Who makes a request: what the layer puts into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The verified caller.
    pub principal: Arc<Principal>,
    /// The call that the request belongs to.
    pub call_id: CallId,
    /// The service that sent the request: the name in its certificate, else the issuer that its key is
    /// listed with. `None` for a plain key where no certificates are shown.
    pub service: Option<Arc<str>>,
}

/// `dig` of a message.
#[must_use]
pub fn digest(message: &[u8]) -> String {
    use sha2::Digest as _;
    encode_digest(&sha2::Sha256::digest(message).into())
}

fn encode_digest(digest: &[u8; 32]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}

#[cfg(test)]
mod tests;
