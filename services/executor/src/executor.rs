//! The port `Runner` on an engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::call::CallContext;
use domain::error::{Error, ErrorCode, Result};
use domain::limits::{CODE_CHARS, RunLimits};
use domain::lockfile::Lockfile;
use domain::principal::{Action, authorize};
use domain::runner::{Call, EngineKind, Resolve, RunStream, Runner};
use sandbox::{Engine, EngineStatus, Job, Stage};
use telemetry::{Metrics, Trail};
use tokio::time::Instant;

use crate::sessions::{SessionSettings, Table};
use crate::slots::Slots;
use crate::stream;

/// Queue places for each slot when the settings name none.
const QUEUE_PER_SLOT: usize = 4;

/// How an executor is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name, as `Accepted` and the fleet show it.
    pub name: String,
    /// Calls that run at once.
    pub capacity: u32,
    /// Calls that may wait for that.
    pub queue: usize,
    /// The most that any call may use, whatever it asks for.
    pub ceiling: RunLimits,
    /// How sessions are bounded.
    pub sessions: SessionSettings,
}

impl Settings {
    /// Four slots for each core and four queue places for each slot.
    #[must_use]
    pub fn new(name: impl Into<String>, ceiling: RunLimits) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let capacity = u32::try_from(cores * 4).unwrap_or(u32::MAX);
        Self {
            name: name.into(),
            ceiling,
            ..Self::default()
        }
        .with_capacity(capacity)
    }

    /// So many calls at once, and the queue that goes with it.
    #[must_use]
    pub fn with_capacity(mut self, capacity: u32) -> Self {
        self.capacity = capacity.max(1);
        self.queue = usize::try_from(self.capacity)
            .unwrap_or(usize::MAX)
            .saturating_mul(QUEUE_PER_SLOT);
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "executor".to_owned(),
            capacity: 1,
            queue: QUEUE_PER_SLOT,
            ceiling: RunLimits {
                timeout: Duration::from_secs(120),
                memory_bytes: 512 << 20,
                cpu_millis: 1_000,
                max_output_bytes: 200_000,
            },
            sessions: SessionSettings::default(),
        }
    }
}

/// The state of an executor, for health.
#[derive(Debug, Clone)]
pub struct ExecutorStatus {
    /// Its name.
    pub name: String,
    /// Calls that run at once at most.
    pub capacity: u32,
    /// Calls that run now, those whose sandbox is being destroyed included.
    pub in_flight: u32,
    /// Calls that wait for a slot.
    pub waiting: usize,
    /// Sandbox sessions that are open.
    pub sessions: usize,
    /// Whether it takes no new calls.
    pub draining: bool,
    /// The engine's own state.
    pub engine: EngineStatus,
}

/// Runs calls. Cheap to clone; a clone is the same executor.
#[derive(Clone)]
pub struct Executor(Arc<Shared>);

struct Shared {
    engine: Arc<dyn Engine>,
    name: Arc<str>,
    ceiling: RunLimits,
    slots: Slots,
    sessions: Arc<Table>,
    draining: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Executor {
    /// An executor on this engine. To be made once for each process: it reports the state of the
    /// pool with every scrape.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, settings: Settings, metrics: Arc<Metrics>) -> Self {
        metrics.executor_capacity.set(i64::from(settings.capacity));
        let sessions = Table::new(
            &settings.name,
            Arc::clone(&engine),
            settings.ceiling,
            settings.sessions,
            Arc::clone(&metrics),
        );
        let shared = Arc::new(Shared {
            engine,
            sessions: Arc::new(sessions),
            name: Arc::from(settings.name),
            ceiling: settings.ceiling,
            slots: Slots::new(settings.capacity, settings.queue),
            draining: AtomicBool::new(false),
            metrics: Arc::clone(&metrics),
        });
        let seen = Arc::downgrade(&shared);
        metrics.on_scrape(move |instruments| {
            let Some(shared) = seen.upgrade() else { return };
            let status = shared.engine.status();
            let engine = [status.kind.as_str()];
            let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
            let gauge = instruments.pool_size.with_label_values(&engine);
            gauge.set(count(status.pool_idle));
            let gauge = instruments.pool_waiting.with_label_values(&engine);
            gauge.set(count(status.pool.waiting));
            let gauge = instruments.pool_memory.with_label_values(&engine);
            gauge.set(i64::try_from(status.pool.memory_bytes).unwrap_or(i64::MAX));
            instruments
                .executor_in_flight
                .set(i64::from(shared.slots.taken()));
        });
        Self(shared)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The engine that runs its calls.
    #[must_use]
    pub fn engine(&self) -> EngineKind {
        self.0.engine.kind()
    }

    /// Its state now.
    #[must_use]
    pub fn status(&self) -> ExecutorStatus {
        let Shared {
            engine,
            name,
            slots,
            sessions,
            draining,
            ..
        } = &*self.0;
        ExecutorStatus {
            name: name.to_string(),
            capacity: slots.capacity(),
            in_flight: slots.taken(),
            waiting: slots.waiting(),
            sessions: sessions.count(),
            draining: draining.load(Ordering::Relaxed),
            engine: engine.status(),
        }
    }

    /// Takes no new calls from now on. What runs or waits goes on.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.0.sessions.drain();
    }

