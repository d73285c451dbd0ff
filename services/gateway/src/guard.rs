//! Admission of calls: how many at once, and how many within a window, of a tool, of a tenant and of
//! a caller.

mod admin_guesses;
mod report;
mod scope;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bootstrap::config::Rate;
use domain::tool::RateLimit;
use domain::{Error, ErrorCode, Principal, TenantId};
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::time::Instant;

use self::scope::{Held, Scope, Tenant};
use crate::limits::{CallLimits, Notes, Shards, Window};
use crate::settings::GuardLimits;

pub(crate) use self::admin_guesses::AdminGuesses;
pub(crate) use self::scope::ScopeName;

/// Most scopes that are kept. Beyond it those without a call in their window are forgotten, and if
/// there is none, new scopes of all tenants share one.
const MAX_SCOPES: usize = 20_000;
/// The scope that others share when there are too many.
const OVERFLOW: &str = "other";
/// Most tenants, and most callers, that are told apart.
const MAX_TENANTS: usize = 16_384;
/// When to come back after a refusal for concurrency: about the time of a short call.
const RETRY_CONCURRENCY: Duration = Duration::from_millis(250);

/// Refuses calls beyond the limits and counts all of them.
#[derive(Debug)]
pub(crate) struct Guard {
    limits: GuardLimits,
    more: CallLimits,
    active: Arc<AtomicU32>,
    scopes: Shards<Scope>,
    tenants: Shards<Mutex<Tenant>>,
    callers: Shards<Held>,
    /// Which refusals become records of the audit log.
    pub(crate) notes: Notes,
    metrics: Arc<Metrics>,
}

/// The right to run, held while the call runs.
#[derive(Debug)]
pub(crate) struct Permit {
    active: Arc<AtomicU32>,
    scope: Arc<Scope>,
    tenant: Option<Arc<Mutex<Tenant>>>,
    caller: Option<Arc<Held>>,
}

impl Permit {
    /// Counts the call as failed.
    pub(crate) fn failed(&self) {
        self.scope.state.lock().counts.failed += 1;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
        self.scope.state.lock().held -= 1;
        if let Some(tenant) = &self.tenant {
            tenant.lock().held -= 1;
        }
        if let Some(caller) = &self.caller {
            caller.give_back();
        }
    }
}

/// A limit on calls at once that is reached.
struct Full {
    kind: &'static str,
    message: String,
}

impl Guard {
    pub(crate) fn new(limits: GuardLimits, more: CallLimits, metrics: Arc<Metrics>) -> Self {
        let now = Instant::now();
        let rate = Rate {
            max_requests: limits.max_calls_per_window,
            window: limits.window,
        };
        let shared = Scope::new(TenantId::default(), ScopeName::whole(OVERFLOW), rate, now);
        Self {
            limits,
            more,
            active: Arc::default(),
            scopes: Shards::new(MAX_SCOPES, shared),
            tenants: Shards::new(MAX_TENANTS, Mutex::default()),
            callers: Shards::new(MAX_TENANTS, Held::default()),
            notes: Notes::new(),
            metrics,
        }
    }

