//! Who may do what, and how often.

use std::time::Duration;

use crate::config::choice::choice;
use crate::config::key::{Key, Kind};
use crate::config::section::section;
use crate::secret::Secret;
use crate::units::DurationUnit;

choice! {
    /// How callers prove who they are.
    pub enum AuthMode {
        /// What fits the address: nothing on loopback.
        Auto = "auto",
        /// Nobody is asked.
        None = "none",
    }
    later {
        "jwt" => "tokens come with a later one",
        "apikey" => "API keys come with a later one",
        "jwt+apikey" => "tokens and API keys come with a later one",
    }
}

section! {
    /// Authentication of callers.
    pub struct AuthConfig for PUBLIC {
        /// How callers prove who they are. `auto` asks nobody on a loopback address and refuses to
        /// start on any other.
        pub mode: AuthMode = Key::kept("MCP_AUTH_MODE", "auth.mode")
            .kind(Kind::Choice(AuthMode::CHOICES)).default("auto");
        /// Serves everyone who can reach an address that is not loopback, without authentication.
        pub allow_anonymous: bool = Key::added("MCP_AUTH_ALLOW_ANONYMOUS", "auth.allowAnonymous")
            .kind(Kind::Bool).default("false");
    }
}

section! {
    /// The admin token.
    pub struct AccessConfig for PUBLIC {
        /// Refuses to start without MCP_ADMIN_TOKEN.
        pub require_token: bool = Key::kept("MCP_REQUIRE_ADMIN_TOKEN", "dynamic.requireAdminToken")
            .kind(Kind::Bool).default("false");
        /// When set, every management tool needs it: in the header `x-mcp-admin-token` or as the
        /// argument `adminToken`.
        pub token: Option<Secret> = Key::kept("MCP_ADMIN_TOKEN", "dynamic.adminToken").secret();
    }
}

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
    }
}
