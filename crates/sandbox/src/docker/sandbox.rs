//! A container that waits for its call, and how it comes to be.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use domain::DataMount;
use domain::error::{Error, ErrorCode, Result};
use domain::runner::EngineKind;
use domain::tool::Runtime;
use futures::FutureExt;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::ahead::{Loader, Loading};
use super::daemon::{ContainerId, Daemon, Output};
use super::frames::{Frames, Piece};
use super::guest;
use super::images::{ImageId, Images};
use super::pool::{Condition, Key, Source};
use super::profile::{Mounted, Profile, Purpose, dependencies_at};
use super::reaper::{Guard, Reaper};
use super::session;
use crate::failpoint;
use crate::wire::{FromChild, NO_CALL};

/// How long the agent may take from the container's start until it is ready.
const READY_TIME: Duration = Duration::from_secs(20);

/// Largest frame of an agent that has no call.
const MAX_PAYLOAD: usize = 1_024;

/// Text of an agent that does not get ready that is kept for the log, in bytes.
const MAX_TEXT: usize = 1_024;

/// How long a container may wait for a call before it is replaced.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(600);

/// What Docker's init says of a program that the image has not: between the two is its name.
const NO_PROGRAM: [&str; 2] = ["exec ", " failed"];

/// How long after that the agent ends by itself: between the two nobody hands it a call.
const UNUSED: Duration = Duration::from_secs(30);

/// A container with the agent waiting in it.
#[derive(Debug)]
pub(super) struct Sandbox {
    guard: Guard,
    input: Writer,
    pub(super) frames: Frames<Output>,
    ready_since: Instant,
    /// Whether it has served a call of its tool and said that it is ready for the next one. Then its agent
    /// says no more that it begins with one.
    pub(super) is_kept: bool,
    /// Whoever loaded packages in it, and for which kind of call.
    pub(super) loaded: Option<Box<(Loader, Key)>>,
}

struct Writer(Pin<Box<dyn AsyncWrite + Send>>);

impl std::fmt::Debug for Writer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Writer")
    }
}

impl Sandbox {
    pub(super) fn id(&self) -> &ContainerId {
        self.guard.id()
    }

    /// Writes to the agent.
    ///
    /// # Errors
    /// The container or the connection to it is gone.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.input.0.write_all(bytes).await?;
        self.input.0.flush().await
    }

    /// Whether it waits still. What it says meanwhile is of no interest.
    fn is_alive(&mut self) -> bool {
        loop {
            match self.frames.next(&NO_CALL, MAX_PAYLOAD).now_or_never() {
                None => return true,
                Some(Ok(Some(Piece::Text(..)))) => {}
                Some(_) => return false,
            }
        }
    }

    /// How long it has been there.
    pub(super) fn age(&self) -> Duration {
        self.ready_since.elapsed()
    }

    /// What it consists of, for whoever sees to its end.
    pub(super) fn into_parts(self) -> (Guard, Pin<Box<dyn AsyncWrite + Send>>, Frames<Output>) {
        (self.guard, self.input.0, self.frames)
    }

    /// Kills and removes it, and returns when it is gone or somebody sees to it.
    pub(super) async fn destroy(self) {
        // The stream first: its end is the agent's end too.
        drop((self.input, self.frames));
        self.guard.destroy().await;
    }
}

/// What the daemon says before the path of a mount that is not there.
const NO_SOURCE: &str = "bind source path does not exist:";

/// Images, and the languages whose program they lack.
pub(super) type Unfit = Arc<Mutex<HashSet<(ImageId, Runtime)>>>;

/// Makes containers.
pub(super) struct Maker {
    pub(super) daemon: Daemon,
    pub(super) reaper: Reaper,
    pub(super) images: Images,
    pub(super) runtime: Option<String>,
    /// The cgroup that all containers are put under.
    pub(super) cgroup_parent: Option<String>,
    /// What every sandbox may read. The same for the life of the engine, and so no part of a key.
    pub(super) data_mounts: Vec<DataMount>,
    pub(super) max_call: Duration,
    /// The longest that a session may live.
    pub(super) max_session: Duration,
    pub(super) metrics: Arc<Metrics>,
    /// Images without the program of a language: none of it waits in them. A call that asks for one is
    /// told why.
    pub(super) unfit: Unfit,
    /// What loads packages in containers that wait.
    pub(super) loader: Loader,
}

impl Maker {
    /// How a container of this kind is made.
    pub(super) fn profile(&self, key: &Key) -> Profile {
        let mounted = key.deps.as_ref().map(|volume| Mounted {
            volume: volume.clone(),
            target: dependencies_at(key.runtime),
            writable: false,
        });
        Profile {
            image: key.image.clone(),
            runtime: self.runtime.clone(),
            memory_bytes: key.memory_bytes,
            cpu_millis: key.cpu_millis,
            purpose: key.purpose,
            network: key.network,
            volume: mounted,
            cgroup_parent: self.cgroup_parent.clone(),
            data_mounts: self.data_mounts.clone(),
            labels: BTreeMap::new(),
        }
    }

