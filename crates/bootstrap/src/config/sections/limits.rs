//! Limits: how much of whom before it is refused.

use std::time::Duration;

use crate::config::key::{Key, Kind};
use crate::config::rate::{Rate, Rates};
use crate::config::section::section;
use crate::units::DurationUnit;

section! {
    /// The guard in front of every tool.
    pub struct GuardConfig for PUBLIC {
        /// Executions at once.
        pub max_concurrency: u32 =
            Key::kept("MCP_TOOL_MAX_CONCURRENCY", "security.toolMaxConcurrency")
            .kind(Kind::Integer(1, 10_000)).default("8");
        /// Calls of one tool within the window.
        pub max_calls: u32 =
            Key::kept("MCP_TOOL_MAX_CALLS_PER_WINDOW", "security.toolMaxCallsPerWindow")
            .kind(Kind::Integer(1, 1_000_000)).default("300");
        /// Length of the window.
        pub window: Duration = Key::kept("MCP_TOOL_RATE_WINDOW_MS", "security.toolRateWindowMs")
            .kind(Kind::Duration(DurationUnit::Milliseconds, 1, 86_400_000)).default("60000");
        /// Executions at once of one tenant.
        pub tenant_concurrency: Option<u32> =
            Key::added("MCP_TOOL_MAX_CONCURRENCY_PER_TENANT", "security.toolMaxConcurrencyPerTenant")
            .kind(Kind::Integer(1, 10_000)).default_note("MCP_TOOL_MAX_CONCURRENCY");
        /// Executions at once of one caller.
        pub caller_concurrency: Option<u32> =
            Key::added("MCP_TOOL_MAX_CONCURRENCY_PER_CALLER", "security.toolMaxConcurrencyPerCaller")
            .kind(Kind::Integer(1, 10_000)).default_note("MCP_TOOL_MAX_CONCURRENCY");
    }
}

section! {
    /// How often somebody may ask.
    pub struct LimitsConfig for PUBLIC {
        /// Requests to the MCP endpoint of all callers together; what has no valid credential does
        /// not count.
        pub global: Option<Rate> = Key::added("MCP_RATE_LIMIT_GLOBAL", "security.rateLimit.global")
            .kind(Kind::Rate).default_note("no limit");
        /// Requests of one caller, by the tier of its API key; without a name for callers of no tier
        /// and of tiers that are not named here.
        pub callers: Rates = Key::added("MCP_RATE_LIMIT_PER_API_KEY", "security.rateLimit.perApiKey")
            .kind(Kind::Rates).default_note("no limit");
        /// Guarded calls of one tenant, by its name; without a name for each of the others.
        pub tenants: Rates = Key::added("MCP_RATE_LIMIT_PER_TENANT", "security.rateLimit.perTenant")
            .kind(Kind::Rates).default_note("no limit");
        /// Calls of one tool by a tenant, by the tool's name, in place of
        /// MCP_TOOL_MAX_CALLS_PER_WINDOW; without a name for each of the others.
        pub tools: Rates = Key::added("MCP_RATE_LIMIT_PER_TOOL", "security.rateLimit.perTool")
            .kind(Kind::Rates).default_note("MCP_TOOL_MAX_CALLS_PER_WINDOW in MCP_TOOL_RATE_WINDOW_MS");
        /// Requests to the MCP endpoint from one address (of IPv6 its /64), before the credential is
        /// looked at.
        pub addresses: Option<Rate> =
            Key::added("MCP_RATE_LIMIT_PER_ADDRESS", "security.rateLimit.perAddress")
            .kind(Kind::Rate).default_note("no limit");
        /// Wrong credentials from one address within a minute; then its requests are refused before
        /// their credential is looked at. 0: no limit.
        pub max_auth_failures: u32 =
            Key::added("MCP_AUTH_MAX_FAILURES_PER_MINUTE", "auth.maxFailuresPerMinute")
            .kind(Kind::Integer(0, 1_000_000)).default("20");
        /// Requests to the MCP endpoint that are worked on at once, each until its answer begins.
        pub max_in_flight: usize = Key::added("MCP_HTTP_MAX_IN_FLIGHT", "http.maxInFlight")
            .kind(Kind::Integer(1, 100_000)).default("1024");
        /// Requests that wait, for 25 ms at most, while MCP_HTTP_MAX_IN_FLIGHT are worked on.
        pub max_queued: usize = Key::added("MCP_HTTP_MAX_QUEUED", "http.maxQueued")
            .kind(Kind::Integer(0, 100_000)).default("256");
        /// How late the process may be with its own work before it refuses a part of the requests to
        /// the MCP endpoint. 0: it never does.
        pub max_lag: Duration = Key::added("MCP_HTTP_MAX_LAG_MS", "http.maxLagMs")
            .kind(Kind::Duration(DurationUnit::Milliseconds, 0, 10_000)).default("5");
        /// Requests of one authenticated caller that are worked on at once.
        pub max_in_flight_per_caller: usize =
            Key::added("MCP_HTTP_MAX_IN_FLIGHT_PER_CALLER", "http.maxInFlightPerCaller")
            .kind(Kind::Integer(1, 100_000)).default("256");
    }
}
