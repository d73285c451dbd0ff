//! What makes this process ready, by name.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use serde_json::{Value as Json, json};

/// What a check found. Both texts are shown without authentication: no addresses, no secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReport {
    /// Why it fails; `None` when it does not.
    pub failure: Option<String>,
    /// Facts for the health report, an object.
    pub detail: Json,
}

impl CheckReport {
    /// All is well.
    #[must_use]
    pub fn up() -> Self {
        Self {
            failure: None,
            detail: json!({}),
        }
    }

    /// It fails, and why.
    #[must_use]
    pub fn down(why: impl Into<String>) -> Self {
        Self {
            failure: Some(why.into()),
            detail: json!({}),
        }
    }

    /// Adds facts for the health report.
    #[must_use]
    pub fn with(mut self, detail: Json) -> Self {
        self.detail = detail;
        self
    }
}

type CheckFn = Box<dyn Fn() -> CheckReport + Send + Sync>;

struct Check {
    name: &'static str,
    required: bool,
    run: CheckFn,
}

/// The checks of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    started: AtomicBool,
    draining: AtomicBool,
    checks: RwLock<Vec<Check>>,
}

/// Whether the process wants requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It does not, for the first failing check.
    NotReady {
        /// `starting`, `draining` or the name of a required check.
        check: &'static str,
        /// Why.
        reason: String,
    },
}

impl Health {
    /// No checks yet, and not started.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A check that must pass for the process to be ready. It runs on each request: it reads state
    /// that a task keeps fresh and never waits.
    pub fn require(
        &self,
        name: &'static str,
        check: impl Fn() -> CheckReport + Send + Sync + 'static,
    ) {
        self.add(name, true, Box::new(check));
    }

    /// A check that is only reported.
    pub fn inform(
        &self,
        name: &'static str,
        check: impl Fn() -> CheckReport + Send + Sync + 'static,
    ) {
        self.add(name, false, Box::new(check));
    }

    fn add(&self, name: &'static str, required: bool, run: CheckFn) {
        self.inner.checks.write().push(Check {
            name,
            required,
            run,
        });
    }

    /// The start is complete. [`run`](crate::run) calls this.
    pub fn set_started(&self) {
        self.inner.started.store(true, Ordering::Release);
    }

    /// The process is about to stop. [`run`](crate::run) calls this first of all.
    pub fn set_draining(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Whether the process is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    /// Ready, or the first check that says no.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let not_ready = |check, reason| Readiness::NotReady { check, reason };
        if self.is_draining() {
            return not_ready("draining", String::from("the process is stopping"));
        }
        if !self.inner.started.load(Ordering::Acquire) {
            return not_ready("starting", String::from("the start is not complete"));
        }
        let checks = self.inner.checks.read();
        let failing = checks
            .iter()
            .filter(|check| check.required)
            .find_map(|check| Some((check.name, (check.run)().failure?)));
        match failing {
            Some((check, reason)) => not_ready(check, reason),
            None => Readiness::Ready,
        }
    }

    /// What every check says, in the order of registration, for the health report.
    #[must_use]
    pub fn reports(&self) -> Vec<(&'static str, CheckReport)> {
        self.inner
            .checks
            .read()
            .iter()
            .map(|check| (check.name, (check.run)()))
            .collect()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("readiness", &self.readiness())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_ready(check: &'static str, reason: &str) -> Readiness {
        Readiness::NotReady {
            check,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn a_process_is_ready_between_its_start_and_its_drain() {
        let health = Health::new();
        assert_eq!(
            health.readiness(),
            not_ready("starting", "the start is not complete")
        );
        health.set_started();
        assert_eq!(health.readiness(), Readiness::Ready);
        health.set_draining();
        assert_eq!(
            health.readiness(),
            not_ready("draining", "the process is stopping")
        );
    }

    #[test]
    fn the_failing_check_is_named_and_only_required_ones_count() {
        let health = Health::new();
        health.set_started();
        let up = Arc::new(AtomicBool::new(true));
        let state = Arc::clone(&up);
        health.inform("cache", || {
            CheckReport::down("cold").with(json!({"entries": 0}))
        });
        health.require("store", CheckReport::up);
        health.require("registry", move || {
            if state.load(Ordering::SeqCst) {
                CheckReport::up()
            } else {
                CheckReport::down("no answer for 3 s")
            }
        });
        assert_eq!(health.readiness(), Readiness::Ready);
        up.store(false, Ordering::SeqCst);
        assert_eq!(
            health.readiness(),
            not_ready("registry", "no answer for 3 s")
        );
        let names: Vec<&str> = health.reports().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cache", "store", "registry"]);
        up.store(true, Ordering::SeqCst);
        assert_eq!(health.readiness(), Readiness::Ready, "it heals");
    }
}
