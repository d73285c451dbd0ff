//! Sandboxes that wait for a call. Each is handed out once; those that wait for one are served one
//! tenant after the other.

mod state;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::error::{Error, ErrorCode, Result};
use domain::id::TenantId;
use domain::runner::EngineKind;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::state::{Bounds, Placed, State};
use super::child::Wall;
use super::spawn::{Sandbox, Spawner};
use crate::fair::Ticket;
use crate::stages::found;
use crate::{Miss, PoolStatus};

/// Between two looks at those that wait: the dead are replaced, and the old one by one.
const LOOK: Duration = Duration::from_secs(10);

/// The pool. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    spawner: Spawner,
    /// Walls that a sandbox may lack.
    tolerated: Vec<Wall>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    tasks: TaskTracker,
    /// A caller may give up anywhere, also outside of the runtime.
    runtime: Handle,
    closed: CancellationToken,
}

/// A sandbox for one call.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) sandbox: Sandbox,
    /// Whether it was waiting.
    pub(super) warm: bool,
}

impl Pool {
    /// Keeps up to `size` sandboxes that together use no more than `memory_bytes`, none of them
    /// longer than `max_age`.
    pub(super) fn new(
        spawner: Spawner,
        (size, memory_bytes, max_age): (usize, u64, Duration),
        tolerated: Vec<Wall>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let bounds = Bounds {
            size,
            memory_bytes,
            max_age,
        };
        let pool = Self(Arc::new(Shared {
            spawner,
            tolerated,
            metrics,
            state: Mutex::new(State::new(bounds)),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            closed: CancellationToken::new(),
        }));
        let mine = pool.clone();
        pool.0.tasks.spawn(async move { mine.tend().await });
        pool
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// How many are kept, as far as the memory for them goes.
    pub(super) fn size(&self) -> usize {
        self.0.state.lock().room()
    }

    pub(super) fn idle(&self) -> usize {
        self.0.state.lock().idle()
    }

    pub(super) fn status(&self) -> PoolStatus {
        let state = self.0.state.lock();
        PoolStatus {
            waiting: state.waiting(),
            memory_bytes: state.memory_bytes(),
            kinds: Vec::new(),
        }
    }

    /// A sandbox that runs. Tenants are served in turn, and the calls of one in their order.
    ///
    /// # Errors
    /// `overloaded` when too many wait, `unavailable` when none can be started.
    pub(super) async fn take(&self, tenant: &TenantId) -> Result<Taken> {
        let (answer, ticket) = {
            let mut state = self.0.state.lock();
            let miss = match state.take(Instant::now()) {
                Ok(sandbox) => {
                    found(&self.0.metrics, EngineKind::Isolate, None);
                    drop(state);
                    self.fill();
                    return Ok(Taken {
                        sandbox,
                        warm: true,
                    });
                }
                Err(miss) => miss,
            };
            found(&self.0.metrics, EngineKind::Isolate, Some(miss));
            let (sender, answer) = oneshot::channel();
            (answer, state.wait(tenant, sender)?)
        };
        // Whoever gives up leaves the line, and may have a sandbox on its way, which is then lost.
        let _place = Place {
            pool: self,
            tenant,
            ticket,
        };
        self.fill();
        match answer.await {
            Ok(answer) => answer.map(|sandbox| Taken {
                sandbox,
                warm: false,
            }),
            Err(_) => Err(Error::unavailable("sandbox")),
        }
    }

    /// Starts what is missing, a few at a time: a burst of calls is no stampede.
    pub(super) fn fill(&self) {
        let mut state = self.0.state.lock();
        if self.0.closed.is_cancelled() {
            // Dropped, which kills them.
            drop(state.close());
        } else {
            for _ in 0..state.begin_missing() {
                let one = self.clone().start_one();
                self.0.tasks.spawn_on(one, &self.0.runtime);
            }
        }
        self.count(&state);
    }

    fn count(&self, state: &State) {
        let kind = EngineKind::Isolate.as_str();
        let (metrics, number) = (&self.0.metrics, |it| i64::try_from(it).unwrap_or(i64::MAX));
        let memory = metrics.pool_memory.with_label_values(&[kind]);
        memory.set(i64::try_from(state.memory_bytes()).unwrap_or(i64::MAX));
        let waiting = metrics.pool_waiting.with_label_values(&[kind]);
        waiting.set(number(state.waiting()));
    }

    async fn start_one(self) {
        let begun = Instant::now();
        let started = tokio::select! {
            started = self.0.spawner.sandbox() => started.and_then(|it| self.checked(it)),
            () = self.0.closed.cancelled() => Err(io::Error::other("the engine is shut down")),
        };
        if started.is_ok() {
            let kind = EngineKind::Isolate.as_str();
            let took = begun.elapsed().as_secs_f64();
            let durations = &self.0.metrics.sandbox_create_duration;
            durations.with_label_values(&[kind]).observe(took);
        }
        let placed = self.0.state.lock().place(started, Instant::now());
        match placed {
            Placed::Kept => {}
            // For nobody; the process ends by this.
            Placed::Superfluous(sandbox) => sandbox.destroy().await,
            Placed::Failed(pause) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.0.closed.cancelled() => {}
                }
            }
        }
        self.fill();
    }

    fn checked(&self, sandbox: Sandbox) -> io::Result<Sandbox> {
        let mut missing = sandbox.missing.iter();
        match missing.find(|wall| !self.0.tolerated.contains(wall)) {
            None => Ok(sandbox),
            Some(wall) => Err(io::Error::other(format!(
                "a sandbox has no {}",
                wall.name()
            ))),
        }
    }

    /// Looks after those that wait, until the end.
    async fn tend(&self) {
        let pause = {
            let state = self.0.state.lock();
            state.max_age().min(LOOK)
        };
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.closed.cancelled() => return,
            }
            let gone = self.0.state.lock().sort_out(Instant::now());
            for sandbox in gone {
                sandbox.destroy().await;
            }
            self.fill();
        }
    }

    /// Kills what waits and starts nothing more, without waiting for the end of it.
    pub(super) fn abandon(&self) {
        self.0.closed.cancel();
        // Dropped, which kills them.
        let ready = self.0.state.lock().close();
        drop(ready);
    }

    /// Kills what waits and starts nothing more; returns when all of it is gone.
    pub(super) async fn close(&self) {
        self.0.closed.cancel();
        let ready = self.0.state.lock().close();
        for sandbox in ready {
            sandbox.destroy().await;
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

/// A place in the line, given up when it is dropped.
struct Place<'a> {
    pool: &'a Pool,
    tenant: &'a TenantId,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let left = self.pool.0.state.lock().leave(self.tenant, self.ticket);
        drop(left);
        self.pool.fill();
    }
}

fn overloaded(after: Duration) -> Error {
    let message = "too many calls wait for a sandbox; nothing has run";
    Error::new(ErrorCode::Overloaded, message).with_retry_after(after)
}

fn no_start(error: io::Error) -> Error {
    Error::unavailable("sandbox").with_cause(error)
}

#[cfg(test)]
mod tests;
