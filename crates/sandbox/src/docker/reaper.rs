//! The end of containers. Each has a [`Guard`]; when that is dropped the container is killed and
//! removed, off the path of whoever dropped it. What falls through (a crash, a full queue, an answer
//! that never came) is found by its labels, at start and on a timer.

mod identity;
mod sweep;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerCreateBody;
use domain::error::Result;
use futures::StreamExt;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::identity::{Epoch, Labels, new_name};

use super::daemon::{ContainerId, Daemon, Fault};
use crate::failpoint;

/// When a container whose making was not answered is looked for, each after the one before.
const DOUBTS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
];
/// Containers that wait for their end; more are left to the sweep.
const QUEUE: usize = 1_024;
/// Removals at the same time: each is a kill, some unmounts and a delete for the daemon.
const AT_ONCE: usize = 4;
/// Tries before a removal is left to the sweep.
const TRIES: u32 = 5;
/// First and longest pause between tries.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];

/// Ends containers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reaper(Arc<Shared>);

struct Shared {
    daemon: Daemon,
    owner: String,
    epoch: Epoch,
    /// Containers that somebody holds a guard of, or that are queued: not the sweep's.
    held: Mutex<HashSet<ContainerId>>,
    queue: mpsc::Sender<ContainerId>,
    metrics: Arc<Metrics>,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl Reaper {
    /// Starts the removals and the sweeps; the first sweep begins at once.
    ///
    /// `owner` has to be the same after a restart of this executor, and another one on another
    /// machine or in another pod. Executors of one machine that share it are told apart while they
    /// live.
    pub(crate) fn launch(daemon: Daemon, owner: String, metrics: Arc<Metrics>) -> Self {
        let (queue, doomed) = mpsc::channel(QUEUE);
        let reaper = Self(Arc::new(Shared {
            daemon,
            owner,
            epoch: Epoch::new(),
            held: Mutex::default(),
            queue,
            metrics,
            closed: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }));
        let shared = &reaper.0;
        shared.tasks.spawn(Arc::clone(shared).remove_queued(doomed));
        shared.tasks.spawn(Arc::clone(shared).sweep_on_and_on());
        reaper
    }

    /// What to write on a container that nobody needs after `max_age`.
    pub(crate) fn labels(&self, max_age: Duration) -> Labels {
        Labels {
            owner: self.0.owner.clone(),
            epoch: self.0.epoch.clone(),
            max_age,
        }
    }

    /// Makes a container and takes it over. When nobody can say whether it was made, it is looked for
    /// until it would be there, and removed.
    ///
    /// # Errors
    /// `unavailable`, as the daemon's.
    pub(crate) async fn create(&self, body: &ContainerCreateBody) -> Result<Guard> {
        let name = new_name();
        match self.0.daemon.create(&name, body).await {
            Ok(id) => {
                failpoint::reached(failpoint::CREATE);
                Ok(self.adopt(id))
            }
            Err(error) => {
                let shared = Arc::clone(&self.0);
                let doubtful = ContainerId::from(name);
                self.0.tasks.spawn(shared.remove_doubtful(doubtful));
                Err(error)
            }
        }
    }

    /// Takes a container over. To be called as soon as it is made.
    pub(crate) fn adopt(&self, id: ContainerId) -> Guard {
        self.0.held.lock().insert(id.clone());
        Guard {
            id,
            shared: Arc::clone(&self.0),
            gone: false,
        }
    }

    /// Removes every container of this life, those in use too, until `deadline`. What is left then
    /// is named in the log, and removed by the next start.
    pub(crate) async fn shutdown(&self, deadline: Instant) {
        let shared = &self.0;
        shared.closed.cancel();
        shared.tasks.close();
        let all = async {
            shared.tasks.wait().await;
            let mut pause = PAUSES[0];
            loop {
                match shared.remove_ours().await {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(fault) => tracing::debug!(%fault, "containers are not removed yet"),
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES[1]);
            }
        };
        if timeout_at(deadline, all).await.is_err() {
            tracing::warn!(
                "containers were not removed before the deadline; the next start removes them"
            );
        }
    }
}

impl fmt::Debug for Reaper {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.0.held.lock().len();
        write!(out, "Reaper({held} containers)")
    }
}

/// Whoever holds it has the container; dropped, the container ends.
pub(crate) struct Guard {
    id: ContainerId,
    shared: Arc<Shared>,
    gone: bool,
}

impl Guard {
    /// The container.
    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Ends the container now, and returns when it is gone; when the daemon cannot do it now, when
    /// it is queued.
    pub(crate) async fn destroy(mut self) {
        failpoint::reached(failpoint::REMOVE);
        match self.shared.daemon.remove(&self.id).await {
            Ok(true) => {
                self.gone = true;
                self.shared.held.lock().remove(&self.id);
            }
            Ok(false) => {}
            Err(fault) => tracing::debug!(id = %self.id, %fault, "a container is not removed yet"),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Guard({})", self.id)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        if self.shared.queue.try_send(self.id.clone()).is_err() {
            // Too many at once: from here on it is an orphan, and the sweep's.
            self.shared.held.lock().remove(&self.id);
        }
    }
}

impl Shared {
    async fn remove_queued(self: Arc<Self>, mut doomed: mpsc::Receiver<ContainerId>) {
        let queued = futures::stream::poll_fn(|cx| doomed.poll_recv(cx));
        let all = queued.for_each_concurrent(AT_ONCE, |id| self.remove_surely(id));
        tokio::select! {
            () = all => {}
            () = self.closed.cancelled() => {}
        }
    }

    /// A container whose making was not answered: the daemon may still be at it.
    async fn remove_doubtful(self: Arc<Self>, name: ContainerId) {
        for pause in DOUBTS {
            tokio::select! {
                () = sleep(pause) => {}
                // The end removes everything of ours.
                () = self.closed.cancelled() => return,
            }
            if let Err(fault) = self.daemon.remove(&name).await {
                tracing::debug!(%name, %fault, "a container that may be there is not removed yet");
            }
        }
    }

    async fn remove_surely(&self, id: ContainerId) {
        let mut pause = PAUSES[0];
        let mut tries = 0;
        while tries < TRIES {
            failpoint::reached(failpoint::REMOVE);
            match self.daemon.remove(&id).await {
                Ok(true) => break,
                // Somebody removes it: look again.
                Ok(false) => tries += 1,
                Err(Fault::Down(_) | Fault::Connect(_)) => {}
                Err(fault) => {
                    tries += 1;
                    tracing::debug!(%id, %fault, "a container is not removed yet");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
        self.held.lock().remove(&id);
    }
}

#[cfg(test)]
mod tests;