    /// Waits until nothing runs any more, operations of sessions included. Bounded by the longest
    /// call; whoever calls it bounds it further.
    pub async fn drained(&self) {
        self.0.slots.all_free().await;
        self.0.sessions.quiet().await;
    }

    /// Destroys every sandbox, running ones and those of sessions included.
    pub async fn shutdown(&self) {
        self.drain();
        self.0.sessions.shutdown().await;
        self.0.engine.shutdown().await;
    }

    /// Ends sessions whose time has come, for ever: the process runs it as a task.
    pub async fn keep_sessions(self) {
        self.0.sessions.keep().await;
    }

    pub(crate) fn session_table(&self) -> &Arc<Table> {
        &self.0.sessions
    }
}

#[async_trait]
impl Runner for Executor {
    async fn run(&self, context: &CallContext, mut call: Call) -> Result<RunStream> {
        let begun = Instant::now();
        let Shared {
            engine,
            name,
            ceiling,
            slots,
            draining,
            metrics,
            ..
        } = &*self.0;
        // The scopes that a tool of its own requires are known to the gateway and the registry only.
        let action = match call.revision {
            Some(_) => Action::UseTool(const { &BTreeSet::new() }),
            None => Action::RunEphemeral,
        };
        authorize(&context.principal, action)?;
        check(&call)?;
        if draining.load(Ordering::Relaxed) {
            let message = "this executor is shutting down; nothing has run";
            return Err(Error::new(ErrorCode::Unavailable, message).with_fix("try again"));
        }
        engine.supports(&call)?;
        call.limits = call.limits.clamp_to(*ceiling);

        let slot = slots
            .take(&context.principal.tenant, context.budget)
            .await?;
        let admitted = Instant::now();
        let queued = admitted.saturating_duration_since(begun);
        metrics.queue_wait.observe(queued.as_secs_f64());
        Stage::Queue.passed((metrics, &Trail::here()), engine.kind(), (begun, admitted));
        let left = context.budget.saturating_sub(queued);
        let job = Job {
            deadline: Instant::now() + left,
            call,
            request_id: context.request_id.clone(),
            tenant: context.principal.tenant.clone(),
            slot: Some(Box::new(slot)),
        };
        let execution = engine.start(job).await?;
        let kind = engine.kind();
        let events = stream::events(Arc::clone(name), kind, queued, execution);
        Ok(Box::pin(events))
    }

    async fn resolve(&self, context: &CallContext, request: Resolve) -> Result<Lockfile> {
        // Whoever may call a tool that was taken over may be the first to need its packages.
        authorize(&context.principal, Action::RunEphemeral)?;
        if self.0.draining.load(Ordering::Relaxed) {
            let message = "this executor is shutting down; nothing was resolved";
            return Err(Error::new(ErrorCode::Unavailable, message).with_fix("try again"));
        }
        let deadline = Instant::now() + context.budget;
        self.0.engine.resolve(request, deadline).await
    }
}

/// What the gateway has checked and this process does not take its word for.
pub(crate) fn check(call: &Call) -> Result<()> {
    // Characters are at least a quarter of the bytes, so that most calls are not counted.
    if call.code.len() > CODE_CHARS && call.code.chars().count() > CODE_CHARS {
        return Err(
            Error::invalid("code", "is too long").with_limit(format!("1-{CODE_CHARS} characters"))
        );
    }
    if !call.args.get().trim_start().starts_with('{') {
        return Err(
            Error::new(ErrorCode::InvalidArgument, "must be a JSON object").with_field("args"),
        );
    }
    Ok(())
}
