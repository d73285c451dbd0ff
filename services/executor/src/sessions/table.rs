//! All sessions of an executor.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::call::CallContext;
use domain::dependency::Dependency;
use domain::error::{Error, ErrorCode, Result};
use domain::limits::RunLimits;
use domain::lockfile::Lockfile;
use domain::principal::Principal;
use domain::runner::{Call, Resolve, RunEvent, RunStream};
use domain::session::{self, Network, SessionId, SessionInfo, SessionSpec};
use domain::tool::Runtime;
use domain::validate;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use sandbox::{Engine, Job, OpenSession, Stage};
use telemetry::{Metrics, Trail};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::SessionSettings;
use super::entry::{Ended, Entry, Opened, Owner, Using};
use super::handle::{Handles, Number};
use super::operation::{Operation, Running, Timer, late, outcome_of};

/// How often sessions are looked for whose time has come.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long the sandbox of an ended session may take to go before nobody waits for it any more; the
/// engine's reaper sees to it then.
const TEARDOWN: Duration = Duration::from_secs(20);

/// The sessions of one life of an executor.
pub(crate) struct Table {
    name: Arc<str>,
    engine: Arc<dyn Engine>,
    ceiling: RunLimits,
    settings: SessionSettings,
    handles: Result<Handles>,
    open: Mutex<HashMap<Number, Arc<Entry>>>,
    /// One for each session there may be, given back when its sandbox is gone.
    places: Arc<Semaphore>,
    /// Operations that run.
    running: watch::Sender<usize>,
    draining: AtomicBool,
    /// Sandboxes of ended sessions on their way out.
    leaving: TaskTracker,
    metrics: Arc<Metrics>,
}

