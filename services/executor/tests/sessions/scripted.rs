//! An engine whose sessions do what their commands say: `sleep N`, `die`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::error::{Error, ErrorCode, Result};
use domain::runner::{Call, EngineKind, Outcome};
use domain::session::{CommandResult, Exec, Listing};
use domain::tool::Runtime;
use parking_lot::Mutex;
use sandbox::{
    Engine, EngineStatus, Execution, Job, OpenSession, Session, SessionEnd, Slot, execution,
};
use telemetry::{BuildInfo, Metrics};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "executor",
        version: "0",
        commit: "0",
    };
    Arc::new(Metrics::new(build).unwrap())
}

/// Lets time pass, and everybody who waits for it do what he has to.
pub(crate) async fn rest(time: Duration) {
    sleep(time).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[derive(Default)]
struct State {
    opening: Mutex<Duration>,
    leaving: Mutex<Duration>,
    refuse: Mutex<Option<ErrorCode>>,
    alive: AtomicUsize,
    most: AtomicUsize,
    given_up: AtomicUsize,
    all: Mutex<Vec<CancellationToken>>,
    runs: TaskTracker,
}

#[derive(Default)]
pub(crate) struct Fake(Arc<State>);

impl Fake {
    pub(crate) fn opening_takes(&self, time: Duration) {
        *self.0.opening.lock() = time;
    }

    pub(crate) fn leaving_takes(&self, time: Duration) {
        *self.0.leaving.lock() = time;
    }

    pub(crate) fn refuse_next(&self, code: ErrorCode) {
        *self.0.refuse.lock() = Some(code);
    }

    /// Sandboxes that are there.
    pub(crate) fn alive(&self) -> usize {
        self.0.alive.load(Ordering::SeqCst)
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }

    /// Commands whose future was dropped.
    pub(crate) fn given_up(&self) -> usize {
        self.0.given_up.load(Ordering::SeqCst)
    }

    /// Every sandbox ends by itself.
    pub(crate) fn kill_all(&self) {
        self.0.all.lock().iter().for_each(CancellationToken::cancel);
    }
}

#[async_trait]
impl Engine for Fake {
    fn kind(&self) -> EngineKind {
        EngineKind::Docker
    }

    fn supports(&self, _call: &Call) -> Result<()> {
        Ok(())
    }

    async fn start(&self, _job: Job) -> Result<Execution> {
        Err(Error::unavailable("sandbox"))
    }

    async fn open_session(&self, open: OpenSession) -> Result<Box<dyn Session>> {
        let time = *self.0.opening.lock();
        sleep(time).await;
        if let Some(code) = self.0.refuse.lock().take() {
            return Err(Error::new(code, "refused"));
        }
        let alive = self.0.alive.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(alive, Ordering::SeqCst);
        let dead = CancellationToken::new();
        self.0.all.lock().push(dead.clone());
        Ok(Box::new(FakeSession {
            state: Arc::clone(&self.0),
            dead,
            slot: Mutex::new(open.slot),
        }))
    }

    fn status(&self) -> EngineStatus {
        EngineStatus {
            kind: self.kind(),
            pool_size: 0,
            pool_idle: 0,
            pool: sandbox::PoolStatus::default(),
            running: 0,
            walls: Vec::new(),
        }
    }

    async fn shutdown(&self) {}
}

struct FakeSession {
    state: Arc<State>,
    dead: CancellationToken,
    slot: Mutex<Option<Slot>>,
}

impl std::fmt::Debug for FakeSession {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("FakeSession")
    }
}

fn done(duration: Duration) -> CommandResult {
    CommandResult {
        exit_code: 0,
        signal: None,
        stdout: String::new(),
        stderr: String::new(),
        duration,
        truncated: false,
        stdout_bytes: 0,
        stderr_bytes: 0,
        timed_out: false,
        out_of_memory: false,
    }
}

/// Counts a command whose future is dropped.
struct Finished<'a>(&'a AtomicUsize, bool);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Session for FakeSession {
    async fn exec(&self, exec: Exec, _most: u64, _deadline: Instant) -> Result<Vec<CommandResult>> {
        let mut finished = Finished(&self.state.given_up, false);
        let mut results = Vec::new();
        for command in exec.commands {
            if command == "die" {
                self.dead.cancel();
                finished.1 = true;
                return Err(self.end().unwrap().error());
            }
            let seconds = command.strip_prefix("sleep ").unwrap().parse().unwrap();
            let time = Duration::from_secs(seconds);
            sleep(time).await;
            results.push(done(time));
        }
        finished.1 = true;
        Ok(results)
    }

    async fn run(&self, job: Job) -> Result<Execution> {
        let seconds: u64 = job.call.code.parse().unwrap();
        let (execution, sink) = execution();
        self.state.runs.spawn(async move {
            sleep(Duration::from_secs(seconds)).await;
            sink.finish(Outcome {
                result: Ok(None),
                ..Outcome::failed(ErrorCode::ToolFailed, "")
            });
        });
        Ok(execution)
    }

    async fn write(&self, _path: &str, _content: Vec<u8>, _deadline: Instant) -> Result<()> {
        Ok(())
    }

    async fn read(&self, _path: &str, _deadline: Instant) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    async fn list(&self, _path: &str, _deadline: Instant) -> Result<Listing> {
        Ok(Listing::default())
    }

    fn end(&self) -> Option<SessionEnd> {
        self.dead.is_cancelled().then(|| SessionEnd {
            code: ErrorCode::OutOfMemory,
            message: "the sandbox was out of memory".to_owned(),
        })
    }

    async fn ended(&self) -> SessionEnd {
        self.dead.cancelled().await;
        self.end().unwrap()
    }

    async fn stop(&self) {
        self.dead.cancel();
        let time = *self.state.leaving.lock();
        sleep(time).await;
        if self.slot.lock().take().is_some() {
            self.state.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn runtimes(&self) -> &[Runtime] {
        &[Runtime::Node]
    }
}
