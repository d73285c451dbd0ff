//! Settings of the limits, checked by whoever made them.

use std::time::Duration;

use bootstrap::config::{LimitsConfig, Rate, Rates};

/// The window in which wrong credentials are counted.
const A_MINUTE: Duration = Duration::from_secs(60);

/// Limits on requests over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Wrong credentials from one address, before its requests are refused unseen.
    pub auth_failures: Option<Rate>,
    /// Requests from one address.
    pub addresses: Option<Rate>,
    /// Requests of all callers together.
    pub global: Option<Rate>,
    /// Requests of one caller, by the tier of its key.
    pub callers: Rates,
    /// Requests that are worked on at once; at least 1.
    pub max_in_flight: usize,
    /// Requests that wait for a place among them.
    pub max_queued: usize,
    /// How late the process may be before a part is refused; zero: however late.
    pub max_lag: Duration,
    /// Requests of one authenticated caller that are worked on at once; at least 1.
    pub max_in_flight_per_caller: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            auth_failures: failures(20),
            addresses: None,
            global: None,
            callers: Rates::default(),
            max_in_flight: 1_024,
            max_queued: 256,
            max_lag: Duration::from_millis(5),
            max_in_flight_per_caller: 256,
        }
    }
}

impl From<&LimitsConfig> for LimitSettings {
    fn from(config: &LimitsConfig) -> Self {
        Self {
            auth_failures: failures(config.max_auth_failures),
            addresses: config.addresses,
            global: config.global,
            callers: config.callers.clone(),
            max_in_flight: config.max_in_flight,
            max_queued: config.max_queued,
            max_lag: config.max_lag,
            max_in_flight_per_caller: config.max_in_flight_per_caller,
        }
    }
}

/// Limits on guarded calls besides those of [`GuardLimits`](crate::settings::GuardLimits).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLimits {
    /// Guarded calls of one tenant, by its name.
    pub tenants: Rates,
    /// Calls of one tool by one tenant, by the tool's name, in place of the guard's own rate.
    pub tools: Rates,
    /// Guarded calls of one tenant at once.
    pub tenant_concurrency: Option<u32>,
    /// Guarded calls of one caller at once.
    pub caller_concurrency: Option<u32>,
    /// Wrong admin tokens as arguments of one caller from one address, before it is refused unseen.
    pub admin_guesses: Option<Rate>,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            tenants: Rates::default(),
            tools: Rates::default(),
            tenant_concurrency: None,
            caller_concurrency: None,
            admin_guesses: failures(20),
        }
    }
}

impl CallLimits {
    /// From the configuration.
    #[must_use]
    pub fn new(guard: &bootstrap::config::GuardConfig, limits: &LimitsConfig) -> Self {
        Self {
            tenants: limits.tenants.clone(),
            tools: limits.tools.clone(),
            tenant_concurrency: guard.tenant_concurrency,
            caller_concurrency: guard.caller_concurrency,
            admin_guesses: failures(limits.max_auth_failures),
        }
    }
}

fn failures(most: u32) -> Option<Rate> {
    (most > 0).then_some(Rate {
        max_requests: most,
        window: A_MINUTE,
    })
}
