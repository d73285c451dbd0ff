//! Packages of npm and PyPI. They are resolved to a lockfile, and installed from it once into a
//! volume that calls and sessions mount so that they cannot write to it; see `docs/dependencies.md`.
//!
//! Package managers run in containers of their own, without a network: what they may reach is decided
//! by [`egress`] and carried by [`tunnel`]. A volume is complete when its marker, written last, is
//! there; all others are removed.

mod container;
mod egress;
mod engine;
mod flights;
mod install;
mod pack;
mod resolve;
mod settings;
mod shelf;
mod sweep;
mod task;
mod tunnel;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::error::{Error, ErrorCode, Result};
use domain::lockfile::Lockfile;
use domain::tool::Runtime;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::settings::InstallSettings;
pub(crate) use self::shelf::Lease;

use self::container::{Failure, Work, Workshop, looked_at};
use self::egress::Egress;
use self::flights::Flights;
use self::resolve::{Remembered, Request};
use self::settings::Registry;
use self::shelf::{SetKey, Shelf};
use self::task::{Look, Looked};
use super::daemon::Daemon;
use super::images::ImageId;
use super::profile::VolumeName;
use super::reaper::Reaper;

/// Package managers that work at the same time.
const AT_ONCE: usize = 2;
/// How long a look into an image and at volumes may take.
const LOOK_TIME: Duration = Duration::from_secs(30);
/// How long an install runs before a sandbox is made for those who wait for it: the container of the
/// package manager is to be started first.
const HEAD_START: Duration = Duration::from_millis(300);
/// Images whose package manager is known; more, and it is looked at again.
const IMAGES: usize = 256;

/// The installer of packages. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Deps(Arc<Shared>);

