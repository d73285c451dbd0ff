//! What the wiring hands to the gateway's core.

use std::sync::Arc;
use std::time::Duration;

use domain::limits::RunLimits;
use domain::validate::Policy;
use domain::{Catalog, Runner, Sessions};
use secrecy::SecretString;
use telemetry::Metrics;

use crate::audit::AuditLog;
use crate::cache::CacheSettings;
use crate::limits::CallLimits;
use crate::placement::Placement;

/// Which built-ins there are (contract section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Health, the management tools and one-off code.
    #[default]
    Mvp,
    /// All of it: operator tools, resources and the prompt as well.
    Enterprise,
}

/// Limits of the guard, as `MCP_TOOL_MAX_CONCURRENCY`, `MCP_TOOL_MAX_CALLS_PER_WINDOW` and
/// `MCP_TOOL_RATE_WINDOW_MS` set them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardLimits {
    /// Most guarded calls at once, all tenants together.
    pub max_concurrency: u32,
    /// Most calls of one scope of one tenant in a window.
    pub max_calls_per_window: u32,
    /// Length of the window.
    pub window: Duration,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            max_concurrency: 8,
            max_calls_per_window: 300,
            window: Duration::from_secs(60),
        }
    }
}

/// Settings of the core, all checked by whoever made them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Version of the release, as `system.health` shows it.
    pub version: &'static str,
    /// Which built-ins there are.
    pub profile: Profile,
    /// `MCP_ADMIN_TOKEN`; when set, every management tool needs it or the scope `mcp:admin`.
    pub admin_token: Option<SecretString>,
    /// Limits of the guard.
    pub guard: GuardLimits,
    /// More limits on guarded calls, by tool, tenant and caller.
    pub calls: CallLimits,
    /// The most that one call may use; a tool asks for less with its `timeoutMs`.
    pub run: RunLimits,
    /// Images and packages that one-off code may use; stored tools are checked by the registry.
    pub policy: Policy,
    /// The effective configuration without secrets: `system.runtime_config`.
    pub runtime_config: serde_json::Value,
    /// Most memory for tools' code, compressed, in bytes.
    pub code_cache_bytes: u64,
    /// The response cache.
    pub cache: CacheSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            profile: Profile::default(),
            admin_token: None,
            guard: GuardLimits::default(),
            calls: CallLimits::default(),
            run: RunLimits {
                timeout: Duration::from_millis(120_000),
                memory_bytes: 512 << 20,
                cpu_millis: 1_000,
                max_output_bytes: 200_000,
            },
            policy: Policy::default(),
            runtime_config: serde_json::Value::Object(serde_json::Map::new()),
            code_cache_bytes: 64 << 20,
            cache: CacheSettings::default(),
        }
    }
}

/// Everything a [`Gateway`](crate::Gateway) is made of.
pub struct Parts {
    /// Settings.
    pub settings: Settings,
    /// The registry, direct or over gRPC.
    pub catalog: Arc<dyn Catalog>,
    /// The executor, direct, or a [`Placement`] over several.
    pub runner: Arc<dyn Runner>,
    /// The same for sandbox sessions.
    pub sessions: Arc<dyn Sessions>,
    /// The same placement, for `/health`; `None` when the one executor is in this process.
    pub placement: Option<Arc<Placement>>,
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
    /// Where calls and changes are recorded.
    pub audit: AuditLog,
}
