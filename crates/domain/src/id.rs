//! Identifiers. Each is a type of its own so that one cannot be passed for another.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The tenant that owns a record. Every key, table and message carries one; `default` until
/// identities name another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

impl TenantId {
    /// Longest tenant name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Parses `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
    ///
    /// # Errors
    /// `invalid_argument` naming the field `tenant`.
    pub fn parse(text: &str) -> Result<Self> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let good = text.len() <= Self::MAX_BYTES
            && text
                .as_bytes()
                .first()
                .is_some_and(u8::is_ascii_alphanumeric)
            && text.bytes().all(inner);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid("tenant", "is not a tenant name")
                .with_limit("1-64 of A-Z a-z 0-9 . _ -, a letter or digit first"))
        }
    }

    /// The tenant as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl TryFrom<String> for TenantId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> Self {
        tenant.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The number of a tool's revision: 1 for the first, never used twice for a name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The catalogue's version: grows by one with every change of any tool of any tenant.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct CatalogVersion(pub u64);

/// SHA-256 of a tool's code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeDigest([u8; 32]);

impl CodeDigest {
    /// The digest of `code`.
    #[must_use]
    pub fn of(code: &str) -> Self {
        Self(Sha256::digest(code.as_bytes()).into())
    }

    /// Takes 32 bytes over.
    ///
    /// # Errors
    /// `invalid_argument` when there are not exactly 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| Error::invalid("code_digest", "is not 32 bytes of SHA-256"))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CodeDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex::encode(self.0))
    }
}

/// Names one execution everywhere: the internal token, the executor's replay guard, the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(uuid::Uuid);

impl CallId {
    /// A new random id (UUID v4: unguessable).
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// Parses the hyphenated form.
    ///
    /// # Errors
    /// `invalid_argument` naming the field `call_id`.
    pub fn parse(text: &str) -> Result<Self> {
        uuid::Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| Error::invalid("call_id", "is not a UUID"))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The id of an HTTP request: the client's own when it is 1-128 printable ASCII characters, else
/// made by the gateway. It is in every answer, log line and error of that request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// Longest id that is taken over from a client, in characters.
    pub const MAX_CHARS: usize = 128;

    /// Takes `text` over when it is 1-128 printable ASCII characters without space.
    #[must_use]
    pub fn accept(text: &str) -> Option<Self> {
        let good = (1..=Self::MAX_CHARS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        good.then(|| Self(text.to_owned()))
    }

    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
