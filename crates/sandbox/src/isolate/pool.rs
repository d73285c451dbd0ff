//! Sandboxes that wait for a call. Each is handed out once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::runner::EngineKind;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::child::Wall;
use super::spawn::{Sandbox, Spawner};

/// Sandboxes that start at the same time, so that a burst of calls is no stampede.
const STARTING: usize = 4;

/// Starts that fail one after the other before whoever waits is told.
const FAILURES: u32 = 3;

/// First and longest pause after a start that failed.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// The pool. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    spawner: Spawner,
    size: usize,
    /// Walls that a sandbox may lack.
    tolerated: Vec<Wall>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    tasks: TaskTracker,
    /// A caller may give up anywhere, also outside of the runtime.
    runtime: Handle,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Sandbox>,
    waiting: VecDeque<oneshot::Sender<io::Result<Sandbox>>>,
    starting: usize,
    failed_in_a_row: u32,
}

impl Pool {
    pub(super) fn new(
        spawner: Spawner,
        size: usize,
        tolerated: Vec<Wall>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self(Arc::new(Shared {
            spawner,
            size,
            tolerated,
            metrics,
            state: Mutex::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            closed: CancellationToken::new(),
        }))
    }

    pub(super) fn size(&self) -> usize {
        self.0.size
    }

    pub(super) fn idle(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    /// A sandbox that runs, and whether it was waiting. Callers are served in turn.
    pub(super) async fn take(&self) -> io::Result<(Sandbox, bool)> {
        // Whoever gives up may have a sandbox on its way, which is then lost.
        let _again = FillAtEnd(self);
        let waiting = {
            let mut state = self.0.state.lock();
            // One that died while it waited is dropped here and replaced below.
            let alive = std::iter::from_fn(|| state.ready.pop_front())
                .find_map(|mut sandbox| sandbox.is_alive().then_some(sandbox));
            match alive {
                Some(sandbox) => Ok(sandbox),
                None => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiting.push_back(sender);
                    Err(receiver)
                }
            }
        };
        self.fill();
        match waiting {
            Ok(sandbox) => Ok((sandbox, true)),
            Err(receiver) => {
                let closed = |_| io::Error::other("the engine is shut down");
                Ok((receiver.await.map_err(closed)??, false))
            }
        }
    }

    /// Starts what is missing.
    pub(super) fn fill(&self) {
        let mut state = self.0.state.lock();
        state.waiting.retain(|waiting| !waiting.is_closed());
        if self.0.closed.is_cancelled() {
            state.waiting.clear();
            return;
        }
        let wanted = self.0.size + state.waiting.len();
        let missing = wanted.saturating_sub(state.ready.len() + state.starting);
        for _ in 0..missing.min(STARTING.saturating_sub(state.starting)) {
            state.starting += 1;
            self.0
                .tasks
                .spawn_on(self.clone().start_one(), &self.0.runtime);
        }
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
            self.0
                .metrics
                .sandbox_create_duration
                .with_label_values(&[kind])
                .observe(took);
        }
        let pause = self.place(started);
        if let Some(pause) = pause {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.closed.cancelled() => {}
            }
        }
        self.fill();
    }

    fn checked(&self, sandbox: Sandbox) -> io::Result<Sandbox> {
        match sandbox
            .missing
            .iter()
            .find(|wall| !self.0.tolerated.contains(wall))
        {
            None => Ok(sandbox),
            Some(wall) => Err(io::Error::other(format!(
                "a sandbox has no {}",
                wall.name()
            ))),
        }
    }

    /// Gives a started sandbox to whoever waits longest, or keeps it. After a failure, says how
    /// long to pause.
    fn place(&self, started: io::Result<Sandbox>) -> Option<Duration> {
        let mut state = self.0.state.lock();
        state.starting -= 1;
        match started {
            Ok(mut sandbox) => {
                state.failed_in_a_row = 0;
                while let Some(waiting) = state.waiting.pop_front() {
                    match waiting.send(Ok(sandbox)) {
                        Ok(()) => return None,
                        Err(Ok(back)) => sandbox = back,
                        Err(Err(_)) => return None,
                    }
                }
                // One for whom nobody waits any more is dropped, and dies by that.
                if state.ready.len() < self.0.size {
                    state.ready.push_back(sandbox);
                }
                None
            }
            Err(error) => {
                tracing::warn!(%error, "a sandbox did not start");
                state.failed_in_a_row = state.failed_in_a_row.saturating_add(1);
                let pause = PAUSES[0] * 2_u32.saturating_pow(state.failed_in_a_row.min(8) - 1);
                // One failure may be an accident of that one process; several are not.
                if state.failed_in_a_row >= FAILURES
                    && let Some(waiting) = state.waiting.pop_front()
                {
                    // Whoever waited may have gone.
                    drop(waiting.send(Err(error)));
                }
                Some(pause.min(PAUSES[1]))
            }
        }
    }

    /// Kills what waits and starts nothing more.
    pub(super) async fn close(&self) {
        self.0.closed.cancel();
        let ready = {
            let mut state = self.0.state.lock();
            state.waiting.clear();
            std::mem::take(&mut state.ready)
        };
        for sandbox in ready {
            sandbox.destroy().await;
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

struct FillAtEnd<'a>(&'a Pool);

impl Drop for FillAtEnd<'_> {
    fn drop(&mut self) {
        self.0.fill();
    }
}
