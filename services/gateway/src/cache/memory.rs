//! Answers in the memory of this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use super::key::Key;

/// What an entry costs besides its bytes, roughly.
const OVERHEAD: usize = 256;

#[derive(Clone)]
struct Entry {
    bytes: Arc<[u8]>,
    ttl: Duration,
}

/// Each entry has an end of its own.
struct Ends;

impl Expiry<Key, Entry> for Ends {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

/// A cache that is bounded by bytes.
pub(super) struct Memory {
    cache: Cache<Key, Entry>,
}

impl Memory {
    pub(super) fn new(max_bytes: u64) -> Self {
        let weigh = |_: &Key, entry: &Entry| {
            u32::try_from(entry.bytes.len() + OVERHEAD).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(max_bytes)
            .expire_after(Ends)
            .build();
        Self { cache }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<[u8]>> {
        self.cache.get(key).map(|entry| entry.bytes)
    }

    pub(super) fn put(&self, key: &Key, bytes: Vec<u8>, ttl: Duration) {
        let bytes = bytes.into();
        self.cache.insert(*key, Entry { bytes, ttl });
    }

    /// Answers and bytes, roughly.
    pub(super) fn extent(&self) -> (u64, u64) {
        (self.cache.entry_count(), self.cache.weighted_size())
    }
}
