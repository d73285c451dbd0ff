//! What is counted of one scope, of one tenant and of one caller.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bootstrap::config::Rate;
use domain::tool::RateLimit;
use domain::{Error, ErrorCode, TenantId};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::report::Counts;
use crate::limits::{Idle, Window};

/// What is called: a built-in, or a stored tool behind a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ScopeName<'a> {
    prefix: &'static str,
    name: &'a str,
}

impl<'a> ScopeName<'a> {
    /// A scope of its own name.
    pub(crate) fn whole(name: &'a str) -> Self {
        Self { prefix: "", name }
    }

    /// That of a stored tool.
    pub(crate) fn stored(name: &'a str) -> Self {
        Self {
            prefix: "dynamic.exec.",
            name,
        }
    }

    /// The name of the tool, as callers know it.
    pub(super) fn tool(self) -> &'a str {
        self.name
    }
}

impl std::fmt::Display for ScopeName<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}{}", self.prefix, self.name)
    }
}

/// One tool of one tenant.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) tenant: TenantId,
    prefix: &'static str,
    name: Box<str>,
    rate: Rate,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    window: Window,
    /// The tool's own window, while it has one.
    own: Option<Window>,
    pub(super) counts: Counts,
    /// Permits of this scope that are held.
    pub(super) held: u32,
}

/// A rate that has nothing left.
pub(super) struct Exceeded {
    pub(super) kind: &'static str,
    /// Whose rate it is; `None`: the scope's.
    whose: Option<&'static str>,
    rate: Rate,
    pub(super) wait: Duration,
}

impl Exceeded {
    pub(super) fn of_tenant(rate: Rate, wait: Duration) -> Self {
        Self {
            kind: "tenant_rate",
            whose: Some("this tenant"),
            rate,
            wait,
        }
    }

    fn of_scope(rate: Rate, wait: Duration) -> Self {
        Self {
            kind: "rate",
            whose: None,
            rate,
            wait,
        }
    }

    pub(super) fn error(self, scope: ScopeName<'_>) -> Error {
        let Rate {
            max_requests,
            window,
        } = self.rate;
        let window = window.as_millis();
        let message = match self.whose {
            None => {
                format!("Rate limit exceeded for {scope}: max {max_requests} calls per {window}ms.")
            }
            Some(whose) => {
                format!("Rate limit exceeded for {whose}: max {max_requests} calls per {window}ms.")
            }
        };
        Error::new(ErrorCode::RateLimited, message)
            .with_retry_after(self.wait)
            .with_fix("try again later")
    }
}

impl Scope {
    pub(super) fn new(tenant: TenantId, name: ScopeName<'_>, rate: Rate, now: Instant) -> Self {
        Self {
            tenant,
            prefix: name.prefix,
            name: name.name.into(),
            rate,
            state: Mutex::new(State {
                window: Window::new(rate.window, now),
                own: None,
                counts: Counts::default(),
                held: 0,
            }),
        }
    }

    pub(super) fn name(&self) -> ScopeName<'_> {
        ScopeName {
            prefix: self.prefix,
            name: &self.name,
        }
    }

    /// Whether another call fits into the scope's window and into the tool's own; if not, the one
    /// that takes longest.
    pub(super) fn check(
        &self,
        state: &mut State,
        own: Option<RateLimit>,
        now: Instant,
    ) -> Result<(), Exceeded> {
        let checked = state.window.check(self.rate.max_requests, now);
        let checked = checked.map_err(|wait| Exceeded::of_scope(self.rate, wait));
        let Some(own) = own else {
            state.own = None;
            return checked;
        };
        let own = Rate {
            max_requests: own.max_calls,
            window: Duration::from_millis(own.window_ms.into()),
        };
        // A window of another length starts anew: the tool's author has changed it.
        let kept = state.own.take().filter(|kept| kept.length() == own.window);
        let of_tool = state
            .own
            .insert(kept.unwrap_or_else(|| Window::new(own.window, now)))
            .check(own.max_requests, now);
        match (checked, of_tool) {
            (Err(exceeded), Err(wait)) if exceeded.wait < wait => {
                Err(Exceeded::of_scope(own, wait))
            }
            (Ok(()), Err(wait)) => Err(Exceeded::of_scope(own, wait)),
            (checked, _) => checked,
        }
    }
}

impl State {
    pub(super) fn admitted(&mut self) {
        self.window.count();
        if let Some(own) = &mut self.own {
            own.count();
        }
        self.counts.allowed += 1;
        self.held += 1;
    }
}

impl Idle for Scope {
    fn is_idle(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let own_idle = state.own.as_mut().is_none_or(|own| own.is_idle(now));
        state.held == 0 && own_idle && state.window.is_idle(now)
    }
}

/// All calls of one tenant.
#[derive(Debug, Default)]
pub(super) struct Tenant {
    window: Option<Window>,
    pub(super) held: u32,
}

impl Tenant {
    pub(super) fn new(window: Option<Window>) -> Self {
        Self { window, held: 0 }
    }

    pub(super) fn check(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        // The one that tenants share when there are too many has none yet, or another's.
        let kept = self
            .window
            .take()
            .filter(|kept| kept.length() == rate.window);
        self.window
            .insert(kept.unwrap_or_else(|| Window::new(rate.window, now)))
            .check(rate.max_requests, now)
    }

    pub(super) fn admitted(&mut self) {
        if let Some(window) = &mut self.window {
            window.count();
        }
        self.held += 1;
    }
}

impl Idle for Mutex<Tenant> {
    fn is_idle(&self, now: Instant) -> bool {
        let mut tenant = self.lock();
        tenant.held == 0 && tenant.window.as_mut().is_none_or(|one| one.is_idle(now))
    }
}

/// The calls of one caller that run.
#[derive(Debug, Default)]
pub(super) struct Held(AtomicU32);

impl Held {
    /// Takes a place.
    ///
    /// # Errors
    /// How many are taken.
    pub(super) fn take(&self, most: u32) -> Result<(), u32> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                (held < most).then_some(held + 1)
            })
            .map(drop)
    }

    pub(super) fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Idle for Held {
    fn is_idle(&self, _: Instant) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}
