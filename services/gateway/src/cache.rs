//! The response cache: results of tools that ask for it, served again for a while.
//!
//! A result is found again by tenant, tool, revision and arguments, and by the caller unless the
//! tool says that a result of its tenant is everybody's (`cache.scope`). What is looked up has been
//! resolved, authorised, checked and admitted before, and is audited like any other call. Calls
//! that are under way are not joined: each has its own deadline, its own end and its own record,
//! and how many can run at once is the guard's to say.

mod answer;
mod key;
mod memory;
mod redis;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::tool::{CachePolicy, CacheScope, ToolRecord};
use domain::{Error, RawValue, Result};
use secrecy::SecretString;
use serde_json::{Value, json};
use telemetry::Metrics;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::answer::{Answer, META_CACHE};
use self::key::Key;
use self::memory::Memory;
use self::redis::Redis;
use crate::operations::{ToolCall, ToolResult};

/// Longest answer that is kept, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Settings of the cache.
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// Whether anything is cached (`MCP_CACHE_ENABLED`).
    pub enabled: bool,
    /// Longest time that any result is served again (`MCP_CACHE_TTL_SECONDS`).
    pub longest: Duration,
    /// Most memory, in bytes (`MCP_CACHE_MAX_SIZE`).
    pub max_bytes: u64,
    /// Times by tool, in place of the tools' own (`MCP_CACHE_TTL_PER_TOOL`); zero: not at all.
    pub tools: BTreeMap<String, Duration>,
    /// Where results are kept, if not in memory.
    pub redis: Option<RedisSettings>,
}

/// The Redis that gateways share.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://` or `rediss://` (`REDIS_URL`).
    pub url: SecretString,
    /// Certificates (PEM) that its certificate is checked against (`REDIS_TLS_CA`); those of the
    /// system when there are none.
    pub authorities: Option<PathBuf>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            longest: Duration::from_secs(3_600),
            max_bytes: 64 << 20,
            tools: BTreeMap::new(),
            redis: None,
        }
    }
}

/// Where one answer is, and how long it is good for there.
#[derive(Debug)]
pub(crate) struct Place {
    key: Key,
    ttl: Duration,
}

enum Kept {
    Nowhere,
    Memory(Memory),
    Redis(Arc<Redis>),
}

/// See the module.
pub(crate) struct ResponseCache {
    kept: Kept,
    longest: Duration,
    tools: BTreeMap<String, Duration>,
    metrics: Arc<Metrics>,
}

impl ResponseCache {
    /// A cache with nothing in it.
    ///
    /// # Errors
    /// `invalid_argument` that names what is wrong with the settings of Redis.
    pub(crate) fn new(settings: &CacheSettings, metrics: &Arc<Metrics>) -> Result<Self> {
        let kept = match (&settings.redis, settings.enabled) {
            (_, false) => Kept::Nowhere,
            (None, true) => Kept::Memory(Memory::new(settings.max_bytes)),
            (Some(redis), true) => Kept::Redis(Arc::new(Redis::new(redis, Arc::clone(metrics))?)),
        };
        Ok(Self {
            kept,
            longest: settings.longest,
            tools: settings.tools.clone(),
            metrics: Arc::clone(metrics),
        })
    }

    /// What keeps up the connection to Redis, until `stop`; `None` without one.
    pub(crate) fn keep_up(
        &self,
        stop: CancellationToken,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        match &self.kept {
            Kept::Redis(redis) => Some(Arc::clone(redis).keep_up(stop)),
            Kept::Memory(_) | Kept::Nowhere => None,
        }
    }

    /// Where the answer to this call is kept; `None` when none is.
    pub(crate) fn place(
        &self,
        record: &ToolRecord,
        args: &RawValue,
        call: &ToolCall,
    ) -> Option<Place> {
        let policy = record.spec.cache?;
        if matches!(self.kept, Kept::Nowhere) {
            return None;
        }
        let ttl = self.ttl(record.name.as_str(), policy);
        if ttl.is_zero() {
            return None;
        }
        let caller = match policy.scope {
            CacheScope::Caller => Some(call.context.principal.subject.as_str()),
            CacheScope::Tenant => None,
        };
        let Some(key) = Key::of(record, caller, args, call) else {
            self.count("uncacheable");
            return None;
        };
        Some(Place { key, ttl })
    }

