//! The port `Keys`: API keys, the credentials that the product gives out itself.
//!
//! A key is text of the form `dmcp_<prefix>_<secret>`. Whoever makes one keeps nothing but its public
//! prefix and the SHA-256 of the whole: 256 random bits need no salt and no stretching. So the secret
//! is known to whoever made the key and to whoever uses it, and is in no message and no store.

mod prefix;
mod record;

use std::collections::BTreeSet;
use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;
use jiff::Timestamp;

use crate::call::CallContext;
use crate::error::{Error, Result};
use crate::id::CatalogVersion;

pub use self::prefix::{KeyDigest, KeyPrefix};
pub use self::record::{ApiKeyRecord, KeyState};

/// Longest name of a key, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest subject of a key, in bytes.
pub const MAX_SUBJECT_BYTES: usize = 256;
/// Most that the scopes of a key have together, in bytes: a signed identity carries them all.
pub const MAX_SCOPES_BYTES: usize = 2 * 1024;
/// Longest overlap of a key that was rotated, in seconds: 30 days.
pub const MAX_OVERLAP_SECONDS: i64 = 30 * 24 * 3_600;
/// Most uses that are told of at once.
pub const MAX_USES: usize = 1_024;

/// A key that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its public part, made by whoever made the secret.
    pub prefix: KeyPrefix,
    /// SHA-256 of the whole key.
    pub digest: KeyDigest,
    /// What people call it: `^[A-Za-z0-9][A-Za-z0-9 ._:@/-]{0,63}$`. Need not be unique.
    pub name: String,
    /// As whom its holder acts; `None`: as `key:<prefix>`.
    pub subject: Option<String>,
    /// What it opens; at least one, at most 2 KiB together.
    pub scopes: BTreeSet<String>,
    /// The role that the scopes were taken from.
    pub role: Option<String>,
    /// The tier of limits that it belongs to: 1-64 of `A-Z a-z 0-9 . _ : -`.
    pub tier: Option<String>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// A key that takes the place of another: it has that one's name, tenant, subject, scopes and tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The new public part.
    pub prefix: KeyPrefix,
    /// SHA-256 of the whole new key.
    pub digest: KeyDigest,
    /// How long the old key still works, in seconds, 0 to [`MAX_OVERLAP_SECONDS`].
    pub overlap_seconds: i64,
    /// When the new key stops working; `None`: never.
    pub expires_at: Option<Timestamp>,
}

/// Both sides of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The key that ends with the overlap.
    pub old: ApiKeyRecord,
    /// The key that takes its place.
    pub new: ApiKeyRecord,
}

/// A key with what it is recognised by, for gateways and stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    /// What is known of it.
    pub record: ApiKeyRecord,
    /// SHA-256 of the whole key.
    pub digest: KeyDigest,
}

/// One step of the feed.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyChange {
    /// What follows are all keys: forget everything. Sent first when the feed cannot go on from the
    /// version that was asked for.
    Reset,
    /// A key was made, revoked or rotated; this is how it is now.
    Put(Box<KeptKey>),
    /// Everything up to this version has been sent. Repeated at least every five seconds, so that
    /// silence means that the feed is broken.
    Synced(CatalogVersion),
}

/// The feed; it ends only with an error or when the registry goes away.
pub type KeyStream = Pin<Box<dyn Stream<Item = Result<KeyChange>> + Send>>;

/// That a key was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// Which.
    pub prefix: KeyPrefix,
    /// When, in whole milliseconds. An older use than is known changes nothing.
    pub at: Timestamp,
}

/// Keeps API keys. `create`, `list`, `revoke` and `rotate` act within the tenant of the context's
/// principal and need `mcp:admin`; `watch` and `touch` are for services only.
///
/// Common errors: `unavailable` when the store cannot be reached (nothing was changed, or the message
/// says that the outcome is unknown), `permission_denied`.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Keeps a new key.
    ///
    /// # Errors
    /// `invalid_argument`, `already_exists` (another key has the prefix), `limit_exceeded`.
    async fn create(&self, context: &CallContext, key: NewKey) -> Result<ApiKeyRecord>;

    /// The tenant's keys, the newest first: those that work, and the last ones that do not any more.
    ///
    /// # Errors
    /// See the trait.
    async fn list(&self, context: &CallContext) -> Result<Vec<ApiKeyRecord>>;

    /// Ends a key. One that was revoked before stays as it is.
    ///
    /// # Errors
    /// `not_found`.
    async fn revoke(&self, context: &CallContext, prefix: &KeyPrefix) -> Result<ApiKeyRecord>;

    /// Makes a key that takes the place of another, which works on for the overlap.
    ///
    /// # Errors
    /// As `create`, and `not_found`; `policy_denied` for a key that does not work any more or was
    /// rotated before.
    async fn rotate(
        &self,
        context: &CallContext,
        prefix: &KeyPrefix,
        rotation: Rotation,
    ) -> Result<Rotated>;

    /// Follows all tenants' keys from just after `since` (zero: from the start). For services only.
    ///
    /// # Errors
    /// `permission_denied` for anyone but a service.
    async fn watch(&self, context: &CallContext, since: CatalogVersion) -> Result<KeyStream>;

    /// Notes that keys were used, at most [`MAX_USES`]. Keys that are not known are passed over. For
    /// services only.
    ///
    /// # Errors
    /// `permission_denied`, `invalid_argument`.
    async fn touch(&self, context: &CallContext, uses: Vec<KeyUse>) -> Result<()>;
}

