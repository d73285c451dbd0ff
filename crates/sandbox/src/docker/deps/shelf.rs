//! The installed sets of packages: which there are, who uses them, and which have to go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::lockfile::Lockfile;
use domain::tool::Runtime;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::task::Marker;
use crate::docker::profile::VolumeName;

/// How long nothing is taken away after its last use: whoever waited for an install has to get it.
const FRESH: Duration = Duration::from_secs(10);

/// What a set of packages is known by. Whoever has the same gets the same, also another tenant: its
/// files are those that the lockfile's hashes name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SetKey {
    pub(super) runtime: Runtime,
    /// Version of the language, and kind of machine.
    pub(super) platform: Arc<str>,
    /// SHA-256 of the lockfile.
    pub(super) digest: Arc<str>,
}

impl SetKey {
    pub(super) fn of(lock: &Lockfile, platform: &str) -> Self {
        Self {
            runtime: lock.runtime(),
            platform: platform.into(),
            digest: lock.digest().into(),
        }
    }
}

#[derive(Debug)]
struct Set {
    volume: VolumeName,
    marker: Marker,
    users: usize,
    last_used: Instant,
}

/// All sets of this executor.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ready: HashMap<SetKey, Set>,
    /// Volumes that are being filled, or made only to be thrown away.
    open: HashSet<VolumeName>,
}

/// A set of packages in use: it is not removed before this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    volume: VolumeName,
    key: SetKey,
    shelf: Arc<Shelf>,
}

impl Lease {
    /// The volume, to be mounted so that it cannot be written to.
    pub(crate) fn volume(&self) -> &VolumeName {
        &self.volume
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(set) = self.shelf.0.lock().ready.get_mut(&self.key)
            && set.volume == self.volume
        {
            set.users = set.users.saturating_sub(1);
            set.last_used = Instant::now();
        }
    }
}

impl Shelf {
    /// A set that is there.
    pub(super) fn lease(self: &Arc<Self>, key: &SetKey) -> Option<Lease> {
        let mut state = self.0.lock();
        let set = state.ready.get_mut(key)?;
        set.users += 1;
        set.last_used = Instant::now();
        Some(Lease {
            volume: set.volume.clone(),
            key: key.clone(),
            shelf: Arc::clone(self),
        })
    }

    /// A volume that has just been named; it is left alone until [`Open`] is dropped.
    pub(super) fn open(self: &Arc<Self>, volume: VolumeName) -> Open {
        self.0.lock().open.insert(volume.clone());
        Open {
            volume,
            shelf: Arc::clone(self),
        }
    }

    /// A set is complete. Says whether it is the first of its key.
    pub(super) fn put(&self, key: SetKey, volume: VolumeName, marker: Marker) -> bool {
        let mut state = self.0.lock();
        if state.ready.contains_key(&key) {
            return false;
        }
        let set = Set {
            volume,
            marker,
            users: 0,
            last_used: Instant::now(),
        };
        state.ready.insert(key, set);
        true
    }

    /// Whether a volume is known: complete, or in somebody's hands.
    pub(super) fn knows(&self, volume: &VolumeName) -> bool {
        let state = self.0.lock();
        state.open.contains(volume) || state.ready.values().any(|set| set.volume == *volume)
    }

    /// Whether a volume holds a complete set.
    pub(super) fn has(&self, volume: &VolumeName) -> bool {
        let state = self.0.lock();
        state.ready.values().any(|set| set.volume == *volume)
    }

    /// The volumes of all complete sets.
    pub(super) fn volumes(&self) -> HashSet<VolumeName> {
        let state = self.0.lock();
        state.ready.values().map(|set| set.volume.clone()).collect()
    }

    /// Takes sets away whose volumes are gone.
    pub(super) fn forget(&self, is_gone: impl Fn(&VolumeName) -> bool) {
        let mut state = self.0.lock();
        state.ready.retain(|_, set| !is_gone(&set.volume));
    }

    /// Takes one set away that has to go, if one has to and nobody uses it: of those that are too old,
    /// or too much together, the one that was not used for longest. With it the reason.
    pub(super) fn evict(&self, most: u64, age: Duration) -> Option<(VolumeName, &'static str)> {
        let mut state = self.0.lock();
        let total: u64 = state.ready.values().map(|set| set.marker.bytes).sum();
        let (key, set) = state
            .ready
            .iter()
            .filter(|(_, set)| set.users == 0 && set.last_used.elapsed() >= FRESH)
            .min_by_key(|(_, set)| set.last_used)?;
        let reason = if total > most {
            "size"
        } else if set.last_used.elapsed() > age {
            "age"
        } else {
            return None;
        };
        let key = key.clone();
        let set = state.ready.remove(&key)?;
        Some((set.volume, reason))
    }

    /// How many, and how many bytes.
    pub(super) fn size(&self) -> (usize, u64) {
        let state = self.0.lock();
        let bytes = state.ready.values().map(|set| set.marker.bytes).sum();
        (state.ready.len(), bytes)
    }
}

/// A volume in somebody's hands.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) volume: VolumeName,
    shelf: Arc<Shelf>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shelf.0.lock().open.remove(&self.volume);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> SetKey {
        SetKey {
            runtime: Runtime::Node,
            platform: "p".into(),
            digest: name.into(),
        }
    }

    fn put(shelf: &Shelf, name: &str, bytes: u64) {
        let text = format!(
            r#"{{"version":1,"digest":"{name}","platform":"p","files":1,"bytes":{bytes},"native_count":0,"native":[]}}"#
        );
        let volume = VolumeName::from(name.to_owned());
        assert!(shelf.put(key(name), volume, Marker::parse(&text).unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn fault_68_the_least_used_goes_first_and_none_that_is_used() {
        let shelf = Arc::new(Shelf::default());
        let age = Duration::from_secs(100);
        for name in ["a", "b", "c"] {
            put(&shelf, name, 10);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(
            shelf.evict(29, age).is_none(),
            "whoever waited has to get it"
        );
        tokio::time::advance(FRESH).await;
        assert!(shelf.evict(30, age).is_none());
        let lease = shelf.lease(&key("a")).unwrap();
        let (volume, reason) = shelf.evict(29, age).unwrap();
        assert_eq!((volume.as_str(), reason), ("b", "size"));
        assert!(!shelf.knows(&volume) && shelf.lease(&key("b")).is_none());
        assert!(shelf.evict(20, age).is_none(), "it fits now");
        tokio::time::advance(age * 2).await;
        let (volume, reason) = shelf.evict(20, age).unwrap();
        assert_eq!((volume.as_str(), reason), ("c", "age"));
        assert!(shelf.evict(0, age).is_none(), "the rest is in use");
        shelf.forget(|volume| volume.as_str() == "a");
        assert!(shelf.lease(&key("a")).is_none());
        drop(lease);
        assert_eq!(shelf.size(), (0, 0));
    }
}
