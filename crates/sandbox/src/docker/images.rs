//! Images by the names that tools use.

mod entry;
mod id;
mod name;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::error::{Error, ErrorCode, Result};
use parking_lot::RwLock;
use telemetry::Metrics;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub(crate) use self::id::ImageId;

use self::entry::{Entry, State};
use self::name::Reference;
use super::daemon::Daemon;

/// Images that tools may name without their being on the list, at the same time.
const WANTED: usize = 64;
/// Most names on the list.
const ALLOWED: usize = 256;
/// Pulls at the same time.
const PULLS: usize = 2;
/// How long a call may wait for an image to be looked up. It never waits for a pull.
const LOOKUP: Duration = Duration::from_secs(2);

/// How often, how long.
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    /// Between looks whether a name still means the same image.
    pub(crate) refresh: Duration,
    /// For one pull.
    pub(crate) pull: Duration,
    /// First and longest pause after a pull that failed.
    pub(crate) backoff: [Duration; 2],
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(30),
            pull: Duration::from_secs(15 * 60),
            backoff: [Duration::from_secs(5), Duration::from_secs(300)],
        }
    }
}

/// An image's state, for health and messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageStatus {
    /// Its name.
    pub(crate) name: String,
    /// Its ID, if it is there.
    pub(crate) id: Option<ImageId>,
    /// What is the matter, in words that follow its name: `is being pulled (43 %)`.
    pub(crate) state: String,
}

/// The table of images. Cheap to clone. Nothing is pulled on a call's path: the table answers, and
/// tasks in the background keep it true.
#[derive(Clone)]
pub(crate) struct Images {
    shared: Arc<Shared>,
    _life: Arc<DropGuard>,
}

struct Shared {
    daemon: Daemon,
    metrics: Arc<Metrics>,
    timing: Timing,
    /// What may be used; nothing: anything.
    allowed: Vec<(String, Reference)>,
    table: RwLock<HashMap<String, Arc<Entry>>>,
    uses: AtomicU64,
    pulls: Semaphore,
    version: watch::Sender<u64>,
    tasks: TaskTracker,
    runtime: Handle,
    closed: CancellationToken,
}

impl Images {
    /// Starts to look up, and to pull where it is missing, every image of `allowed`; with an empty
    /// list the one that tools get when they name none.
    ///
    /// # Errors
    /// `invalid_argument` about a name on the list.
    pub(crate) fn launch(
        daemon: Daemon,
        allowed: &[String],
        timing: Timing,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        if allowed.len() > ALLOWED {
            return Err(Error::invalid("allowed_images", "are too many")
                .with_limit(format!("at most {ALLOWED}")));
        }
        let closed = CancellationToken::new();
        let parsed = allowed
            .iter()
            .map(|name| Ok((name.clone(), Reference::parse(name)?)))
            .collect::<Result<_>>()?;
        let shared = Arc::new(Shared {
            daemon,
            metrics,
            timing,
            allowed: parsed,
            table: RwLock::default(),
            uses: AtomicU64::new(0),
            pulls: Semaphore::new(PULLS),
            version: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            closed: closed.clone(),
        });
        let images = Self {
            shared,
            _life: Arc::new(closed.drop_guard()),
        };
        for name in allowed {
            images.entry(name)?;
        }
        if allowed.is_empty() {
            images.entry(domain::limits::DEFAULT_IMAGE)?;
        }
        Ok(images)
    }

    /// The image that a name means now. Answers at once.
    ///
    /// # Errors
    /// `policy_denied` and `invalid_argument` about the name; `unavailable` that names the image and
    /// what is being done while it is not there.
    pub(crate) fn resolve(&self, name: &str) -> Result<ImageId> {
        self.entry(name)?.resolve()
    }

