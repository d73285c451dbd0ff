//! The engine `isolate`: QuickJS in a locked-down child process, one child for each call, from a
//! pool of children that wait behind their walls. Needs nothing but the kernel.
//!
//! What the code finds there and which walls there are is told in `docs/isolate-engine.md`.

mod call;
mod child;
mod frames;
mod pool;
mod probe;
mod spawn;
mod usage;
mod verdict;
mod watch;

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use domain::error::{Error, ErrorCode, Result};
use domain::runner::{Call, EngineKind, Usage};
use domain::tool::{EngineChoice, Runtime};
use telemetry::{Metrics, Trail};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

pub use self::child::run_child_if_asked;

use self::call::Running;
use self::child::Wall;
use self::pool::{Pool, Taken};
use self::spawn::Spawner;
use crate::wire::{self, JobHead};
use crate::{Engine, EngineStatus, Execution, Job, Stage, WallStatus, execution};

/// The least CPU time of a call: what its start takes on a slow machine, and some.
const LEAST_CPU: Duration = Duration::from_millis(50);

/// How an isolate engine is set up.
#[derive(Debug, Clone)]
pub struct IsolateSettings {
    /// The program that is started as a child: one whose `main` begins with
    /// [`run_child_if_asked`]. The running one by default.
    pub program: PathBuf,
    /// Sandboxes that wait for calls.
    pub pool_size: usize,
    /// Memory that those may use together, in bytes; fewer wait where it does not suffice.
    pub pool_memory_bytes: u64,
    /// How long one may wait before it is replaced.
    pub max_age: Duration,
    /// The most memory that a call can be given, in bytes.
    pub memory_bytes: u64,
    /// Whether to start although a required wall is missing.
    pub allow_weaker: bool,
}

impl Default for IsolateSettings {
    fn default() -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            pool_size: 3,
            pool_memory_bytes: 1 << 30,
            max_age: Duration::from_secs(1_800),
            memory_bytes: 512 << 20,
            allow_weaker: false,
        }
    }
}

/// The engine. See the module.
#[derive(Debug)]
pub struct IsolateEngine {
    pool: Pool,
    walls: Vec<WallStatus>,
    running: Arc<AtomicUsize>,
    calls: TaskTracker,
}

impl IsolateEngine {
    /// Starts the engine: fills the pool while the probe tries the walls, and returns when both the
    /// probe is through and every wall that has to hold does.
    ///
    /// # Errors
    /// [`LaunchError`]: no child can be started, or a wall is missing.
    pub async fn launch(
        settings: IsolateSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, LaunchError> {
        let spawner = Spawner::new(settings.program, settings.memory_bytes).await?;
        let tolerated = Wall::ALL
            .into_iter()
            .filter(|wall| settings.allow_weaker || !wall.required())
            .collect();
        let bounds = (
            settings.pool_size,
            settings.pool_memory_bytes,
            settings.max_age,
        );
        let pool = Pool::new(spawner.clone(), bounds, tolerated, metrics);
        pool.fill();
        let walls = match probe::probe(&spawner, None).await {
            Ok(walls) => walls,
            Err(error) => {
                pool.close().await;
                return Err(error.into());
            }
        };
        let missing = walls.iter().filter(|wall| wall.required && !wall.held);
        let missing: Vec<WallStatus> = missing.cloned().collect();
        if !missing.is_empty() && !settings.allow_weaker {
            pool.close().await;
            return Err(LaunchError::Walls(missing));
        }
        for wall in walls.iter().filter(|wall| !wall.held) {
            tracing::warn!(
                wall = wall.name,
                detail = wall.detail,
                "the sandbox has no such wall"
            );
        }
        Ok(Self {
            pool,
            walls,
            running: Arc::default(),
            calls: TaskTracker::new(),
        })
    }
}

/// Why an isolate engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No child could be started.
    #[error("no sandbox can be started: {0}")]
    Start(#[from] io::Error),
    /// Walls that have to hold and do not.
    #[error(
        "the sandbox does not hold on this machine: {}; \
         MCP_EXECUTION_ALLOW_WEAKER_ISOLATE=true starts it all the same",
        named(.0)
    )]
    Walls(Vec<WallStatus>),
}

