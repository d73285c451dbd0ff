//! Admission: how many guarded calls at once, and how many of each scope in a window.

mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::tool::RateLimit;
use domain::{Error, ErrorCode, TenantId};
use parking_lot::Mutex;
use serde::Serialize;
use telemetry::Metrics;
use tokio::time::Instant;

use self::window::Window;
use crate::settings::GuardLimits;

/// Most scopes that are kept. Beyond it those without a call in their window are forgotten, and if
/// there is none, new scopes of all tenants share one.
const MAX_SCOPES: usize = 20_000;
/// The scope that others share when there are too many.
const OVERFLOW: &str = "other";
/// How often idle scopes are looked for when there are too many.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// When to come back after a refusal for concurrency: about the time of a short call.
const RETRY_CONCURRENCY: Duration = Duration::from_millis(250);

/// Refuses calls beyond the limits and counts all of them.
#[derive(Debug)]
pub(crate) struct Guard {
    limits: GuardLimits,
    active: Arc<AtomicU32>,
    scopes: Mutex<Scopes>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Scopes {
    by_tenant: HashMap<TenantId, HashMap<String, Arc<Mutex<Scope>>>>,
    count: usize,
    /// When idle ones were last looked for, which takes a millisecond.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Scope {
    window: Window,
    /// The tool's own window, while it has one.
    own: Option<Window>,
    counts: Counts,
    /// Permits of this scope that are held.
    held: u32,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    total: u64,
    allowed: u64,
    rejected_rate: u64,
    rejected_concurrency: u64,
    failed: u64,
}

/// `system.guard_metrics`: the whole gateway's load, and the scopes of one tenant.
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

/// The right to run, held while the call runs.
#[derive(Debug)]
pub(crate) struct Permit {
    active: Arc<AtomicU32>,
    scope: Arc<Mutex<Scope>>,
}

impl Permit {
    /// Counts the call as failed.
    pub(crate) fn failed(&self) {
        self.scope.lock().counts.failed += 1;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
        self.scope.lock().held -= 1;
    }
}

impl Guard {
    pub(crate) fn new(limits: GuardLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            limits,
            active: Arc::default(),
            scopes: Mutex::default(),
            metrics,
        }
    }

    /// Lets a call of `scope` in, or says why not and when to come back. A refused call uses up
    /// nothing of the window.
    ///
    /// # Errors
    /// `rate_limited`, `overloaded`; both with the time after which a retry can succeed.
    pub(crate) fn admit(
        &self,
        tenant: &TenantId,
        scope: &str,
        own: Option<RateLimit>,
    ) -> Result<Permit, Error> {
        let now = Instant::now();
        let shared = self.scope(tenant, scope, now);
        let mut state = shared.lock();
        state.counts.total += 1;
        if let Err(refusal) = self.check_rate(&mut state, scope, own, now) {
            state.counts.rejected_rate += 1;
            self.metrics
                .guard_rejections
                .with_label_values(&["rate"])
                .inc();
            return Err(refusal);
        }
        if let Err(active) = self.take_place() {
            state.counts.rejected_concurrency += 1;
            self.metrics
                .guard_rejections
                .with_label_values(&["concurrency"])
                .inc();
            let max = self.limits.max_concurrency;
            let message = format!("Too many concurrent tool executions ({active}/{max}).");
            return Err(Error::new(ErrorCode::Overloaded, message)
                .with_retry_after(RETRY_CONCURRENCY)
                .with_fix("try again when other calls have ended"));
        }
        state.window.count();
        if let Some(window) = &mut state.own {
            window.count();
        }
        state.counts.allowed += 1;
        state.held += 1;
        drop(state);
        Ok(Permit {
            active: Arc::clone(&self.active),
            scope: shared,
        })
    }

    fn check_rate(
        &self,
        state: &mut Scope,
        scope: &str,
        own: Option<RateLimit>,
        now: Instant,
    ) -> Result<(), Error> {
        let GuardLimits {
            max_calls_per_window,
            window,
            ..
        } = self.limits;
        let exceeded = |max: u32, window: Duration, wait: Duration| {
            let message = format!(
                "Rate limit exceeded for {scope}: max {max} calls per {}ms.",
                window.as_millis()
            );
            Error::new(ErrorCode::RateLimited, message)
                .with_retry_after(wait)
                .with_fix("try again later")
        };
        state
            .window
            .check(max_calls_per_window, now)
            .map_err(|wait| exceeded(max_calls_per_window, window, wait))?;
        let Some(own) = own else {
            state.own = None;
            return Ok(());
        };
        let length = Duration::from_millis(own.window_ms.into());
        // A window of another length starts anew: the tool's author has changed it.
        let kept = state.own.take().filter(|kept| kept.length() == length);
        state
            .own
            .insert(kept.unwrap_or_else(|| Window::new(length, now)))
            .check(own.max_calls, now)
            .map_err(|wait| exceeded(own.max_calls, length, wait))
    }

    fn take_place(&self) -> Result<(), u32> {
        let max = self.limits.max_concurrency;
        self.active
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |active| {
                (active < max).then_some(active + 1)
            })
            .map(drop)
    }

    fn scope(&self, tenant: &TenantId, name: &str, now: Instant) -> Arc<Mutex<Scope>> {
        let mut scopes = self.scopes.lock();
        if let Some(known) = scopes.by_tenant.get(tenant).and_then(|of| of.get(name)) {
            return Arc::clone(known);
        }
        if scopes.count >= MAX_SCOPES {
            scopes.forget_idle(now);
        }
        let (tenant, name) = if scopes.count >= MAX_SCOPES {
            (&TenantId::default(), OVERFLOW)
        } else {
            (tenant, name)
        };
        let fresh = || Scope {
            window: Window::new(self.limits.window, now),
            own: None,
            counts: Counts::default(),
            held: 0,
        };
        let Scopes {
            by_tenant, count, ..
        } = &mut *scopes;
        let of_tenant = by_tenant.entry(tenant.clone()).or_default();
        let entry = of_tenant.entry(name.to_owned()).or_insert_with(|| {
            *count += 1;
            Arc::new(Mutex::new(fresh()))
        });
        Arc::clone(entry)
    }

    /// What `system.guard_metrics` shows to a caller of this tenant.
    pub(crate) fn report(&self, tenant: &TenantId) -> Report {
        let known: Vec<_> = {
            let scopes = self.scopes.lock();
            let of_tenant = scopes.by_tenant.get(tenant).into_iter().flatten();
            of_tenant
                .map(|(name, scope)| (name.clone(), Arc::clone(scope)))
                .collect()
        };
        let mut scopes: Vec<_> = known
            .into_iter()
            .map(|(scope, state)| ScopeReport {
                scope,
                counts: state.lock().counts,
            })
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

impl Scopes {
    /// Forgets scopes that would let the next call in just as a new one would.
    fn forget_idle(&mut self, now: Instant) {
        if self
            .swept
            .is_some_and(|at| now.duration_since(at) < SWEEP_EVERY)
        {
            return;
        }
        self.swept = Some(now);
        for of_tenant in self.by_tenant.values_mut() {
            of_tenant.retain(|_, scope| {
                let mut scope = scope.lock();
                let own_idle = scope.own.as_mut().is_none_or(|own| own.is_idle(now));
                scope.held > 0 || !own_idle || !scope.window.is_idle(now)
            });
        }
        self.by_tenant.retain(|_, of_tenant| !of_tenant.is_empty());
        self.count = self.by_tenant.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests;
