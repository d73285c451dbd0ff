//! Where the time of a call goes, and whether a sandbox was waiting for it: the two closed lists by
//! which engines count.

use std::time::Duration;

use domain::runner::EngineKind;
use telemetry::{Metrics, Trail};
use tokio::time::Instant;

/// A stage of a call, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Until the executor has a slot for it.
    Queue,
    /// Until it has a sandbox.
    Take,
    /// Until the sandbox has all of it.
    Write,
    /// Until the code starts.
    Load,
    /// Until the code has ended.
    Run,
    /// Until all that it said has been read.
    Read,
    /// From then until its sandbox is gone. Nobody waits for that.
    Teardown,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Queue,
        Self::Take,
        Self::Write,
        Self::Load,
        Self::Run,
        Self::Read,
        Self::Teardown,
    ];

    /// As the metric names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Take => "take",
            Self::Write => "write",
            Self::Load => "load",
            Self::Run => "run",
            Self::Read => "read",
            Self::Teardown => "teardown",
        }
    }

    /// As the trace names it.
    const fn span(self) -> &'static str {
        match self {
            Self::Queue => "sandbox.queue",
            Self::Take => "sandbox.take",
            Self::Write => "sandbox.write",
            Self::Load => "sandbox.load",
            Self::Run => "sandbox.run",
            Self::Read => "sandbox.read",
            Self::Teardown => "sandbox.teardown",
        }
    }

    /// Counts one call's time in it, and puts it into the call's trace.
    pub fn passed(
        self,
        (metrics, trail): (&Metrics, &Trail),
        engine: EngineKind,
        (from, to): (Instant, Instant),
    ) {
        self.observe(metrics, engine, to.saturating_duration_since(from));
        self.traced(trail, engine, (from, to));
    }

    /// Puts it into a trace. Operations of sessions have a metric of their own and no stages in it.
    pub fn traced(self, trail: &Trail, engine: EngineKind, (from, to): (Instant, Instant)) {
        trail.add(self.span(), &[("engine", engine.as_str())], from, to);
    }

    /// Counts one call's time in it.
    pub fn observe(self, metrics: &Metrics, engine: EngineKind, took: Duration) {
        metrics
            .sandbox_stage_duration
            .with_label_values(&[engine.as_str(), self.as_str()])
            .observe(took.as_secs_f64());
    }
}

/// Why no sandbox was waiting for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Miss {
    /// All that waited were taken, or are kept for other tenants.
    Empty,
    /// None of this kind is kept, or not yet.
    ColdKey,
    /// The one that waited had died.
    Died,
    /// It had become too old, or its image's name had moved.
    Stale,
    /// One was on its way.
    Booting,
}

impl Miss {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Empty,
        Self::ColdKey,
        Self::Died,
        Self::Stale,
        Self::Booting,
    ];

    /// As the metric names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::ColdKey => "cold_key",
            Self::Died => "died",
            Self::Stale => "stale",
            Self::Booting => "booting",
        }
    }
}

/// Counts what a call has found: a waiting sandbox, or none and why.
pub(crate) fn found(metrics: &Metrics, engine: EngineKind, miss: Option<Miss>) {
    match miss {
        None => metrics.pool_hits.with_label_values(&[engine.as_str()]),
        Some(miss) => metrics
            .pool_misses
            .with_label_values(&[engine.as_str(), miss.as_str()]),
    }
    .inc();
}