fn named(walls: &[WallStatus]) -> String {
    let one = |wall: &WallStatus| format!("{} ({})", wall.name, wall.detail);
    walls.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Tries to break each wall of a child of `program` and says what held. With the name of a wall in
/// `without`, that one is left out: the tests show that the probe then finds it missing.
///
/// # Errors
/// When the child cannot be started, or fails otherwise than by a broken wall.
pub async fn probe_walls(program: PathBuf, without: Option<&str>) -> io::Result<Vec<WallStatus>> {
    let spawner = Spawner::new(program, IsolateSettings::default().memory_bytes).await?;
    probe::probe(&spawner, without.and_then(Wall::parse)).await
}

#[async_trait]
impl Engine for IsolateEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Isolate
    }

    fn supports(&self, call: &Call) -> Result<()> {
        let lacks = |what: &str| {
            Err(Error::new(
                ErrorCode::PolicyDenied,
                format!("the isolate engine has no {what}; this tool needs the Docker engine"),
            )
            .with_fix("run an executor with Docker, or change the tool"))
        };
        match call {
            Call {
                runtime: Runtime::Python,
                ..
            } => lacks("Python"),
            Call {
                engine: EngineChoice::Docker,
                ..
            } => lacks("containers"),
            // `isolation: tool` is no reason to refuse: each call has a process of its own, which is
            // more than the tool asks for.
            Call { dependencies, .. } if !dependencies.is_empty() => lacks("dependencies"),
            _ => Ok(()),
        }
    }

    async fn start(&self, mut job: Job) -> Result<Execution> {
        self.supports(&job.call)?;
        let asked = Instant::now();
        let taken = timeout_at(job.deadline, self.pool.take(&job.tenant)).await;
        let trail = Trail::here();
        let times = (asked, Instant::now());
        Stage::Take.passed((self.pool.metrics(), &trail), EngineKind::Isolate, times);
        let Taken { sandbox, warm } = taken.unwrap_or_else(|_| {
            let message = "no sandbox was free within the time of the call; nothing has run";
            Err(Error::new(ErrorCode::Timeout, message))
        })?;
        let usage = Usage {
            checkout: asked.elapsed(),
            warm,
            ..Usage::default()
        };
        job.start_clock();
        let nonce = *uuid::Uuid::new_v4().as_bytes();
        let cpu = cpu(&job);
        let frame = encode(&job, nonce, cpu)?;
        let (execution, sink) = execution();
        let pool = self.pool.clone();
        let running = Running {
            job,
            frame,
            nonce,
            cpu,
            usage,
            sink,
            pool,
            trail,
        };
        let count = InFlight::new(&self.running);
        self.calls.spawn(async move {
            running.drive(sandbox).await;
            drop(count);
        });
        Ok(execution)
    }

    fn status(&self) -> EngineStatus {
        EngineStatus {
            kind: EngineKind::Isolate,
            pool_size: self.pool.size(),
            pool_idle: self.pool.idle(),
            pool: self.pool.status(),
            running: self.running.load(Ordering::Relaxed),
            walls: self.walls.clone(),
        }
    }

    async fn shutdown(&self) {
        self.pool.close().await;
        self.calls.close();
        self.calls.wait().await;
    }
}

/// Whoever did not come to `shutdown` leaves no process behind either.
impl Drop for IsolateEngine {
    fn drop(&mut self) {
        self.pool.abandon();
    }
}

/// Counts a running sandbox for as long as it lives.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The CPU time of a call: its share of a core for its whole time, at least a twentieth of a second.
fn cpu(job: &Job) -> Duration {
    let limits = &job.call.limits;
    let millis = limits
        .timeout
        .as_millis()
        .saturating_mul(u128::from(limits.cpu_millis))
        / 1_000;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)).max(LEAST_CPU)
}

/// Where the kernel ends a process by itself, in seconds of CPU time: beyond where the engine does,
/// because the kernel counts whole seconds, and by another account.
fn kernels_cpu(cpu: Duration) -> u64 {
    let seconds = cpu.as_secs();
    seconds.saturating_add(seconds / 4).saturating_add(2)
}

fn encode(job: &Job, nonce: wire::Nonce, cpu: Duration) -> Result<Vec<u8>> {
    let Job {
        call, request_id, ..
    } = job;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let deadline = now.saturating_add(job.time_left()).as_millis();
    let head = JobHead {
        nonce,
        tool: Cow::Borrowed(&call.tool),
        revision: call.revision.map(|revision| revision.0),
        request_id: Cow::Borrowed(request_id.as_str()),
        deadline_ms: u64::try_from(deadline).unwrap_or(u64::MAX),
        memory_bytes: call.limits.memory_bytes,
        cpu_seconds: kernels_cpu(cpu),
        max_output_bytes: call.limits.max_output_bytes,
        log_level: call.log_level,
        wants_progress: call.wants_progress,
        client_capabilities: call.client_capabilities.as_deref(),
    };
    wire::encode_job(&head, call.args.get(), &call.code).ok_or_else(|| {
        Error::invalid("args", "arguments and code together are too large")
            .with_limit(format!("{} bytes", wire::MAX_TO_CHILD))
    })
}
