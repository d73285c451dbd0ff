//! The engine `docker`: one container for each call, from a pool of containers that wait with the
//! guest agent attached. Any image with `node` works; nothing is baked in.
//!
//! On the path of a call there is one framed write and framed reads on a stream that is open
//! already; containers are made and destroyed beside it. What the code finds there and which walls
//! there are is told in `docs/docker-engine.md`.

mod ahead;
mod call;
mod daemon;
mod deps;
mod frames;
mod guest;
mod heard;
mod images;
mod pool;
mod profile;
mod reaper;
mod sandbox;
mod seccomp;
mod session;
mod shared;
mod text;
mod verdict;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::DataMount;
use domain::error::{Error, ErrorCode, Result};
use domain::limits::DEFAULT_IMAGE;
use domain::lockfile::Lockfile;
use domain::runner::{Call, EngineKind, Resolve, Usage};
use domain::tool::Runtime;
use telemetry::{Metrics, Trail};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::daemon::DockerSettings;
pub(crate) use self::daemon::{Daemon, Filtered, Inventory, is_safe_runc};
pub use self::deps::InstallSettings;

use self::ahead::{Ahead, Loader};
use self::call::Running;
use self::deps::Deps;
use self::images::{ImageId, Images, Timing};
use self::pool::{Budget, Key, Pool};
use self::profile::{Network, Purpose};
use self::reaper::Reaper;
use self::sandbox::{Maker, Unfit};
use self::shared::Shared;
use self::verdict::Limits;
use crate::failpoint;
use crate::{
    Engine, EngineStatus, Execution, Job, OpenSession, Session, Stage, WallStatus, execution,
    stages,
};

/// How often the pool is compared with what it should be: a container that died or whose image
/// moved is noticed by then, if no call notices it before.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// How long containers may take to be removed at the end.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// How a Docker engine is set up.
#[derive(Debug, Clone)]
pub struct DockerEngineSettings {
    /// Where the daemon is.
    pub docker: DockerSettings,
    /// The name of this executor, the same after a restart: what it left behind is found by it.
    pub owner: String,
    /// The runtime of the containers, for example `runsc`; the daemon's own when there is none.
    pub runtime: Option<String>,
    /// Whether to refuse a daemon whose runc has known ways out; otherwise that is a warning.
    pub require_patched_runc: bool,
    /// Containers that wait for calls, for each image; most that wait of any other kind.
    pub pool_size: usize,
    /// Containers that wait for sessions, for each image.
    pub session_pool_size: usize,
    /// Memory that all containers that wait may use together, in bytes.
    pub pool_memory_bytes: u64,
    /// Containers that are made at the same time.
    pub creating: usize,
    /// Memory of a container, in bytes: the executor's ceiling.
    pub memory_bytes: u64,
    /// CPU of a container, in thousandths of a core: the executor's ceiling.
    pub cpu_millis: u32,
    /// The cgroup that all containers are put under; the daemon's own choice when there is none.
    pub cgroup_parent: Option<String>,
    /// Folders on the daemon's machine that calls and sessions may read.
    pub data_mounts: Vec<DataMount>,
    /// The longest that a call may run.
    pub max_timeout: Duration,
    /// The longest that a session may live.
    pub max_session: Duration,
    /// Images that tools may use; all when it is empty.
    pub allowed_images: Vec<String>,
    /// Tools whose calls may share a container, by name.
    pub shared_tools: Vec<String>,
    /// How packages are installed.
    pub install: InstallSettings,
    /// Whether containers that wait load the packages that their calls begin with.
    pub load_ahead: bool,
}

