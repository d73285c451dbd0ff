//! Sandboxes that wait for a call, in a shelf for each kind. Each is handed out once.
//!
//! One that a call takes is replaced at once, off the call's path; the number that are being made at
//! the same time is bounded, whoever asks. A call that finds its shelf empty gets the next one that
//! is ready, in the order of arrival, whether it was begun for it or not.

mod state;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use domain::error::{Error, Result};
use domain::tool::Runtime;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::state::{Shelves, Taken};
use super::images::ImageId;
use super::profile::{Network, Purpose, VolumeName};

/// First and longest pause after a sandbox that could not be made.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];

/// How long after a take its replacement is begun, when nobody waits for it.
const SOON: Duration = Duration::from_millis(20);

/// Failures one after the other before whoever waits is told: one may be an accident.
const FAILURES: u32 = 2;

/// Failures in a row that are worth a warning each: an image without node stays one.
const LOUD: u32 = 3;

/// What a waiting sandbox was made for. It serves a call or a session only when all of this is the
/// same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Its image, by ID: a tag that moved is another image.
    pub(super) image: ImageId,
    /// The language that the agent in it speaks.
    pub(super) runtime: Runtime,
    /// What it is for, which decides its bounds and its agent.
    pub(super) purpose: Purpose,
    /// Memory, in bytes.
    pub(super) memory_bytes: u64,
    /// CPU, in thousandths of a core.
    pub(super) cpu_millis: u32,
    /// Its network.
    pub(super) network: Network,
    /// The volume of its dependencies, mounted so that it cannot be written to.
    pub(super) deps: Option<VolumeName>,
}

/// Makes sandboxes.
pub(super) trait Source: Send + Sync + 'static {
    /// A sandbox that waits for its call. Dropping it destroys it.
    type Sandbox: Send + 'static;

    /// Makes one. Bounded in time.
    ///
    /// # Errors
    /// `unavailable`.
    fn make(&self, key: &Key) -> impl Future<Output = Result<Self::Sandbox>> + Send;

    /// Whether it can still be handed out: it lives and is not too old.
    fn usable(&self, sandbox: &mut Self::Sandbox) -> bool;
}

/// The pool. Cheap to clone.
pub(super) struct Pool<S: Source>(Arc<Shared<S>>);

struct Shared<S: Source> {
    source: S,
    /// Waiting sandboxes of each kind that is wanted.
    size: usize,
    /// Sandboxes that are made at the same time.
    starting: usize,
    shelves: Mutex<Shelves<S::Sandbox>>,
    tasks: TaskTracker,
    /// A caller may give up anywhere, also outside of the runtime.
    runtime: Handle,
    closed: CancellationToken,
}

impl<S: Source> Clone for Pool<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Source> Pool<S> {
    /// An empty pool that keeps `size` of each wanted kind and makes `starting` at once.
    pub(super) fn new(source: S, size: usize, starting: usize) -> Self {
        Self(Arc::new(Shared {
            source,
            size,
            starting: starting.max(1),
            shelves: Mutex::default(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            closed: CancellationToken::new(),
        }))
    }

    /// How many wait and can be handed out.
    pub(super) fn idle(&self) -> usize {
        self.0.shelves.lock().idle()
    }

    /// How many are to wait.
    pub(super) fn size(&self) -> usize {
        self.0.size * self.0.shelves.lock().wanted()
    }

    /// The kinds that are to be kept, from now on. Sandboxes of other kinds are destroyed, and so are
    /// those that died or grew too old; what is missing is made.
    pub(super) fn keep(&self, keys: &[Key]) {
        let gone = {
            let mut shelves = self.0.shelves.lock();
            shelves.keep(keys, |sandbox| self.0.source.usable(sandbox))
        };
        // Outside of the lock: this is where they are destroyed.
        drop(gone);
        self.fill();
    }

    /// A sandbox of this kind, and whether it was waiting. Callers of a kind are served in turn.
    ///
    /// # Errors
    /// What the source fails with; `unavailable` after [`close`](Self::close).
    #[tracing::instrument(level = "debug", name = "pool take", skip_all)]
    pub(super) async fn take(&self, key: &Key) -> Result<(S::Sandbox, bool)> {
        let (taken, gone) = {
            let mut shelves = self.0.shelves.lock();
            // Under the lock, so that nobody queues up after `close` has emptied the queues.
            if self.0.closed.is_cancelled() {
                return Err(Error::unavailable("sandbox pool"));
            }
            shelves.take(key, |sandbox| self.0.source.usable(sandbox))
        };
        drop(gone);
        match taken {
            Taken::Ready(sandbox) => {
                self.fill_soon();
                Ok((sandbox, true))
            }
            Taken::Later(receiver) => {
                self.fill();
                // Whoever gives up may have a sandbox on its way, which others can have.
                let _again = FillAtEnd(self);
                let closed = |_| Error::unavailable("sandbox pool");
                Ok((receiver.await.map_err(closed)??, false))
            }
        }
    }

    /// Starts what is missing, as far as it may.
    fn fill(&self) {
        if self.0.closed.is_cancelled() {
            return;
        }
        let started = {
            let mut shelves = self.0.shelves.lock();
            shelves.begin(self.0.size, self.0.starting, Instant::now())
        };
        for key in started {
            self.0
                .tasks
                .spawn_on(self.clone().make_one(key), &self.0.runtime);
        }
    }

    /// Starts what is missing in a moment: making a sandbox takes a core for a good while, and the
    /// call that has just got one wants it for a few milliseconds.
    fn fill_soon(&self) {
        let pool = self.clone();
        let soon = async move {
            tokio::select! {
                () = tokio::time::sleep(SOON) => pool.fill(),
                () = pool.0.closed.cancelled() => {}
            }
        };
        self.0.tasks.spawn_on(soon, &self.0.runtime);
    }

    async fn make_one(self, key: Key) {
        let made = tokio::select! {
            made = self.0.source.make(&key) => made,
            () = self.0.closed.cancelled() => Err(Error::unavailable("sandbox pool")),
        };
        let failed = made.as_ref().err().cloned();
        let size = self.0.size;
        let left = self
            .0
            .shelves
            .lock()
            .place(&key, made, size, Instant::now());
        drop(left.sandbox);
        if let Some(error) = failed
            && !self.0.closed.is_cancelled()
        {
            let cause = error.cause().map(ToString::to_string);
            if left.failed_in_a_row <= LOUD {
                tracing::warn!(%error, cause, image = %key.image, "a sandbox could not be made");
            } else {
                tracing::debug!(%error, cause, image = %key.image, "no sandbox, as before");
            }
        }
        if let Some(pause) = left.pause {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.closed.cancelled() => {}
            }
        }
        self.fill();
    }

    /// Destroys what waits and makes nothing more.
    pub(super) async fn close(&self) {
        self.0.closed.cancel();
        let all = std::mem::take(&mut *self.0.shelves.lock());
        drop(all);
        self.0.tasks.close();
        self.0.tasks.wait().await;
        drop(std::mem::take(&mut *self.0.shelves.lock()));
    }
}

struct FillAtEnd<'a, S: Source>(&'a Pool<S>);

impl<S: Source> Drop for FillAtEnd<'_, S> {
    fn drop(&mut self) {
        self.0.fill();
    }
}

/// Whoever waits for a sandbox.
type Waiting<T> = oneshot::Sender<Result<T>>;

#[cfg(test)]
mod tests;
