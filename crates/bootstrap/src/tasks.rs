//! Tracked tasks and the drain. Every task has a name and a failure policy; none is forgotten.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gate::{Gate, Gates, Holder, names};

/// What a background task gets to end by itself once everything else is done.
const CLOSING_DEADLINE: Duration = Duration::from_secs(2);

/// What happens when a task ends with an error or a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The process cannot do without it: drain and exit with 1. Ending without an error, while
    /// nothing is being stopped, counts as a failure too.
    Essential,
    /// A line in the log.
    Log,
}

/// Why the process is to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked: a signal, or a client that has gone. Exit code 0.
    Requested(String),
    /// An essential task has failed. Exit code 1.
    Failed(String),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

/// The tasks of a process. Cheap to clone; one per process, handed down (tests make their own).
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tracker: TaskTracker,
    /// Those that have work left when all others have ended.
    last: TaskTracker,
    gates: Gates,
    stopping: CancellationToken,
    closing: CancellationToken,
    wanted: CancellationToken,
    reason: Mutex<Option<StopReason>>,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a background task for the life of the process. At a stop it is dropped after the drain,
    /// so what it holds is used to the end; it need not watch for the stop itself.
    pub fn spawn<E: fmt::Display>(
        &self,
        name: &'static str,
        on_failure: OnFailure,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let closing = self.inner.closing.clone();
        let until_closing = async move { closing.run_until_cancelled_owned(task).await };
        self.launch(&self.inner.tracker, name, on_failure, async move {
            match until_closing.await {
                Some(Err(why)) => Some(Err(why.to_string())),
                Some(Ok(())) => Some(Ok(())),
                None => None,
            }
        });
    }

    /// Runs a server: essential, told by the token to stop accepting, and waited for at a drain
    /// until its last connection is served. One that has [asked for a stop](Self::request_stop) may end
    /// before that begins.
    pub fn serve<E: fmt::Display, F>(
        &self,
        name: &'static str,
        server: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let (stopping, wanted) = (self.inner.stopping.clone(), self.inner.wanted.clone());
        let server = server(stopping.clone());
        let guard = self.gate(name).enter();
        self.launch(
            &self.inner.tracker,
            name,
            OnFailure::Essential,
            async move {
                let ended = server.await.map_err(|why| why.to_string());
                drop(guard);
                // One that was told to stop has ended as it should, and so has one whose own end is why
                // the process stops.
                let is_over = stopping.is_cancelled() || wanted.is_cancelled();
                if ended.is_ok() && is_over {
                    None
                } else {
                    Some(ended)
                }
            },
        );
    }

    /// Runs one piece of work to its end, also through a drain, which waits for it.
    pub fn finish(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let guard = self.gate(name).enter();
        self.launch(&self.inner.tracker, name, OnFailure::Log, async move {
            work.await;
            drop(guard);
            None
        });
    }

    /// Runs a background task that has work left when all else is done, such as a log that is to
    /// hold what the last calls did. The token tells it to end, after the drain, however that went;
    /// it is waited for a little.
    pub fn last<E: fmt::Display, F>(
        &self,
        name: &'static str,
        on_failure: OnFailure,
        task: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let closing = self.inner.closing.clone();
        let task = task(closing.clone());
        self.launch(&self.inner.last, name, on_failure, async move {
            let ended = task.await.map_err(|why| why.to_string());
            (ended.is_err() || !closing.is_cancelled()).then_some(ended)
        });
    }

    /// The gate of this name; make it once and enter it for each call.
    #[must_use]
    pub fn gate(&self, name: &'static str) -> Gate {
        self.inner.gates.gate(name)
    }

    /// Who holds the drain now.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.inner.gates.holders()
    }

    /// Cancelled when nothing new is to be accepted: long-lived streams end on it.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stopping.clone()
    }

    /// Cancelled after the drain, just before the process ends.
    #[must_use]
    pub fn closing(&self) -> CancellationToken {
        self.inner.closing.clone()
    }

    /// Asks the process to drain and exit. The first reason is kept.
    pub fn request_stop(&self, reason: StopReason) {
        self.inner.reason.lock().get_or_insert(reason);
        self.inner.wanted.cancel();
    }

    /// Waits until somebody wants the process to stop, and says why.
    pub async fn stop_wanted(&self) -> StopReason {
        self.inner.wanted.cancelled().await;
        let reason = self.inner.reason.lock().clone();
        reason.unwrap_or_else(|| StopReason::Requested(String::from("a stop was requested")))
    }

    /// Stops accepting, waits for every guard until `grace` is over, then ends the background tasks.
    /// Gives back who was still inside at the deadline.
    pub async fn drain(&self, grace: Duration) -> Vec<Holder> {
        let inner = &self.inner;
        inner.stopping.cancel();
        let holders = inner.gates.wait(Instant::now() + grace).await;
        if !holders.is_empty() {
            tracing::warn!(
                cut_off = %names(&holders),
                grace_ms = grace.as_millis(),
                "the grace period is over; what still runs is cut off"
            );
        }
        inner.closing.cancel();
        inner.tracker.close();
        inner.last.close();
        if timeout(CLOSING_DEADLINE, inner.last.wait()).await.is_err() {
            tracing::warn!("what a background task had left to do was not done in time");
        }
        if holders.is_empty()
            && timeout(CLOSING_DEADLINE, inner.tracker.wait())
                .await
                .is_err()
        {
            tracing::warn!(
                tasks = inner.tracker.len(),
                "background tasks did not end in time"
            );
        }
        holders
    }

    /// The one spawn of this project. `None` means ended as it should.
    fn launch(
        &self,
        tracker: &TaskTracker,
        name: &'static str,
        on_failure: OnFailure,
        task: impl Future<Output = Option<Result<(), String>>> + Send + 'static,
    ) {
        let tasks = self.clone();
        let watched = async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            let failure = match ended {
                Ok(None) => return,
                Ok(Some(Ok(()))) if on_failure == OnFailure::Log => return,
                Ok(Some(Ok(()))) => String::from("it ended"),
                Ok(Some(Err(why))) => why,
                // The panic hook has logged where.
                Err(_) => String::from("it panicked"),
            };
            tracing::error!(task = name, %failure, "a task failed");
            if on_failure == OnFailure::Essential {
                tasks.request_stop(StopReason::Failed(format!("{name}: {failure}")));
            }
        };
        // The handle is not needed: the tracker waits, and the task reports for itself.
        drop(tracker.spawn(watched));
    }
}

#[cfg(test)]
mod tests;