impl Default for DockerEngineSettings {
    fn default() -> Self {
        Self {
            docker: DockerSettings::default(),
            owner: "executor".to_owned(),
            runtime: None,
            require_patched_runc: false,
            pool_size: 2,
            session_pool_size: 0,
            pool_memory_bytes: 1 << 30,
            creating: 4,
            memory_bytes: 512 << 20,
            cpu_millis: 1_000,
            cgroup_parent: None,
            data_mounts: Vec::new(),
            max_timeout: Duration::from_secs(120),
            max_session: Duration::from_secs(24 * 60 * 60),
            allowed_images: vec![DEFAULT_IMAGE.to_owned()],
            shared_tools: Vec::new(),
            install: InstallSettings::default(),
            load_ahead: true,
        }
    }
}

/// The engine. See the module.
pub struct DockerEngine {
    daemon: Daemon,
    images: Images,
    reaper: Reaper,
    pool: Pool<Maker>,
    shared: Shared,
    deps: Deps,
    loader: Loader,
    walls: Vec<WallStatus>,
    unfit: Unfit,
    metrics: Arc<Metrics>,
    running: Arc<AtomicUsize>,
    calls: TaskTracker,
    closed: CancellationToken,
}

impl DockerEngine {
    /// Starts the engine: finds the daemon, removes what an earlier life left there, and begins to
    /// see to the images and the pool in the background.
    ///
    /// # Errors
    /// `unavailable` with the daemon's address and the reason; `invalid_argument` about a setting.
    pub async fn launch(settings: DockerEngineSettings, metrics: Arc<Metrics>) -> Result<Self> {
        failpoint::arm();
        let daemon = Daemon::connect(&settings.docker, Arc::clone(&metrics)).await?;
        let walls = daemon
            .check(settings.runtime.as_deref(), settings.require_patched_runc)
            .await?;
        daemon.listen(settings.owner.clone());
        let reaper = Reaper::launch(daemon.clone(), settings.owner, Arc::clone(&metrics));
        let images = Images::launch(
            daemon.clone(),
            &settings.allowed_images,
            Timing::default(),
            Arc::clone(&metrics),
        )?;
        let deps = Deps::launch(
            daemon.clone(),
            reaper.clone(),
            settings.runtime.clone(),
            settings.cgroup_parent.clone(),
            settings.install,
            Arc::clone(&metrics),
        )?;
        let unfit = Unfit::default();
        let loader = Loader::new(settings.load_ahead, deps.clone(), Arc::clone(&metrics));
        let maker = Maker {
            loader: loader.clone(),
            daemon: daemon.clone(),
            reaper: reaper.clone(),
            images: images.clone(),
            runtime: settings.runtime,
            cgroup_parent: settings.cgroup_parent,
            data_mounts: settings.data_mounts,
            max_call: settings.max_timeout,
            max_session: settings.max_session,
            metrics: Arc::clone(&metrics),
            unfit: Arc::clone(&unfit),
        };
        let budget = Budget {
            size: settings.pool_size,
            memory_bytes: settings.pool_memory_bytes,
            making: settings.creating,
        };
        let pool = Pool::new(maker, budget);
        let shared = Shared::new(settings.shared_tools, Arc::clone(&metrics));
        let calls = TaskTracker::new();
        let closed = CancellationToken::new();
        let kept = Kept {
            images: settings.allowed_images,
            calls: settings.pool_size,
            sessions: settings.session_pool_size,
            memory_bytes: settings.memory_bytes,
            cpu_millis: settings.cpu_millis,
        };
        calls.spawn(tend(
            pool.clone(),
            shared.clone(),
            images.clone(),
            deps.clone(),
            kept,
            Arc::clone(&unfit),
            closed.clone(),
        ));
        calls.spawn(ahead::watch(
            pool.clone(),
            daemon.clone(),
            loader.clone(),
            closed.clone(),
        ));
        Ok(Self {
            daemon,
            images,
            reaper,
            pool,
            shared,
            deps,
            loader,
            walls,
            unfit,
            metrics,
            running: Arc::default(),
            calls,
            closed,
        })
    }

