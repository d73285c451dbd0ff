//! The response cache, and the Redis that gateways share.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::config::ttls::Ttls;
use crate::secret::Secret;
use crate::units::{ByteSize, DurationUnit};

section! {
    /// Results of tools that say so in their field `cache`, served again for a while.
    pub struct CacheConfig for PUBLIC {
        /// Whether results of tools with a field `cache` are served again. Without, every call runs.
        pub enabled: bool = Key::added("MCP_CACHE_ENABLED", "caching.enabled")
            .kind(Kind::Bool).default("true");
        /// Longest time that any result is served again, whatever its tool says.
        pub ttl: Duration = Key::added("MCP_CACHE_TTL_SECONDS", "caching.ttl")
            .kind(Kind::Duration(DurationUnit::Seconds, 1, 86_400)).default("3600");
        /// Most memory for results. With REDIS_URL they are in Redis, whose own `maxmemory` bounds them.
        pub max_size: ByteSize = Key::added("MCP_CACHE_MAX_SIZE", "caching.maxSize")
            .kind(Kind::Size(65_536, 1 << 36)).default("64m");
        /// Seconds by the name of a tool that has a field `cache`, in place of its own; 0: its results
        /// are not cached. MCP_CACHE_TTL_SECONDS bounds these too.
        pub tools: Ttls = Key::added("MCP_CACHE_TTL_PER_TOOL", "caching.tools")
            .kind(Kind::Ttls).default_note("what each tool says");
    }
}

section! {
    /// The Redis that gateways share.
    pub struct RedisConfig for PUBLIC {
        /// `redis://user:password@host:6379/0`, or `rediss://` for TLS: keeps the response cache for all
        /// gateways together. Rate limits stay per gateway. While it does not answer, calls run as
        /// without a cache.
        pub url: Option<Secret> = Key::added("REDIS_URL", "redis.url").secret();
        /// Certificates (PEM) that its certificate is checked against with `rediss://`.
        pub tls_ca: Option<PathBuf> = Key::added("REDIS_TLS_CA", "redis.tlsCa")
            .kind(Kind::Path).default_note("those of the system");
    }
}
