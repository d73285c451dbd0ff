//! What makes this process ready, by name.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

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
    started: CancellationToken,
    draining: CancellationToken,
    checks: RwLock<Vec<Check>>,
}

/// Why the process does not want requests: empty when it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// `draining`, `starting`, or every required check that fails, with the reason.
    pub failing: Vec<(&'static str, String)>,
}

impl Readiness {
    /// Whether the process wants requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.failing.is_empty()
    }
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
        self.inner.started.cancel();
    }

    /// Completes when the start is complete. A server that waits for this before its first connection
    /// never answers `starting`: whoever saw its address printed finds what the checks say.
    pub async fn until_started(&self) {
        self.inner.started.cancelled().await;
    }

    /// The process is about to stop. [`run`](crate::run) calls this first of all.
    pub fn set_draining(&self) {
        self.inner.draining.cancel();
    }

    /// Cancelled when the process is about to stop: readiness is off, requests are still served.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.inner.draining.clone()
    }

    /// Ready, or everything that says no.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let only = |check, reason: &str| Readiness {
            failing: vec![(check, reason.to_owned())],
        };
        if self.inner.draining.is_cancelled() {
            return only("draining", "the process is stopping");
        }
        if !self.inner.started.is_cancelled() {
            return only("starting", "the start is not complete");
        }
        let checks = self.inner.checks.read();
        let required = checks.iter().filter(|check| check.required);
        let failing = required.filter_map(|check| Some((check.name, (check.run)().failure?)));
        Readiness {
            failing: failing.collect(),
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
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const READY: Readiness = Readiness {
        failing: Vec::new(),
    };

    fn not_ready(check: &'static str, reason: &str) -> Readiness {
        Readiness {
            failing: vec![(check, reason.to_owned())],
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
        assert_eq!(health.readiness(), READY);
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
        assert_eq!(health.readiness(), READY);
        up.store(false, Ordering::SeqCst);
        assert_eq!(
            health.readiness(),
            not_ready("registry", "no answer for 3 s")
        );
        let names: Vec<&str> = health.reports().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cache", "store", "registry"]);
        up.store(true, Ordering::SeqCst);
        assert_eq!(health.readiness(), READY, "it heals");
    }
}