    /// Whether the engine could run tools: the daemon answers, has what was asked for, and an image
    /// that tools may use is there or on its way. For `MCP_EXECUTION_ENGINE=auto`; starts nothing,
    /// and takes no longer than `patience`.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub async fn probe(
        settings: &DockerEngineSettings,
        metrics: Arc<Metrics>,
        patience: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        let late = |_| {
            let message = format!("the Docker daemon did not answer within {patience:?}");
            Error::new(ErrorCode::Unavailable, message)
        };
        let daemon = Daemon::connect(&settings.docker, Arc::clone(&metrics));
        let daemon = timeout_at(deadline, daemon).await.map_err(late)??;
        let check = daemon.check(settings.runtime.as_deref(), settings.require_patched_runc);
        timeout_at(deadline, check).await.map_err(late)??;
        let timing = Timing::default();
        let images = Images::launch(daemon.clone(), &settings.allowed_images, timing, metrics)?;
        let usable = images.any_usable(deadline).await;
        images.shutdown().await;
        usable
    }
}

/// What waits in every image, whether anybody asks or not.
struct Kept {
    images: Vec<String>,
    calls: usize,
    sessions: usize,
    memory_bytes: u64,
    cpu_millis: u32,
}

/// Keeps the pool as it should be until the engine is closed.
async fn tend(
    pool: Pool<Maker>,
    shared: Shared,
    images: Images,
    deps: Deps,
    mut kept: Kept,
    unfit: Unfit,
    closed: CancellationToken,
) {
    if kept.images.is_empty() {
        kept.images.push(DEFAULT_IMAGE.to_owned());
    }
    let mut changes = images.changes();
    loop {
        let ids = kept.images.iter();
        let ids = ids.filter_map(|name| images.resolve(name).ok());
        let ids: Vec<ImageId> = ids.collect();
        // What nobody is to wait in need not be remembered.
        unfit.lock().retain(|(image, _)| ids.contains(image));
        // An image is for one language: the first whose program is there.
        let language = |image: ImageId| {
            let fits = |runtime: &Runtime| !unfit.lock().contains(&(image.clone(), *runtime));
            let runtime = [Runtime::Node, Runtime::Python].into_iter().find(fits)?;
            Some((image, runtime))
        };
        let ids = ids.into_iter().filter_map(language);
        let kinds = ids.flat_map(|(image, runtime)| {
            let of = |purpose| Key {
                image: image.clone(),
                runtime,
                purpose,
                memory_bytes: kept.memory_bytes,
                cpu_millis: kept.cpu_millis,
                network: Network::None,
                deps: None,
                ahead: Ahead::default(),
            };
            [
                (of(Purpose::Call), kept.calls),
                (of(Purpose::Session), kept.sessions),
            ]
        });
        let kinds: Vec<(Key, usize)> = kinds.filter(|(_, count)| *count > 0).collect();
        let there: HashSet<ImageId> = images.status().into_iter().filter_map(|it| it.id).collect();
        // A set of packages that is gone, or has to go, is not held by a sandbox that waits.
        let has_packages = |key: &Key| key.deps.as_ref().is_none_or(|it| deps.keeps(it));
        pool.keep(&kinds, |key| {
            there.contains(&key.image) && has_packages(key)
        });
        shared.tend();
        tokio::select! {
            () = tokio::time::sleep(TEND_EVERY) => {}
            // An error is the end of the images' own tasks, and then of this one too.
            Ok(()) = changes.changed() => {}
            () = closed.cancelled() => return,
        }
    }
}

#[async_trait]
impl Engine for DockerEngine {
    fn kind(&self) -> EngineKind {
        EngineKind::Docker
    }

    fn supports(&self, call: &Call) -> Result<()> {
        self.shared.check(call)?;
        self.images.want(&call.image)
    }

