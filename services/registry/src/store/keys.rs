//! What the rules of API keys need of a database.

use async_trait::async_trait;
use domain::keys::{ApiKeyRecord, KeptKey, KeyDigest, KeyPrefix, KeyUse};
use domain::{CatalogVersion, Result, TenantId};
use jiff::Timestamp;

use super::Span;

/// What is known within the transaction of a change.
#[derive(Debug)]
pub struct KeysNow {
    /// The keys of the prefixes that were asked for, as far as they are there: also those of other
    /// tenants.
    pub found: Vec<KeptKey>,
    /// How many keys of the tenant work.
    pub own: u64,
    /// How many keys of all tenants work.
    pub everybodys: u64,
}

/// Which keys to add or to change, or why not.
pub type KeyDecision = dyn Fn(KeysNow) -> Result<Vec<KeptKey>> + Send + Sync;

/// A change of a tenant's keys.
#[derive(Clone, Copy)]
pub struct KeyWrite<'a> {
    /// Whose keys.
    pub tenant: &'a TenantId,
    /// The keys that the decision is about.
    pub prefixes: &'a [KeyPrefix],
    /// The moment of the change.
    pub now: Timestamp,
    /// How many keys of the tenant that do not work any more are kept.
    pub keep_ended: u32,
}

/// Keeps rows of API keys; see [`Store`](super::Store) for what its errors mean.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Decides and changes in one transaction that excludes every other write. `decide` may be asked
    /// more than once. The keys come back with their versions.
    ///
    /// # Errors
    /// Those of `decide`, and see the trait.
    async fn change_keys(&self, write: KeyWrite<'_>, decide: &KeyDecision) -> Result<Vec<KeptKey>>;

    /// A tenant's keys, the newest first.
    ///
    /// # Errors
    /// See the trait.
    async fn keys_of(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>>;

    /// Keys that have a version after `after`, in its order, at most `limit`.
    ///
    /// # Errors
    /// See the trait.
    async fn key_changes(&self, after: CatalogVersion, limit: u32) -> Result<Vec<KeptKey>>;

    /// First and newest version as far as keys go.
    ///
    /// # Errors
    /// See the trait.
    async fn key_span(&self) -> Result<Span>;

    /// Notes uses.
    ///
    /// # Errors
    /// See the trait.
    async fn touch_keys(&self, uses: &[KeyUse]) -> Result<()>;
}

type Reason = Box<dyn std::error::Error + Send + Sync>;

/// A row of the table, the same in every database.
#[derive(sqlx::FromRow)]
pub(super) struct KeyRow {
    prefix: String,
    tenant: String,
    name: String,
    subject: String,
    digest: Vec<u8>,
    scopes: String,
    role: Option<String>,
    tier: Option<String>,
    created_at: i64,
    created_by: String,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
    replaced_by: Option<String>,
    overlap_until: Option<i64>,
    version: i64,
}

impl KeyRow {
    /// The key. A row that cannot be read stops everything: a revocation could be in it.
    pub(super) fn into_key(self) -> Result<KeptKey> {
        let place = self.prefix.clone();
        self.read().map_err(|reason| {
            domain::Error::internal(format!("the API key {place} cannot be read: {reason}"))
        })
    }

    fn read(self) -> Result<KeptKey, Reason> {
        let moment = |millis: Option<i64>| millis.map(Timestamp::from_millisecond).transpose();
        Ok(KeptKey {
            record: ApiKeyRecord {
                prefix: KeyPrefix::parse(&self.prefix)?,
                tenant: TenantId::parse(&self.tenant)?,
                name: self.name,
                subject: self.subject,
                scopes: serde_json::from_str(&self.scopes)?,
                role: self.role,
                tier: self.tier,
                created_at: Timestamp::from_millisecond(self.created_at)?,
                created_by: self.created_by,
                expires_at: moment(self.expires_at)?,
                last_used_at: moment(self.last_used_at)?,
                revoked_at: moment(self.revoked_at)?,
                replaced_by: self
                    .replaced_by
                    .as_deref()
                    .map(KeyPrefix::parse)
                    .transpose()?,
                overlap_until: moment(self.overlap_until)?,
                version: CatalogVersion(self.version.try_into()?),
            },
            digest: KeyDigest::from_bytes(&self.digest)?,
        })
    }
}
