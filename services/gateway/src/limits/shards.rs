//! A bounded map of limiters in parts, so that callers do not wait for each other.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Parts of the map, each with a lock of its own.
const SHARDS: usize = 16;
/// How often a full part looks for idle entries, which takes up to a millisecond.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What can be forgotten.
pub(crate) trait Idle {
    /// Whether a new one would be just as good.
    fn is_idle(&self, now: Instant) -> bool;
}

/// A name in the map: 128 bits of a hash that nobody outside can predict. Names themselves, which
/// callers choose, are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(u128);

/// Keeps one `V` for each name, at most so many. Beyond it idle ones are forgotten, and if there is
/// none, all new names share one.
#[derive(Debug)]
pub(crate) struct Shards<V> {
    random: [RandomState; 2],
    shards: Box<[Mutex<Shard<V>>]>,
    most: usize,
    shared: Arc<V>,
    /// Whether there ever was a name.
    used: AtomicBool,
}

#[derive(Debug)]
struct Shard<V> {
    known: HashMap<u128, Arc<V>>,
    swept: Option<Instant>,
}

impl<V: Idle> Shards<V> {
    /// For at most about `most` names; `shared` is for those beyond.
    pub(crate) fn new(most: usize, shared: V) -> Self {
        let empty = || Shard {
            known: HashMap::new(),
            swept: None,
        };
        Self {
            random: [RandomState::new(), RandomState::new()],
            shards: (0..SHARDS).map(|_| Mutex::new(empty())).collect(),
            most: most.div_ceil(SHARDS),
            shared: Arc::new(shared),
            used: AtomicBool::new(false),
        }
    }

    /// Whether there was never a name: of most limits on misuse there is none.
    pub(crate) fn is_unused(&self) -> bool {
        !self.used.load(Ordering::Acquire)
    }

    pub(crate) fn key(&self, name: impl Hash) -> Key {
        let [low, high] = self.random.each_ref();
        let (low, high) = (low.hash_one(&name), high.hash_one(&name));
        Key(u128::from(high) << 64 | u128::from(low))
    }

    fn shard(&self, key: Key) -> &Mutex<Shard<V>> {
        let at = (key.0 % SHARDS as u128) as usize;
        &self.shards[at]
    }

    /// The one of this name, if it is known.
    pub(crate) fn find(&self, key: Key) -> Option<Arc<V>> {
        self.shard(key).lock().known.get(&key.0).cloned()
    }

    /// The one of this name, made if there is none; the shared one while the map is full.
    pub(crate) fn entry(&self, key: Key, now: Instant, make: impl FnOnce() -> V) -> Arc<V> {
        self.own(key, now, make)
            .unwrap_or_else(|| Arc::clone(&self.shared))
    }

    /// The one of this name, made if there is none; `None` while the map is full.
    pub(crate) fn own(&self, key: Key, now: Instant, make: impl FnOnce() -> V) -> Option<Arc<V>> {
        let mut shard = self.shard(key).lock();
        if let Some(known) = shard.known.get(&key.0) {
            return Some(Arc::clone(known));
        }
        if shard.known.len() >= self.most {
            shard.forget_idle(now);
        }
        if shard.known.len() >= self.most {
            return None;
        }
        self.used.store(true, Ordering::Release);
        let made = Arc::new(make());
        shard.known.insert(key.0, Arc::clone(&made));
        Some(made)
    }

    /// How many are known.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|one| one.lock().known.len()).sum()
    }

    /// Every one, the shared one last.
    pub(crate) fn all(&self) -> Vec<Arc<V>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().known.values().cloned());
        }
        all.push(Arc::clone(&self.shared));
        all
    }
}

impl<V: Idle> Shard<V> {
    fn forget_idle(&mut self, now: Instant) {
        let swept = self.swept.map(|at| now.saturating_duration_since(at));
        if swept.is_some_and(|since| since < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        // Whoever holds one is about to count on it.
        self.known
            .retain(|_, one| Arc::strong_count(one) > 1 || !one.is_idle(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Busy(Mutex<bool>);

    impl Idle for Busy {
        fn is_idle(&self, _: Instant) -> bool {
            !*self.0.lock()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_and_idle_ones_make_room() {
        let busy = || Busy(Mutex::new(true));
        let map = Shards::new(160, busy());
        let mut shared = 0;
        for name in 0..10_000 {
            let one = map.entry(map.key(name), Instant::now(), busy);
            shared += usize::from(Arc::ptr_eq(&one, &map.shared));
        }
        assert_eq!((map.len(), shared), (160, 9_840));
        assert!(map.find(map.key("stranger")).is_none());

        for one in map.all() {
            *one.0.lock() = false;
        }
        let held = map.all().remove(0);
        let now = Instant::now();
        let early = map.entry(map.key("early"), now, busy);
        assert!(
            Arc::ptr_eq(&early, &map.shared),
            "it was looked at just now"
        );
        tokio::time::advance(SWEEP_EVERY).await;
        for name in 0..1_000 {
            map.entry(map.key(("late", name)), Instant::now(), busy);
        }
        assert!(
            map.all().iter().any(|one| Arc::ptr_eq(one, &held)),
            "what is held is not forgotten"
        );
        assert_eq!(map.len(), 160);
    }
}