impl Table {
    pub(crate) fn new(
        name: &str,
        engine: Arc<dyn Engine>,
        ceiling: RunLimits,
        settings: SessionSettings,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            name: Arc::from(name),
            engine,
            ceiling,
            handles: Handles::new(name),
            open: Mutex::default(),
            places: Arc::new(Semaphore::new(settings.max_sessions)),
            settings,
            running: watch::Sender::new(0),
            draining: AtomicBool::new(false),
            leaving: TaskTracker::new(),
            metrics,
        }
    }

    /// The most that anything in a session may use.
    pub(super) fn ceiling(&self) -> RunLimits {
        self.ceiling
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// Makes a session. Its place is taken before anything is done, so that any number of callers at
    /// once makes as many as there may be and no more.
    pub(super) async fn open(
        self: &Arc<Self>,
        context: &CallContext,
        spec: SessionSpec,
    ) -> Result<SessionInfo> {
        let deadline = Instant::now() + context.budget;
        if self.draining.load(Ordering::Relaxed) {
            let message = "this executor is shutting down; no session was made";
            return Err(Error::new(ErrorCode::Unavailable, message).with_fix("try again"));
        }
        let network = spec.network.unwrap_or_default();
        if network == Network::Bridge && self.settings.network == Network::None {
            let message = "sessions with a network are not allowed here";
            return Err(Error::new(ErrorCode::PolicyDenied, message)
                .with_field("/network")
                .with_limit("none")
                .with_fix("leave it out, or have MCP_SANDBOX_SESSION_NETWORK set to bridge"));
        }
        self.sweep();
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| self.full())?;
        let _running = Running::one_more(&self.running);
        let policy = &self.settings.policy;
        let runtime = spec.runtime.unwrap_or_default();
        let image = match spec.image {
            Some(image) => image,
            None => policy.image_for(runtime).to_owned(),
        };
        validate::image_allowed("/image", &image, policy)?;
        validate::dependencies_allowed("/dependencies", &spec.dependencies, runtime, policy)?;
        let lifetime = self.settings.lifetime;
        let opening = async {
            let lock = self
                .resolve(spec.runtime, &image, spec.dependencies, deadline)
                .await?;
            let wanted = OpenSession {
                tenant: context.principal.tenant.clone(),
                image: image.clone(),
                network,
                env: spec.env,
                lock,
                memory_bytes: self.ceiling.memory_bytes,
                cpu_millis: self.ceiling.cpu_millis,
                lifetime,
                deadline,
                slot: Some(Box::new(place)),
            };
            self.engine.open_session(wanted).await
        };
        let sandbox = timeout_at(deadline, opening)
            .await
            .unwrap_or_else(|_| Err(late("make the session")))?;
        let (number, id) = self.handles()?.make(&context.principal)?;
        let entry = Arc::new(Entry::new(Opened {
            number,
            id,
            owner: Owner::of(&context.principal),
            image,
            idle: spec
                .idle
                .unwrap_or(self.settings.idle)
                .min(self.settings.idle)
                .min(lifetime),
            sandbox,
            dies_at: Instant::now() + lifetime,
        }));
        let info = entry.info();
        self.open.lock().insert(number, Arc::clone(&entry));
        self.metrics.sessions_active.inc();
        // A drain that began meanwhile has not seen it.
        if self.draining.load(Ordering::Relaxed) {
            self.end(&entry, Ended::Shutdown);
            return Err(Ended::Shutdown.interrupts());
        }
        Ok(info)
    }

    /// Begins an operation of a session, for its owner: until it ends the session is in use.
    ///
    /// # Errors
    /// `not_found`.
    pub(super) fn begin(
        self: &Arc<Self>,
        context: &CallContext,
        id: &SessionId,
        operation: &'static str,
    ) -> Result<(Operation, Arc<Entry>)> {
        let mut timer = Timer::start(&self.metrics, operation);
        let using = self.enter(context, id).inspect_err(|error| {
            timer.outcome = error.code().as_str();
        })?;
        let entry = Arc::clone(using.entry());
        let operation = Operation {
            table: Arc::clone(self),
            deadline: Instant::now() + context.budget,
            timer,
            using,
            _running: Running::one_more(&self.running),
        };
        Ok((operation, entry))
    }

    /// Runs code in a session. The session is in use until the stream ends or is dropped.
    pub(super) async fn run(
        self: &Arc<Self>,
        context: &CallContext,
        id: &SessionId,
        mut call: Call,
    ) -> Result<RunStream> {
        let (mut operation, entry) = self.begin(context, id, "run")?;
        let deadline = operation.deadline;
        call.limits = call.limits.clamp_to(self.ceiling);
        call.image.clone_from(&entry.image);
        let begun = operation.within(async {
            if call.lock.is_none() {
                let runtime = Some(call.runtime);
                let wanted = call.dependencies.clone();
                call.lock = self.resolve(runtime, &call.image, wanted, deadline).await?;
            }
            let job = Job {
                call,
                tenant: context.principal.tenant.clone(),
                request_id: context.request_id.clone(),
                deadline,
                slot: None,
            };
            entry.sandbox.run(job).await
        });
        let execution = match begun.await {
            Ok(execution) => execution,
            Err(error) => {
                operation.timer.outcome = error.code().as_str();
                return Err(error);
            }
        };
        let accepted = RunEvent::Accepted {
            executor: self.name.to_string(),
            engine: self.engine.kind(),
        };
        let rest = execution.map(move |event| {
            let operation = &mut operation;
            if let RunEvent::Finished(outcome) = &event {
                let failure = outcome.result.as_ref().err();
                operation.timer.outcome = failure.map_or("ok", |failure| failure.code.as_str());
                operation.table.bury(operation.using.entry());
            }
            event
        });
        Ok(Box::pin(stream::iter([accepted]).chain(rest)))
    }

    /// What dependencies come to; nothing where there are none.
    async fn resolve(
        &self,
        runtime: Option<Runtime>,
        image: &str,
        dependencies: Vec<Dependency>,
        deadline: Instant,
    ) -> Result<Option<Lockfile>> {
        if dependencies.is_empty() {
            return Ok(None);
        }
        let request = Resolve {
            runtime: runtime.unwrap_or_default(),
            image: image.to_owned(),
            dependencies,
        };
        self.engine.resolve(request, deadline).await.map(Some)
    }

    /// Ends a session and waits until its sandbox is gone. One of the caller's that has ended before
    /// is fine: what was asked for is so.
    pub(super) async fn stop(
        self: &Arc<Self>,
        context: &CallContext,
        id: &SessionId,
    ) -> Result<()> {
        let number = self.handles()?.check(id, &context.principal)?;
        let entry = self.open.lock().get(&number).cloned();
        let Some(entry) = entry else { return Ok(()) };
        let asked = Instant::now();
        self.end(&entry, Ended::Stopped);
        let gone = timeout(context.budget, entry.gone.cancelled()).await;
        let times = (asked, Instant::now());
        Stage::Teardown.traced(&Trail::here(), self.engine.kind(), times);
        gone.map_err(|_| late("remove the sandbox; it goes by itself"))
    }

    /// The sessions of a caller, oldest first.
    pub(super) fn of(self: &Arc<Self>, caller: &Principal) -> Vec<SessionInfo> {
        self.sweep();
        let owner = Owner::of(caller);
        let mut own: Vec<SessionInfo> = self
            .open
            .lock()
            .values()
            .filter(|entry| entry.owner == owner)
            .map(|entry| entry.info())
            .collect();
        own.sort_by(|one, other| {
            let key = |info: &SessionInfo| (info.created_at, info.id.as_str().to_owned());
            key(one).cmp(&key(other))
        });
        own
    }

    /// Ends sessions whose time has come, for ever.
    pub(crate) async fn keep(self: &Arc<Self>) {
        let mut tick = interval(SWEEP_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.sweep();
        }
    }

    /// Makes no new sessions from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Waits until no operation runs.
    pub(crate) async fn quiet(&self) {
        // The sender lives as long as this value.
        drop(
            self.running
                .subscribe()
                .wait_for(|running| *running == 0)
                .await,
        );
    }

    /// Ends every session and waits for their sandboxes to go.
    pub(crate) async fn shutdown(self: &Arc<Self>) {
        self.drain();
        let all: Vec<_> = self.open.lock().values().cloned().collect();
        for entry in &all {
            self.end(entry, Ended::Shutdown);
        }
        self.leaving.close();
        self.leaving.wait().await;
    }

    /// Counts and times an operation, also one that is given up.
    pub(super) async fn measured<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut timer = Timer::start(&self.metrics, operation);
        let done = work.await;
        timer.outcome = outcome_of(&done);
        done
    }

    fn enter(self: &Arc<Self>, context: &CallContext, id: &SessionId) -> Result<Using> {
        let number = self.handles()?.check(id, &context.principal)?;
        let entry = self.open.lock().get(&number).cloned();
        let entry = entry.ok_or_else(session::unknown)?;
        entry.enter().map_err(|ended_now| {
            if let Some(reason) = ended_now {
                self.remove(&entry, reason);
            }
            session::unknown()
        })
    }

    fn sweep(self: &Arc<Self>) {
        let all: Vec<_> = self.open.lock().values().cloned().collect();
        for entry in all {
            if let Some(reason) = entry.expire() {
                self.remove(&entry, reason);
            }
        }
    }

    /// Removes a session whose sandbox has ended by itself.
    pub(super) fn bury(self: &Arc<Self>, entry: &Arc<Entry>) {
        if entry.sandbox.end().is_some() {
            self.end(entry, Ended::Died);
        }
    }

    fn end(self: &Arc<Self>, entry: &Arc<Entry>, reason: Ended) {
        if entry.end(reason) {
            self.remove(entry, reason);
        }
    }

    /// What follows when a session has ended; once for each.
    fn remove(self: &Arc<Self>, entry: &Arc<Entry>, reason: Ended) {
        let removed = self.open.lock().remove(&entry.number);
        if removed.is_none() {
            return;
        }
        entry.interrupt();
        self.metrics.sessions_active.dec();
        self.metrics
            .sessions_ended
            .with_label_values(&[reason.as_str()])
            .inc();
        tracing::info!(session = ?entry.id, reason = reason.as_str(), "a sandbox session ended");
        let entry = Arc::clone(entry);
        drop(self.leaving.spawn(async move {
            if timeout(TEARDOWN, entry.sandbox.stop()).await.is_err() {
                tracing::warn!(session = ?entry.id, "the sandbox of a session does not go");
            }
            entry.gone.cancel();
        }));
    }

    fn handles(&self) -> Result<&Handles> {
        self.handles.as_ref().map_err(Error::clone)
    }

    fn full(&self) -> Error {
        let most = self.settings.max_sessions;
        Error::new(
            ErrorCode::LimitExceeded,
            format!("Sandbox session limit reached ({most})."),
        )
        .with_limit(format!(
            "{most} sessions at once (MCP_SANDBOX_MAX_SESSIONS)"
        ))
        .with_fix("stop one with sandbox.stop, or wait until an idle one ends")
    }
}