    /// The configuration's time for this tool, else the tool's own, and never longer than any may be.
    fn ttl(&self, tool: &str, policy: CachePolicy) -> Duration {
        let own = || Duration::from_secs(policy.ttl_seconds.into());
        let wanted = self.tools.get(tool).copied().unwrap_or_else(own);
        wanted.min(self.longest)
    }

    /// The answer that is kept there, if there is one and it can be had at once.
    pub(crate) async fn get(&self, place: &Place, deadline: Instant) -> Option<ToolResult> {
        let found = match &self.kept {
            Kept::Nowhere => return None,
            Kept::Memory(memory) => Ok(memory.get(&place.key)),
            Kept::Redis(redis) => redis.get(&place.key, deadline).await,
        };
        let outcome = match found {
            Ok(None) => Err("miss"),
            Err(_) => Err("unavailable"),
            Ok(Some(bytes)) => match Answer::decode(&bytes) {
                // The clocks of two gateways may differ by more than an answer is good for.
                Ok(answer) if answer.age() > place.ttl => Err("miss"),
                Ok(answer) => Ok(answer),
                Err(error) => {
                    tracing::warn!(%error, "a cached answer cannot be read; the call runs");
                    Err("unreadable")
                }
            },
        };
        match outcome {
            Ok(answer) => {
                self.count("hit");
                let age = answer.age().as_secs();
                let mut result = answer.into_result();
                let said = json!({"hit": true, "ageSeconds": age});
                result.meta.insert(META_CACHE.to_owned(), said);
                Some(result)
            }
            Err(why) => {
                self.count(why);
                None
            }
        }
    }

    /// Keeps the answer of a call that has just been made.
    pub(crate) async fn put(&self, place: &Place, result: &ToolResult, deadline: Instant) {
        let outcome = match Answer::encode(result) {
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written for the cache");
                "failed"
            }
            Ok(bytes) if bytes.len() > MAX_ANSWER_BYTES => "too_large",
            Ok(bytes) => match &self.kept {
                Kept::Nowhere => return,
                Kept::Memory(memory) => {
                    memory.put(&place.key, bytes, place.ttl);
                    "stored"
                }
                Kept::Redis(redis) => match redis.put(&place.key, bytes, place.ttl, deadline).await
                {
                    Ok(()) => "stored",
                    Err(_) => "unavailable",
                },
            },
        };
        let stores = &self.metrics.response_cache_stores;
        stores.with_label_values(&[outcome]).inc();
    }

    /// Whether it can be used, and the facts for the health page.
    pub(crate) fn health(&self) -> (bool, Value) {
        match &self.kept {
            Kept::Nowhere => (true, json!({"backend": "off"})),
            Kept::Memory(memory) => {
                let (entries, bytes) = memory.extent();
                (
                    true,
                    json!({"backend": "memory", "entries": entries, "bytes": bytes}),
                )
            }
            Kept::Redis(redis) => {
                let connected = redis.is_up();
                // What somebody would expect of a Redis and does not get.
                let facts = json!({"backend": "redis", "connected": connected,
                    "rateLimits": "per gateway"});
                (connected, facts)
            }
        }
    }

    /// What it holds in memory: answers and bytes.
    pub(crate) fn extent(&self) -> (u64, u64) {
        match &self.kept {
            Kept::Memory(memory) => memory.extent(),
            Kept::Nowhere | Kept::Redis(_) => (0, 0),
        }
    }

    fn count(&self, outcome: &str) {
        let lookups = &self.metrics.response_cache_lookups;
        lookups.with_label_values(&[outcome]).inc();
    }
}

/// A setting of Redis that cannot be used. What the library says of it may repeat the URL.
fn unusable(field: &str, why: &str) -> Error {
    Error::invalid(field, why.to_owned())
}
