//! What configuration decides about the registry.

use std::time::Duration;

use domain::validate::Policy;

/// Settings of a [`Registry`](crate::Registry); the defaults are those of contract section 5.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most tools of one tenant (`MCP_DYNAMIC_MAX_TOOLS`), 1-100,000.
    pub max_tools: u32,
    /// Revisions kept of one tool (`MCP_DYNAMIC_MAX_REVISIONS`), at least 1; oldest go first.
    pub max_revisions: u32,
    /// Names of deleted tools that are remembered, per tenant: a bound for the store and for a
    /// feed. Who follows from before a forgotten one gets everything again.
    pub max_deleted: u32,
    /// Refuses every write (`MCP_DYNAMIC_READ_ONLY`).
    pub read_only: bool,
    /// Images, packages and bounds that tools have to keep to.
    pub policy: Policy,
    /// Most API keys of one tenant that work.
    pub max_keys: u32,
    /// Most API keys of all tenants together that work: every gateway holds them all.
    pub max_keys_of_all: u32,
    /// API keys of one tenant that are kept after they have ended, for people; the oldest go first.
    pub max_ended_keys: u32,
    /// How often a watcher looks at the store although nothing was announced. It finds what other
    /// processes wrote, and sends `Synced`: at most five seconds.
    pub poll_interval: Duration,
    /// Records of audit logs that are kept to search in (`MCP_AUDIT_KEEP_ROWS`).
    pub audit_rows: u64,
    /// Bytes of the same (`MCP_AUDIT_KEEP_BYTES`).
    pub audit_bytes: u64,
    /// How long they are kept (`MCP_AUDIT_KEEP_DAYS`).
    pub audit_age: Duration,
    /// How long an executor stays in the fleet after its last heartbeat.
    pub lease: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_tools: 256,
            max_revisions: 100,
            max_deleted: 10_000,
            read_only: false,
            policy: Policy::default(),
            max_keys: 1_000,
            max_keys_of_all: 100_000,
            max_ended_keys: 1_000,
            poll_interval: Duration::from_secs(1),
            audit_rows: 1_000_000,
            audit_bytes: 1 << 30,
            audit_age: Duration::from_secs(90 * 24 * 3600),
            lease: Duration::from_secs(15),
        }
    }
}