    async fn make_one(&self, key: &Key) -> Result<Sandbox> {
        if let Some(packages) = &key.deps {
            // The daemon would make an empty one in its place.
            self.daemon.need_volume(packages).await?;
        }
        let profile = self.profile(key);
        let waits = MAX_WAIT + UNUSED;
        let command = match key.purpose {
            Purpose::Session => session::command(key, waits, &profile.env()),
            Purpose::Call | Purpose::Install => guest::command(key, waits, &profile.env()),
        };
        // Labels of a container cannot be changed: they allow for the longest life that it can have.
        let used = match key.purpose {
            Purpose::Session => self.max_session,
            Purpose::Call | Purpose::Install => self.max_call,
        };
        let labels = self.reaper.labels(waits + used + READY_TIME);
        let body = profile.body(command, &labels);
        let made = self.reaper.create(&body).await;
        let guard = made.map_err(|error| no_data(&self.data_mounts, error))?;
        let attached = self.daemon.attach(guard.id()).await?;
        self.daemon.start(guard.id()).await?;
        failpoint::reached(failpoint::START);
        let mut sandbox = Sandbox {
            guard,
            input: Writer(attached.input),
            frames: Frames::new(attached.output),
            ready_since: Instant::now(),
            is_kept: false,
            loaded: None,
        };
        match timeout(READY_TIME, ready(&mut sandbox, key.runtime)).await {
            Ok(ready) => ready?,
            Err(_) => return Err(not_ready(key.runtime, "it was not ready in time")),
        }
        sandbox.ready_since = Instant::now();
        Ok(sandbox)
    }
}

impl Source for Maker {
    type Sandbox = Sandbox;
    type Name = ContainerId;

    async fn make(&self, key: &Key) -> Result<Sandbox> {
        let begun = Instant::now();
        let made = self.make_one(key).await;
        if let Err(error) = &made {
            let cause = error.cause().map(ToString::to_string).unwrap_or_default();
            let [before, after] = NO_PROGRAM;
            let program = guest::program(key.runtime);
            if cause.contains(&format!("{before}{program}{after}")) {
                let kind = (key.image.clone(), key.runtime);
                if self.unfit.lock().insert(kind) {
                    // Most images are for one language, and which one is found out so.
                    tracing::info!(image = %key.image, program, "the image has no such program: it is not for that language");
                }
            }
            // The image may be gone.
            self.images.look_again();
        } else {
            self.metrics
                .sandbox_create_duration
                .with_label_values(&[EngineKind::Docker.as_str()])
                .observe(begun.elapsed().as_secs_f64());
        }
        made
    }

    fn is_explained(&self, key: &Key) -> bool {
        let kind = (key.image.clone(), key.runtime);
        self.unfit.lock().contains(&kind)
    }

    fn is_to_prepare(&self, key: &Key) -> bool {
        key.purpose == Purpose::Call && self.loader.wants(key)
    }

    async fn prepare(&self, key: &Key, sandbox: Sandbox) -> Option<Sandbox> {
        self.loader.load(key, sandbox).await
    }

    fn name(&self, sandbox: &Sandbox) -> ContainerId {
        sandbox.id().clone()
    }

    async fn weigh(&self, id: ContainerId) -> Option<u64> {
        self.daemon.memory_of(&id).await
    }

    fn condition(&self, sandbox: &mut Sandbox) -> Condition {
        if sandbox.ready_since.elapsed() >= MAX_WAIT {
            Condition::Stale
        } else if sandbox.is_alive() {
            Condition::Usable
        } else {
            if let Some(loaded) = sandbox.loaded.take() {
                let (loader, key) = *loaded;
                loader.failed(&key, Loading::Died, "it ended while it waited");
            }
            Condition::Died
        }
    }
}

async fn ready(sandbox: &mut Sandbox, runtime: Runtime) -> Result<()> {
    let mut text = Vec::new();
    loop {
        match sandbox.frames.next(&NO_CALL, MAX_PAYLOAD).await {
            Ok(Some(Piece::Frame(FromChild::Ready, _))) => return Ok(()),
            Ok(Some(Piece::Text(_, more))) => {
                let room = MAX_TEXT.saturating_sub(text.len());
                text.extend_from_slice(&more[..more.len().min(room)]);
            }
            Ok(Some(Piece::Frame(..))) => return Err(not_ready(runtime, "it speaks out of turn")),
            Ok(None) => {
                let text = String::from_utf8_lossy(&text);
                return Err(not_ready(runtime, &format!("it ended: {}", text.trim())));
            }
            Err(error) => return Err(not_ready(runtime, &error.to_string())),
        }
    }
}

/// The daemon's words about a folder that its machine has not got, in ours.
fn no_data(folders: &[DataMount], error: Error) -> Error {
    let said = error.cause().map(ToString::to_string).unwrap_or_default();
    let missing = |folder: &&DataMount| {
        said.contains(NO_SOURCE)
            && said
                .split(NO_SOURCE)
                .any(|rest| rest.trim() == folder.path())
    };
    match folders.iter().find(missing) {
        None => error,
        Some(folder) => Error::new(
            ErrorCode::Unavailable,
            format!(
                "the machine of the Docker daemon lacks the data `{}`",
                folder.name()
            ),
        )
        .with_fix("make the folder that MCP_SANDBOX_DATA_MOUNTS names, or take it out of there")
        .with_cause(said),
    }
}

fn not_ready(runtime: Runtime, why: &str) -> Error {
    let program = guest::program(runtime);
    let message = format!("no sandbox gets ready in this image; it needs `{program}` in its PATH");
    let language = match runtime {
        Runtime::Node => "Node.js",
        Runtime::Python => "Python 3.9 or newer",
    };
    let fix = format!("use an image with {language}, or look into the executor's log");
    Error::new(ErrorCode::Unavailable, message)
        .with_fix(fix)
        .with_cause(format!("the guest agent: {why}"))
}