    /// The same, but a name that is seen for the first time is waited for until it has been looked up
    /// on the daemon, at most two seconds and never through a pull.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub(crate) async fn look_up(&self, name: &str) -> Result<ImageId> {
        let entry = self.entry(name)?;
        let mut state = entry.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::Unknown));
        // Known or not, the entry says what there is to say.
        match timeout(LOOKUP, known).await {
            Ok(_) | Err(_) => entry.resolve(),
        }
    }

    /// Sees to it that an image is there soon.
    ///
    /// # Errors
    /// `policy_denied` and `invalid_argument` about the name.
    pub(crate) fn want(&self, name: &str) -> Result<()> {
        self.entry(name).map(drop)
    }

    /// Looks again at once: the daemon said that it has no such image, or a pull should be retried.
    pub(crate) fn look_again(&self) {
        for entry in self.shared.table.read().values() {
            entry.look.notify_one();
        }
    }

    /// Changes each time that some name means another image, or none.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// All that are kept an eye on, by name.
    pub(crate) fn status(&self) -> Vec<ImageStatus> {
        let table = self.shared.table.read();
        let mut all: Vec<ImageStatus> = table.values().map(|entry| entry.status()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Waits until one image is there.
    ///
    /// # Errors
    /// `unavailable` with what is the matter with each: when none can be pulled, or at `deadline`
    /// when none is being pulled.
    pub(crate) async fn any_usable(&self, deadline: Instant) -> Result<()> {
        let states = || -> Vec<State> {
            let table = self.shared.table.read();
            table
                .values()
                .map(|entry| entry.state.borrow().clone())
                .collect()
        };
        loop {
            let now = states();
            if now.iter().any(|state| matches!(state, State::Present(_))) {
                return Ok(());
            }
            let hopeless = now
                .iter()
                .all(|state| matches!(state, State::Missing { .. }));
            let late = Instant::now() >= deadline;
            if late
                && now
                    .iter()
                    .any(|state| matches!(state, State::Pulling(Some(_))))
            {
                return Ok(());
            }
            if hopeless || late {
                let all = self.status();
                let all: Vec<String> = all
                    .iter()
                    .map(|it| format!("`{}` {}", it.name, it.state))
                    .collect();
                let message = format!("no image that tools may use: {}", all.join("; "));
                return Err(Error::new(ErrorCode::Unavailable, message));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the tasks.
    pub(crate) async fn shutdown(&self) {
        self.shared.closed.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    fn entry(&self, name: &str) -> Result<Arc<Entry>> {
        let shared = &self.shared;
        let number = shared.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = shared.table.read().get(name) {
            entry.touch(number);
            return Ok(Arc::clone(entry));
        }
        let reference = Reference::parse(name)?;
        if !shared.may_use(&reference) {
            let names: Vec<&str> = shared.allowed.iter().map(|it| it.0.as_str()).collect();
            return Err(Error::new(
                ErrorCode::PolicyDenied,
                format!("the image `{name}` is not allowed here"),
            )
            .with_field("image")
            .with_limit(names.join(", "))
            .with_fix("give the tool another image with dynamic.tool.update, or allow this one: MCP_SANDBOX_ALLOWED_IMAGES of the executor"));
        }
        let mut table = shared.table.write();
        if let Some(entry) = table.get(name) {
            return Ok(Arc::clone(entry));
        }
        let entry = Arc::new(Entry::new(name, reference, shared.closed.child_token()));
        entry.touch(number);
        table.insert(name.to_owned(), Arc::clone(&entry));
        shared.forget(&mut table);
        drop(table);
        let (tended, tender) = (Arc::clone(&entry), Arc::clone(shared));
        let work = async move {
            tokio::select! {
                () = tended.closed.cancelled() => {}
                () = tended.tend(&tender) => {}
            }
        };
        shared.tasks.spawn_on(work, &shared.runtime);
        shared.changed();
        Ok(entry)
    }
}

impl fmt::Debug for Images {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.status()).finish()
    }
}

impl Shared {
    fn may_use(&self, reference: &Reference) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|(_, it)| it == reference)
    }

    /// Drops those that were not used for the longest time. The list's own names stay.
    fn forget(&self, table: &mut HashMap<String, Arc<Entry>>) {
        let listed = |name: &String| self.allowed.iter().any(|it| it.0 == *name);
        while table.len() > self.allowed.len() + WANTED {
            let others = table.values().filter(|entry| !listed(&entry.name));
            let Some(oldest) = others.min_by_key(|entry| entry.last_used()).cloned() else {
                return;
            };
            oldest.closed.cancel();
            table.remove(&oldest.name);
        }
    }

    fn changed(&self) {
        let missing = {
            let table = self.table.read();
            let there = |entry: &&Arc<Entry>| matches!(*entry.state.borrow(), State::Present(_));
            table.len() - table.values().filter(there).count()
        };
        let missing = i64::try_from(missing).unwrap_or(i64::MAX);
        self.metrics.images_missing.set(missing);
        self.version.send_modify(|version| *version += 1);
    }
}

impl Entry {
    fn status(&self) -> ImageStatus {
        let state = self.state.borrow();
        ImageStatus {
            name: self.name.clone(),
            id: match &*state {
                State::Present(id) => Some(id.clone()),
                _ => None,
            },
            state: state.to_string(),
        }
    }
}

#[cfg(test)]
mod registry;
#[cfg(test)]
mod tests;
