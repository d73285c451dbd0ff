//! A runner that plays a script and says what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::runner::EngineKind;
use domain::{
    Call, CallContext, Error, ErrorCode, Lockfile, Resolve, Result, RunEvent, RunStream, Runner,
};
use futures::stream;
use parking_lot::Mutex;
use tokio::sync::watch;

/// One step of a script.
#[derive(Debug, Clone)]
pub enum Step {
    /// Send this.
    Event(RunEvent),
    /// Do nothing for this time.
    Wait(Duration),
}

impl Step {
    /// `Accepted` by this runner.
    #[must_use]
    pub fn accepted() -> Self {
        let executor = "fake".to_owned();
        Self::Event(RunEvent::Accepted {
            executor,
            engine: EngineKind::Isolate,
        })
    }

    /// `Finished` with this JSON as the result.
    #[must_use]
    pub fn finished(result: &str) -> Self {
        Self::Event(RunEvent::Finished(crate::outcome(result)))
    }
}

/// A runner that plays the same script for every call.
pub struct FakeRunner {
    script: Mutex<Result<Vec<Step>>>,
    accept_after: Mutex<Duration>,
    calls: Mutex<Vec<(CallContext, Call)>>,
    locks: Mutex<Option<Result<Lockfile>>>,
    resolved: Mutex<Vec<Resolve>>,
    running: watch::Sender<usize>,
    abandoned: Arc<AtomicUsize>,
}

impl FakeRunner {
    /// A runner with this script.
    #[must_use]
    pub fn new(script: impl IntoIterator<Item = Step>) -> Self {
        Self {
            script: Mutex::new(Ok(script.into_iter().collect())),
            accept_after: Mutex::default(),
            calls: Mutex::default(),
            locks: Mutex::default(),
            resolved: Mutex::default(),
            running: watch::Sender::new(0),
            abandoned: Arc::default(),
        }
    }

    /// Accepts and then answers with `result` at once.
    #[must_use]
    pub fn answering(result: &str) -> Self {
        Self::new([Step::accepted(), Step::finished(result)])
    }

    /// Accepts and then does nothing for an hour.
    #[must_use]
    pub fn hanging() -> Self {
        Self::new([Step::accepted(), Step::Wait(Duration::from_secs(3600))])
    }

    /// Refuses every following call with `error`.
    pub fn refuse_with(&self, error: Error) {
        *self.script.lock() = Err(error);
    }

    /// Plays `script` for every following call.
    pub fn play(&self, script: impl IntoIterator<Item = Step>) {
        *self.script.lock() = Ok(script.into_iter().collect());
    }

    /// Keeps every following call waiting for a slot this long.
    pub fn accept_after(&self, wait: Duration) {
        *self.accept_after.lock() = wait;
    }

    /// Resolves all dependencies to this from now on. Before, it refuses as an executor without
    /// containers does.
    pub fn resolve_to(&self, lock: Result<Lockfile>) {
        *self.locks.lock() = Some(lock);
    }

    /// The dependencies that it was to resolve.
    #[must_use]
    pub fn resolved(&self) -> Vec<Resolve> {
        self.resolved.lock().clone()
    }

    /// The calls that arrived, with their contexts.
    #[must_use]
    pub fn calls(&self) -> Vec<(CallContext, Call)> {
        self.calls.lock().clone()
    }

    /// How many calls were dropped before they finished.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Waits until exactly `count` calls run or wait for a slot.
    ///
    /// # Panics
    /// When that does not come about within five seconds.
    pub async fn until_running(&self, count: usize) {
        let mut running = self.running.subscribe();
        let reached = running.wait_for(|running| *running == count);
        if tokio::time::timeout(Duration::from_secs(5), reached)
            .await
            .is_err()
        {
            panic!("{} calls run, not {count}", *self.running.borrow());
        }
    }
}

struct Guard {
    running: watch::Sender<usize>,
    abandoned: Arc<AtomicUsize>,
    done: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done {
            self.abandoned.fetch_add(1, Ordering::SeqCst);
        }
        self.running.send_modify(|running| *running -= 1);
    }
}

#[async_trait]
impl Runner for FakeRunner {
    async fn run(&self, context: &CallContext, call: Call) -> Result<RunStream> {
        self.calls.lock().push((context.clone(), call));
        let script = self.script.lock().clone()?;
        self.running.send_modify(|running| *running += 1);
        let guard = Guard {
            running: self.running.clone(),
            abandoned: Arc::clone(&self.abandoned),
            done: false,
        };
        let wait = *self.accept_after.lock();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let play = (script.into_iter(), guard);
        Ok(Box::pin(stream::unfold(
            play,
            |(mut steps, mut guard)| async move {
                loop {
                    match steps.next() {
                        Some(Step::Event(event)) => {
                            guard.done = matches!(event, RunEvent::Finished(_));
                            return Some((event, (steps, guard)));
                        }
                        Some(Step::Wait(time)) => tokio::time::sleep(time).await,
                        None => return None,
                    }
                }
            },
        )))
    }

    async fn resolve(&self, _context: &CallContext, request: Resolve) -> Result<Lockfile> {
        self.resolved.lock().push(request);
        let lock = self.locks.lock().clone();
        lock.unwrap_or_else(|| {
            let message = "this executor installs no packages";
            Err(Error::new(ErrorCode::PolicyDenied, message))
        })
    }
}