impl NewKey {
    /// Checks everything that can be checked without a store. `now`: the moment of the creation.
    ///
    /// # Errors
    /// `invalid_argument` that names the field and the limit.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        check_name(&self.name)?;
        if let Some(subject) = &self.subject {
            check_subject(subject)?;
        }
        check_scopes(&self.scopes)?;
        if let Some(role) = &self.role {
            check_role(role)?;
        }
        if let Some(tier) = &self.tier {
            check_tier(tier)?;
        }
        check_expiry(self.expires_at, now)
    }
}

impl Rotation {
    /// As [`NewKey::check`].
    ///
    /// # Errors
    /// `invalid_argument` that names the field and the limit.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        if !(0..=MAX_OVERLAP_SECONDS).contains(&self.overlap_seconds) {
            return Err(Error::invalid("overlap", "is out of range")
                .with_limit(format!("0-{MAX_OVERLAP_SECONDS} seconds")));
        }
        check_expiry(self.expires_at, now)
    }
}

fn check_name(name: &str) -> Result<()> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b" ._:@/-".contains(&byte);
    let first = name.as_bytes().first();
    let fits = name.len() <= MAX_NAME_BYTES
        && first.is_some_and(u8::is_ascii_alphanumeric)
        && name.bytes().all(inner);
    if fits {
        return Ok(());
    }
    Err(Error::invalid("name", "is no name of a key")
        .with_limit("1-64 of A-Z a-z 0-9 space . _ : @ / -, a letter or digit first"))
}

/// A subject that was chosen. None of them can pass for a key.
fn check_subject(subject: &str) -> Result<()> {
    let fits = (1..=MAX_SUBJECT_BYTES).contains(&subject.len());
    if !fits || subject.chars().any(char::is_control) {
        return Err(Error::invalid("subject", "is no subject")
            .with_limit("1-256 bytes without control characters"));
    }
    if subject.starts_with(ApiKeyRecord::SUBJECT) {
        return Err(Error::invalid("subject", "begins like that of another key")
            .with_limit("not `key:...`")
            .with_fix("leave it out for the key's own"));
    }
    Ok(())
}

/// RFC 6749, section 3.3; the scope of our own services is given to nobody.
fn check_scopes(scopes: &BTreeSet<String>) -> Result<()> {
    let good = |b: u8| b == 0x21 || (0x23..=0x5b).contains(&b) || (0x5d..=0x7e).contains(&b);
    let invalid = |what: String| Err(Error::invalid("scopes", what));
    if scopes.is_empty() {
        return invalid("are none: such a key would open nothing".to_owned());
    }
    for scope in scopes {
        if scope.is_empty() || !scope.bytes().all(good) {
            return invalid(format!("hold {scope:?}, which is no scope"));
        }
        if scope == crate::principal::Scope::Internal.as_str() {
            return invalid(format!("hold {scope}, which only services have"));
        }
    }
    if scopes.iter().map(|scope| scope.len() + 3).sum::<usize>() > MAX_SCOPES_BYTES {
        return Err(Error::invalid("scopes", "are too many").with_limit("2 KiB together"));
    }
    Ok(())
}

fn check_role(role: &str) -> Result<()> {
    if (1..=128).contains(&role.len()) && role.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::invalid("role", "is no name of a role")
        .with_limit("1-128 printable ASCII characters without space"))
}

fn check_tier(tier: &str) -> Result<()> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if (1..=64).contains(&tier.len()) && tier.bytes().all(inner) {
        return Ok(());
    }
    Err(Error::invalid("tier", "is no name of a tier").with_limit("1-64 of A-Z a-z 0-9 . _ : -"))
}

fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<()> {
    if expires_at.is_some_and(|end| end <= now) {
        return Err(Error::invalid("expires_at", "is not in the future"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