    /// Lets a call of `name` in, or says why not and when to come back. A refused call uses up
    /// nothing of any window.
    ///
    /// # Errors
    /// `rate_limited`, `overloaded`; both with the time after which a retry can succeed.
    pub(crate) fn admit(
        &self,
        principal: &Principal,
        name: ScopeName<'_>,
        own: Option<RateLimit>,
    ) -> Result<Permit, Error> {
        let now = Instant::now();
        let scope = self.scope(&principal.tenant, name, now);
        let tenant_rate = self.more.tenants.of(principal.tenant.as_str());
        let tenant = self.tenant(principal, tenant_rate, now);
        // Always in this order, so that no two calls wait for each other.
        let mut state = scope.state.lock();
        let mut of_tenant = tenant.as_ref().map(|tenant| tenant.lock());
        state.counts.total += 1;
        let mut refused = scope.check(&mut state, own, now).err();
        if let (Some(of_tenant), Some(rate)) = (&mut of_tenant, tenant_rate)
            && let Err(wait) = of_tenant.check(rate, now)
            && refused.as_ref().is_none_or(|refused| refused.wait < wait)
        {
            refused = Some(scope::Exceeded::of_tenant(rate, wait));
        }
        if let Some(refused) = refused {
            state.counts.rejected_rate += 1;
            self.count_rejection(refused.kind);
            return Err(refused.error(name));
        }
        let taken = self.take_places(principal, of_tenant.as_deref().map(|of| of.held), now);
        let caller = match taken {
            Ok(caller) => caller,
            Err(full) => {
                state.counts.rejected_concurrency += 1;
                self.count_rejection(full.kind);
                return Err(Error::new(ErrorCode::Overloaded, full.message)
                    .with_retry_after(RETRY_CONCURRENCY)
                    .with_fix("try again when other calls have ended"));
            }
        };
        state.admitted();
        if let Some(of_tenant) = &mut of_tenant {
            of_tenant.admitted();
        }
        drop((of_tenant, state));
        Ok(Permit {
            active: Arc::clone(&self.active),
            scope,
            tenant,
            caller,
        })
    }

    fn count_rejection(&self, kind: &'static str) {
        let rejections = &self.metrics.guard_rejections;
        rejections.with_label_values(&[kind]).inc();
    }

    /// Takes a place among the calls of the caller and of all, unless one of these or the tenant,
    /// which has so many already, has as many as it may.
    fn take_places(
        &self,
        principal: &Principal,
        of_tenant: Option<u32>,
        now: Instant,
    ) -> Result<Option<Arc<Held>>, Full> {
        if let (Some(held), Some(most)) = (of_tenant, self.more.tenant_concurrency)
            && held >= most
        {
            return Err(Full {
                kind: "tenant_concurrency",
                message: format!(
                    "Too many concurrent tool executions of this tenant ({held}/{most})."
                ),
            });
        }
        let caller = match self.more.caller_concurrency {
            None => None,
            Some(most) => {
                let key = self.callers.key((&principal.tenant, &principal.subject));
                let caller = self.callers.entry(key, now, Held::default);
                caller.take(most).map_err(|held| Full {
                    kind: "caller_concurrency",
                    message: format!(
                        "Too many concurrent tool executions of this caller ({held}/{most})."
                    ),
                })?;
                Some(caller)
            }
        };
        let most = self.limits.max_concurrency;
        let place = self
            .active
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |active| {
                (active < most).then_some(active + 1)
            });
        match place {
            Ok(_) => Ok(caller),
            Err(active) => {
                if let Some(caller) = caller {
                    caller.give_back();
                }
                Err(Full {
                    kind: "concurrency",
                    message: format!("Too many concurrent tool executions ({active}/{most})."),
                })
            }
        }
    }

    fn scope(&self, tenant: &TenantId, name: ScopeName<'_>, now: Instant) -> Arc<Scope> {
        let key = self.scopes.key((tenant, name));
        self.scopes.entry(key, now, || {
            let default = Rate {
                max_requests: self.limits.max_calls_per_window,
                window: self.limits.window,
            };
            let rate = self.more.tools.of(name.tool()).unwrap_or(default);
            Scope::new(tenant.clone(), name, rate, now)
        })
    }

    /// What is counted of a tenant, if anything is.
    fn tenant(
        &self,
        principal: &Principal,
        rate: Option<Rate>,
        now: Instant,
    ) -> Option<Arc<Mutex<Tenant>>> {
        if rate.is_none() && self.more.tenant_concurrency.is_none() {
            return None;
        }
        let key = self.tenants.key(&principal.tenant);
        let make = || Mutex::new(Tenant::new(rate.map(|rate| Window::new(rate.window, now))));
        Some(self.tenants.entry(key, now, make))
    }

    /// What is told apart now, by what it is.
    pub(crate) fn tracked(&self) -> [(&'static str, usize); 3] {
        [
            ("scope", self.scopes.len()),
            ("tenant", self.tenants.len()),
            ("guard_caller", self.callers.len()),
        ]
    }
}

#[cfg(test)]
mod tests;
