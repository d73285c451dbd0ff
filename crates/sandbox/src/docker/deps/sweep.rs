//! Volumes on the daemon against what is known of them: those of an earlier life are taken over when
//! they are complete, all others that nobody can need are removed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::tool::Runtime;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::shelf::SetKey;
use super::task::Marker;
use crate::docker::daemon::{Fault, FoundVolume};
use crate::docker::images::ImageId;
use crate::docker::profile::VolumeName;
use crate::docker::reaper::Labels;

const PACKAGES: &str = "dynamic-mcp.packages";
const LOCK: &str = "dynamic-mcp.lock";
const IMAGE: &str = "dynamic-mcp.image";

/// Between sweeps, and after one that left something to do.
const EVERY: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);
/// Volumes that one container looks at.
const SEEN_AT_ONCE: usize = 16;

/// A volume of packages.
struct Ours {
    volume: VolumeName,
    labels: Labels,
    runtime: Option<Runtime>,
    lock: String,
    image: String,
    created: i64,
}

impl Ours {
    fn read(found: FoundVolume) -> Option<Self> {
        let its = &found.labels;
        let labels = Labels::read(found.name.as_str(), its)?;
        let runtime = match its.get(PACKAGES)?.as_str() {
            "node" => Some(Runtime::Node),
            "python" => Some(Runtime::Python),
            _ => None,
        };
        Some(Self {
            labels,
            runtime,
            lock: its.get(LOCK)?.clone(),
            image: its.get(IMAGE)?.clone(),
            created: found.created,
            volume: found.name,
        })
    }
}

impl Shared {
    /// What is written on a volume.
    pub(super) fn labels(
        &self,
        runtime: Runtime,
        image: &ImageId,
        lock: &str,
        stage: &str,
    ) -> HashMap<String, String> {
        // Whoever finds it when this executor is gone for good, on another machine perhaps.
        let max_age = self.settings.cache_age * 2 + self.settings.timeout;
        let mut labels = self.workshop.reaper.labels(max_age).map();
        let packages = match (stage, runtime) {
            ("install", Runtime::Node) => "node",
            ("install", Runtime::Python) => "python",
            _ => "scratch",
        };
        let ours = [(PACKAGES, packages), (LOCK, lock), (IMAGE, image.as_str())];
        labels.extend(ours.map(|(key, value)| (key.to_owned(), value.to_owned())));
        labels
    }

    pub(super) async fn sweep_on_and_on(self: Arc<Self>) {
        let mut first = true;
        loop {
            let swept = tokio::select! {
                swept = self.sweep() => swept,
                () = self.closed.cancelled() => return,
            };
            let pause = match swept {
                Ok(true) => EVERY,
                Ok(false) => AGAIN,
                Err(fault) => {
                    tracing::debug!(%fault, "the sweep for volumes failed");
                    AGAIN
                }
            };
            if first {
                first = false;
                self.swept.send_replace(true);
            }
            self.count_sets();
            tokio::select! {
                () = sleep(pause) => {}
                () = self.hurry.notified() => sleep(AGAIN).await,
                () = self.closed.cancelled() => return,
            }
            self.evict().await;
        }
    }

    /// Says whether nothing is left to do.
    async fn sweep(&self) -> Result<bool, Fault> {
        let daemon = &self.workshop.daemon;
        let ready = self.shelf.volumes();
        let all = daemon.volumes(Labels::FILTER).await?;
        let there: HashSet<VolumeName> = all.iter().map(|it| it.name.clone()).collect();
        // Somebody tidied up by hand.
        let is_gone = |volume: &VolumeName| ready.contains(volume) && !there.contains(volume);
        self.shelf.forget(is_gone);
        let all: Vec<Ours> = all.into_iter().filter_map(Ours::read).collect();
        if all.is_empty() {
            return Ok(true);
        }
        let now = daemon.facts().await?.now;
        let me = self.workshop.reaper.labels(Duration::ZERO);
        let (mut old, mut doomed) = (HashMap::<(Runtime, String), Vec<Ours>>::new(), Vec::new());
        for it in all.into_iter().filter(|it| !self.shelf.knows(&it.volume)) {
            let age = now.map_or(0, |now| now.saturating_sub(it.created));
            let allowed = i64::try_from(it.labels.max_age.as_secs()).unwrap_or(i64::MAX);
            if it.labels.owner == me.owner && it.labels.epoch == me.epoch {
                // Nothing of this life is made without being known first.
                doomed.push(it.volume);
            } else if it.labels.epoch.lives() {
                // Of another executor on this machine, or of this one's earlier life that goes on.
            } else if it.labels.owner == me.owner {
                match it.runtime {
                    Some(runtime) => old.entry((runtime, it.image.clone())).or_default().push(it),
                    None => doomed.push(it.volume),
                }
            } else if age > allowed {
                doomed.push(it.volume);
            }
        }
        let mut whole = true;
        for ((runtime, image), sets) in old {
            let image = daemon.image(&image).await?.map(ImageId::from);
            for some in sets.chunks(SEEN_AT_ONCE) {
                whole &= self
                    .take_over(runtime, image.as_ref(), some, &mut doomed)
                    .await;
            }
        }
        for volume in doomed {
            whole &= self.remove_leftover(&volume).await?;
        }
        Ok(whole)
    }