    async fn start(&self, mut job: Job) -> Result<Execution> {
        self.supports(&job.call)?;
        guest::check(&job.call)?;
        let limits = job.call.limits;
        let image = self.images.look_up(&job.call.image).await?;
        // Time and output are bounded here and by the agent; memory and CPU by the container, so
        // that a call with less of them than others gets one of its own.
        let mut key = Key {
            image,
            runtime: job.call.runtime,
            purpose: Purpose::Call,
            memory_bytes: limits.memory_bytes,
            cpu_millis: limits.cpu_millis,
            network: Network::None,
            deps: None,
            ahead: self.loader.of(&job.call),
        };
        let (mut packages, ahead) = self.packages_of(&job, &key).await?;
        key.deps = packages.as_ref().map(|lease| lease.volume().clone());
        let (asked, kind) = (Instant::now(), EngineKind::Docker);
        let (tenancy, waiting) = match shared::home_of(&job, &key) {
            Some(home) => self.shared.enter(home, &mut packages, job.deadline).await,
            None => (None, None),
        };
        if let Some(packages) = packages {
            // They are in use for as long as the sandbox is there.
            job.slot = Some(Box::new((job.slot.take(), packages)));
        }
        let (sandbox, lease, miss) = if let Some(sandbox) = waiting {
            (sandbox, None, None)
        } else if let Some(checkout) = ahead {
            (checkout.sandbox, Some(checkout.lease), checkout.miss)
        } else {
            let checkout = self.pool.take(&key, &job.tenant);
            match timeout_at(job.deadline, checkout).await {
                Ok(Ok(checkout)) => (checkout.sandbox, Some(checkout.lease), checkout.miss),
                Ok(Err(error)) => {
                    if let Some(packages) = &key.deps {
                        self.deps.look_after(packages).await;
                    }
                    return Err(error);
                }
                Err(_) => {
                    let message =
                        "no sandbox was free within the time of the call; nothing has run";
                    return Err(Error::new(ErrorCode::Timeout, message));
                }
            }
        };
        stages::found(&self.metrics, kind, miss);
        let trail = Trail::here();
        Stage::Take.passed((&self.metrics, &trail), kind, (asked, Instant::now()));
        let usage = Usage {
            checkout: asked.elapsed(),
            warm: miss.is_none(),
            ..Usage::default()
        };
        job.start_clock();
        let nonce = *uuid::Uuid::new_v4().as_bytes();
        let frame = guest::encode(&job, &nonce, tenancy.is_some())?;
        let (execution, sink) = execution();
        let running = Running {
            job,
            frame,
            nonce,
            usage,
            sink,
            limits: Limits {
                memory_bytes: key.memory_bytes,
                pids: key.purpose.bounds().pids,
            },
            key,
            pool: self.pool.clone(),
            daemon: self.daemon.clone(),
            metrics: Arc::clone(&self.metrics),
            trail,
            tenancy,
        };
        let count = InFlight::new(&self.running);
        self.calls.spawn(async move {
            running.drive(sandbox, lease).await;
            drop(count);
        });
        Ok(execution)
    }

    async fn resolve(&self, request: Resolve, deadline: Instant) -> Result<Lockfile> {
        self.lock_of(request, deadline).await
    }

    async fn open_session(&self, open: OpenSession) -> Result<Box<dyn Session>> {
        self.open(open).await
    }

    fn status(&self) -> EngineStatus {
        let pool = self.pool.status();
        EngineStatus {
            kind: EngineKind::Docker,
            pool_size: pool.kinds.iter().map(|kind| kind.size).sum(),
            pool_idle: pool.kinds.iter().map(|kind| kind.idle).sum(),
            pool,
            running: self.running.load(Ordering::Relaxed),
            walls: self.walls.clone(),
        }
    }

    async fn shutdown(&self) {
        self.closed.cancel();
        self.shared.close();
        self.pool.close().await;
        self.calls.close();
        self.calls.wait().await;
        self.deps.close().await;
        self.images.shutdown().await;
        self.reaper.shutdown(Instant::now() + SHUTDOWN).await;
        self.deps.remove_open().await;
    }
}

impl fmt::Debug for DockerEngine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DockerEngine")
            .field("daemon", &self.daemon)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Counts a running container for as long as it lives.
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