struct Shared {
    workshop: Workshop,
    settings: InstallSettings,
    registries: HashMap<Runtime, Registry>,
    metrics: Arc<Metrics>,
    shelf: Arc<Shelf>,
    looked: Mutex<HashMap<(String, Runtime), Arc<Looked>>>,
    installs: Flights<SetKey, ()>,
    resolves: Flights<Request, Lockfile>,
    resolved: Mutex<Remembered>,
    at_once: Semaphore,
    /// Whether the volumes of an earlier life have been looked at.
    swept: watch::Sender<bool>,
    /// The volumes that are being filled, by the digest of their lockfile.
    filled: watch::Sender<HashMap<String, VolumeName>>,
    /// There is something for the sweep to do.
    hurry: Notify,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl Deps {
    /// Starts the installer: what an earlier life of this executor installed is looked at, and kept or
    /// removed.
    ///
    /// # Errors
    /// `invalid_argument` about a registry's address.
    pub(crate) fn launch(
        daemon: Daemon,
        reaper: Reaper,
        runtime: Option<String>,
        cgroup_parent: Option<String>,
        settings: InstallSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let mut registries = HashMap::new();
        let named = [
            (Runtime::Node, &settings.npm_registry),
            (Runtime::Python, &settings.pip_index),
        ];
        for (runtime, address) in named {
            if let Some(address) = address {
                let registry = Registry::parse(settings::variable(runtime), address)?;
                registries.insert(runtime, registry);
            }
        }
        let tasks = TaskTracker::new();
        let deps = Self(Arc::new(Shared {
            workshop: Workshop {
                daemon,
                reaper,
                runtime,
                cgroup_parent,
            },
            settings,
            registries,
            metrics,
            shelf: Arc::default(),
            looked: Mutex::default(),
            installs: Flights::new(tasks.clone()),
            resolves: Flights::new(tasks.clone()),
            resolved: Mutex::default(),
            at_once: Semaphore::new(AT_ONCE),
            swept: watch::Sender::new(false),
            filled: watch::Sender::default(),
            hurry: Notify::new(),
            tasks,
            closed: CancellationToken::new(),
        }));
        let shared = Arc::clone(&deps.0);
        deps.0.tasks.spawn(shared.sweep_on_and_on());
        Ok(deps)
    }

    /// The set of packages of a lockfile, for containers of this image; installed if it is not there.
    /// The first one who asks and those who come meanwhile wait, each until its deadline.
    ///
    /// # Errors
    /// `dependency_install_failed` with what the package manager said; `policy_denied` (a blocked
    /// package, native code); `timeout`, `overloaded`, `unavailable`.
    pub(crate) async fn ensure(
        &self,
        image: &ImageId,
        lock: &Lockfile,
        deadline: Instant,
    ) -> Result<Lease> {
        let shared = &self.0;
        let known = (image.as_str().to_owned(), lock.runtime());
        let looked = shared.looked.lock().get(&known).cloned();
        if let Some(looked) = looked
            && let Some(lease) = shared.shelf.lease(&SetKey::of(lock, &looked.platform))
        {
            return Ok(lease);
        }
        shared.wait_for_sweep(deadline).await?;
        let looked = shared.look_into(image, lock.runtime(), deadline).await?;
        let key = SetKey::of(lock, &looked.platform);
        // What one waits for may be evicted before it is leased, by a cache that is far too small.
        for _ in 0..2 {
            if let Some(lease) = shared.shelf.lease(&key) {
                return Ok(lease);
            }
            let work = || {
                let shared = Arc::clone(shared);
                shared.install(image.clone(), lock.clone(), Arc::clone(&looked))
            };
            shared.installs.join(&key, deadline, work).await?;
        }
        shared.shelf.lease(&key).ok_or_else(|| {
            Error::new(
                ErrorCode::DependencyInstallFailed,
                "the packages were removed before they could be used",
            )
            .with_fix("set MCP_SANDBOX_INSTALL_CACHE_BYTES to more than one set of packages")
        })
    }

    /// The same; when it has to be installed, `ahead` is begun a little after the install was, with the
    /// volume that is being filled, and what came of it is handed back if it was done by the end.
    ///
    /// # Errors
    /// As [`ensure`](Self::ensure).
    pub(crate) async fn ensure_ahead<T>(
        &self,
        image: &ImageId,
        lock: &Lockfile,
        deadline: Instant,
        ahead: impl AsyncFnOnce(VolumeName) -> Option<T>,
    ) -> Result<(Lease, Option<T>)> {
        let mut ensured = std::pin::pin!(self.ensure(image, lock, deadline));
        let mut ahead = std::pin::pin!(async {
            let volume = self.0.filling(lock).await;
            tokio::time::sleep(HEAD_START).await;
            ahead(volume).await
        });
        tokio::select! {
            biased;
            lease = &mut ensured => Ok((lease?, None)),
            made = &mut ahead => Ok((ensured.await?, made)),
        }
    }

    /// Whether a volume is one that calls may use, or may soon.
    pub(crate) fn keeps(&self, volume: &VolumeName) -> bool {
        self.0.shelf.knows(volume)
    }

    /// Whether a set is complete, once nobody fills it any more.
    pub(crate) async fn is_installed(&self, volume: &VolumeName) -> bool {
        let mut filled = self.0.filled.subscribe();
        let is_filled =
            |filled: &HashMap<String, VolumeName>| filled.values().any(|it| it == volume);
        let over = filled.wait_for(|filled| !is_filled(filled)).await;
        over.is_ok() && self.0.shelf.has(volume)
    }

    /// The authority that is trusted besides, as PEM.
    pub(crate) fn extra_ca(&self) -> Option<&str> {
        self.0.settings.extra_ca.as_deref()
    }

    /// Looks whether a set is on the daemon still, after a container with it could not be made: if it
    /// was removed by hand, the next one who needs it installs it anew.
    pub(crate) async fn look_after(&self, volume: &VolumeName) {
        if let Ok(false) = self.0.workshop.daemon.has_volume(volume).await {
            self.0.shelf.forget(|it| it == volume);
        }
    }

    /// Ends all work; what is not complete goes. To be called before the containers are removed, and
    /// [`remove_open`](Self::remove_open) afterwards.
    pub(crate) async fn close(&self) {
        self.0.closed.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Removes the volumes of this life that are not complete.
    pub(crate) async fn remove_open(&self) {
        self.0.remove_open().await;
    }
}

impl Shared {
    /// What the image's package manager is: looked at once.
    async fn look_into(
        &self,
        image: &ImageId,
        runtime: Runtime,
        deadline: Instant,
    ) -> Result<Arc<Looked>> {
        let known = (image.as_str().to_owned(), runtime);
        if let Some(looked) = self.looked.lock().get(&known) {
            return Ok(Arc::clone(looked));
        }
        self.look(image, runtime, &[], deadline).await
    }

    /// Has a look into an image, and at volumes from there.
    async fn look(
        &self,
        image: &ImageId,
        runtime: Runtime,
        volumes: &[VolumeName],
        deadline: Instant,
    ) -> Result<Arc<Looked>> {
        let deadline = deadline.min(Instant::now() + LOOK_TIME);
        let task = Look {
            task: "look",
            max_age_ms: (LOOK_TIME * 2).as_millis(),
            places: (0..volumes.len()).map(looked_at).collect(),
        };
        let work = Work {
            image,
            runtime,
            fills: None,
            sees: volumes,
            egress: None,
            task: &task,
            deadline,
        };
        let looked = self.workshop.run::<_, Looked>(work).await;
        let looked = Arc::new(looked.map_err(|failure| match failure {
            Failure::Broken(error) => error,
            Failure::Late | Failure::Received => Error::new(
                ErrorCode::Timeout,
                "the image's package manager was not ready in time; nothing was done",
            ),
        })?);
        let mut known = self.looked.lock();
        if known.len() >= IMAGES {
            known.clear();
        }
        let key = (image.as_str().to_owned(), runtime);
        known.insert(key, Arc::clone(&looked));
        Ok(looked)
    }

    /// The registry and what may be reached for it.
    ///
    /// # Errors
    /// `dependency_install_failed`: there is no package manager.
    fn source(&self, runtime: Runtime, looked: &Looked) -> Result<(Registry, Arc<Egress>)> {
        if let Some(problem) = &looked.problem {
            let message = format!("{problem}, so that no packages can be installed");
            return Err(
                Error::new(ErrorCode::DependencyInstallFailed, message).with_fix(
                    "use an image that has it; docs/sandbox-images.md tells how to make one",
                ),
            );
        }
        let most = self.settings.max_bytes;
        if let Some(registry) = self.registries.get(&runtime) {
            let egress = Egress::new(registry.place(), true, most);
            return Ok((registry.clone(), Arc::new(egress)));
        }
        let own = looked.registry.as_deref().unwrap_or_default();
        let registry = Registry::parse(settings::variable(runtime), own)?;
        let egress = Egress::new(registry.place(), false, most);
        egress.allow_files(looked.files.iter().map(|host| format!("{host}:443")));
        Ok((registry, Arc::new(egress)))
    }

    /// The volume that is being filled from a lockfile, once there is one.
    async fn filling(&self, lock: &Lockfile) -> VolumeName {
        let mut filled = self.filled.subscribe();
        let begun = filled.wait_for(|filled| filled.contains_key(lock.digest()));
        if let Ok(filled) = begun.await
            && let Some(volume) = filled.get(lock.digest())
        {
            return volume.clone();
        }
        std::future::pending().await
    }

    async fn wait_for_sweep(&self, deadline: Instant) -> Result<()> {
        let mut swept = self.swept.subscribe();
        let waited = timeout_at(deadline, swept.wait_for(|swept| *swept)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::unavailable("store of installed packages")),
        }
    }

    fn count_sets(&self) {
        let (count, bytes) = self.shelf.size();
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.dependency_volumes.set(signed(count as u64));
        self.metrics.dependency_volume_bytes.set(signed(bytes));
    }
}

impl fmt::Debug for Deps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, bytes) = self.0.shelf.size();
        write!(out, "Deps({count} sets, {bytes} bytes)")
    }
}