    /// Looks at volumes of an earlier life from their own image. Says whether that was possible.
    async fn take_over(
        &self,
        runtime: Runtime,
        image: Option<&ImageId>,
        sets: &[Ours],
        doomed: &mut Vec<VolumeName>,
    ) -> bool {
        let volumes: Vec<VolumeName> = sets.iter().map(|it| it.volume.clone()).collect();
        let Some(image) = image else {
            // Nothing can use them any more.
            doomed.extend(volumes);
            return true;
        };
        let deadline = Instant::now() + super::LOOK_TIME;
        let looked = match self.look(image, runtime, &volumes, deadline).await {
            Ok(looked) => looked,
            Err(error) => {
                tracing::debug!(%error, "volumes of packages could not be looked at");
                return false;
            }
        };
        for (it, marker) in sets.iter().zip(&looked.markers) {
            let marker = marker.as_deref().and_then(Marker::parse);
            let whole = marker
                .filter(|marker| marker.digest == it.lock && marker.platform == looked.platform);
            let kept = whole.is_some_and(|marker| {
                let key = SetKey {
                    runtime,
                    platform: looked.platform.as_str().into(),
                    digest: it.lock.as_str().into(),
                };
                self.shelf.put(key, it.volume.clone(), marker)
            });
            if kept {
                tracing::info!(volume = %it.volume, "installed packages were found again");
            } else {
                doomed.push(it.volume.clone());
            }
        }
        true
    }

    async fn remove_leftover(&self, volume: &VolumeName) -> Result<bool, Fault> {
        let gone = self.workshop.daemon.remove_volume(volume).await?;
        if gone {
            tracing::info!(%volume, "a volume that nobody can need was removed");
            self.metrics
                .dependency_evictions
                .with_label_values(&["incomplete"])
                .inc();
        }
        Ok(gone)
    }

    /// Removes sets that are too old or too much, as long as there are some that nobody uses. From the
    /// moment that one is taken off the shelf no call gets it; sandboxes that wait with it are dropped
    /// by the pool, and if that is not done yet, the next sweep removes it.
    pub(super) async fn evict(&self) {
        let settings = &self.settings;
        while let Some((volume, reason)) =
            self.shelf.evict(settings.cache_bytes, settings.cache_age)
        {
            tracing::info!(%volume, reason, "a set of packages is removed");
            let count = self
                .metrics
                .dependency_evictions
                .with_label_values(&[reason]);
            count.inc();
            match self.workshop.daemon.remove_volume(&volume).await {
                Ok(true) => {}
                Ok(false) => self.hurry.notify_one(),
                Err(fault) => {
                    tracing::debug!(%volume, %fault, "a set of packages is not removed yet");
                    self.hurry.notify_one();
                }
            }
        }
        self.count_sets();
    }

    /// Removes what this life made and did not complete.
    pub(super) async fn remove_open(&self) {
        let me = self.workshop.reaper.labels(Duration::ZERO);
        let Ok(all) = self.workshop.daemon.volumes(Labels::FILTER).await else {
            return;
        };
        for it in all.into_iter().filter_map(Ours::read) {
            let ours = it.labels.owner == me.owner && it.labels.epoch == me.epoch;
            if ours && !self.shelf.knows(&it.volume) {
                self.discard(&it.volume).await;
            }
        }
    }
}
