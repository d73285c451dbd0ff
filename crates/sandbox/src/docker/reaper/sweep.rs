//! What is found by its labels.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::time::sleep;

use super::{AT_ONCE, Shared};
use crate::docker::daemon::{Fault, Ours};

/// Between sweeps, and after one that failed.
const EVERY: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(2);
/// After the first ones: the daemon may still be making what an executor asked for that was killed a
/// moment ago.
const SOON: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// How old a container of this life that nobody holds has to be: one that is being made is on the
/// daemon before we hear of it.
const UNHELD: i64 = 60;
/// How long after its time a container of somebody else is removed.
const MERCY: i64 = 30;

impl Shared {
    pub(super) async fn sweep_on_and_on(self: Arc<Self>) {
        let mut first = SOON.into_iter();
        loop {
            let pause = match self.sweep().await {
                Ok(_) => first.next().unwrap_or(EVERY),
                Err(fault) => {
                    tracing::debug!(%fault, "the sweep for leftover containers failed");
                    AGAIN
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.closed.cancelled() => return,
            }
        }
    }

    pub(super) async fn sweep(&self) -> Result<usize, Fault> {
        let found = self.daemon.list().await?;
        if found.is_empty() {
            return Ok(0);
        }
        // The clock that also wrote when they were made.
        let now = self.daemon.facts().await?.now;
        let due = found
            .into_iter()
            .filter_map(|it| Some((self.reason(&it, now)?, it)));
        let removals = due.map(|(reason, it)| self.remove_leftover(reason, it));
        let removals: Vec<_> = removals.collect();
        let removed = stream::iter(removals).buffer_unordered(AT_ONCE);
        Ok(removed
            .filter(|done| std::future::ready(*done))
            .count()
            .await)
    }

    async fn remove_leftover(&self, reason: &'static str, it: Ours) -> bool {
        if let Err(fault) = self.daemon.remove(&it.id).await {
            tracing::warn!(container = it.name, %fault, "a leftover container stays");
            return false;
        }
        let owner = &it.labels.owner;
        tracing::info!(
            container = it.name,
            owner,
            reason,
            "a leftover container was removed"
        );
        self.metrics
            .sandbox_swept
            .with_label_values(&[reason])
            .inc();
        true
    }

    /// Why it has to go, if it has to.
    pub(super) fn reason(&self, it: &Ours, now: Option<i64>) -> Option<&'static str> {
        let age = now.map_or(0, |now| now.saturating_sub(it.created));
        if it.labels.owner == self.owner {
            if it.labels.epoch == self.epoch {
                let held = self.held.lock().contains(&it.id);
                return (!held && age > UNHELD).then_some("orphan");
            }
            if !it.labels.epoch.lives() {
                return Some("start");
            }
        }
        let allowed = i64::try_from(it.labels.max_age.as_secs()).unwrap_or(i64::MAX);
        (age > allowed.saturating_add(MERCY)).then_some("expired")
    }

    /// Removes what this life made; says how many were there.
    pub(super) async fn remove_ours(&self) -> Result<usize, Fault> {
        let found = self.daemon.list().await?;
        let ours = found
            .into_iter()
            .filter(|it| it.labels.owner == self.owner && it.labels.epoch == self.epoch);
        let ours: Vec<Ours> = ours.collect();
        let count = ours.len();
        let mut removals = stream::iter(ours)
            .map(|it| self.remove_one(it))
            .buffer_unordered(AT_ONCE * 2);
        while let Some(removed) = removals.next().await {
            removed?;
        }
        Ok(count)
    }

    async fn remove_one(&self, it: Ours) -> Result<bool, Fault> {
        self.daemon.remove(&it.id).await
    }
}
