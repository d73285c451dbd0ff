//! `system.guard_metrics`: what the guard has counted.

use std::sync::atomic::Ordering;

use domain::TenantId;
use serde::Serialize;

use super::Guard;

/// What became of the calls of one scope.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    pub(super) total: u64,
    pub(super) allowed: u64,
    pub(super) rejected_rate: u64,
    pub(super) rejected_concurrency: u64,
    pub(super) failed: u64,
}

/// The whole gateway's load, and the scopes of one tenant.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    active_executions: u32,
    limits: LimitsReport,
    scopes: Vec<ScopeReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LimitsReport {
    max_concurrency: u32,
    max_calls_per_window: u32,
    window_ms: u64,
}

#[derive(Debug, Serialize)]
struct ScopeReport {
    scope: String,
    #[serde(flatten)]
    counts: Counts,
}

impl Guard {
    /// What `system.guard_metrics` shows to a caller of this tenant.
    pub(crate) fn report(&self, tenant: &TenantId) -> Report {
        let mut scopes: Vec<_> = self
            .scopes
            .all()
            .into_iter()
            .filter(|scope| scope.tenant == *tenant)
            .map(|scope| ScopeReport {
                scope: scope.name().to_string(),
                counts: scope.state.lock().counts,
            })
            .filter(|report| report.counts.total > 0)
            .collect();
        scopes.sort_by(|a, b| a.scope.cmp(&b.scope));
        Report {
            active_executions: self.active.load(Ordering::Acquire),
            limits: LimitsReport {
                max_concurrency: self.limits.max_concurrency,
                max_calls_per_window: self.limits.max_calls_per_window,
                window_ms: u64::try_from(self.limits.window.as_millis()).unwrap_or(u64::MAX),
            },
            scopes,
        }
    }
}
