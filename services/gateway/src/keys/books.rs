//! What is known of keys, and the snapshot that is made from it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use domain::CatalogVersion;
use domain::keys::{KeptKey, KeyChange, KeyPrefix};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Held, Life};

/// Every key by its prefix.
pub(super) type Snapshot = HashMap<KeyPrefix, Arc<Held>>;

#[derive(Debug, Default)]
pub(super) struct Books {
    live: Snapshot,
    /// All keys anew, while they arrive; readers see them when they are complete.
    staging: Option<Snapshot>,
    /// Keys of the configuration: they are there whatever the registry says.
    of_file: Snapshot,
    /// Everything up to here is in `live`.
    pub(super) synced: CatalogVersion,
}

impl Books {
    pub(super) fn new(of_file: Vec<KeptKey>) -> Self {
        let of_file = of_file.into_iter().map(|key| {
            let held = held(key, None);
            (held.key.record.prefix, held)
        });
        Self {
            of_file: of_file.collect(),
            ..Self::default()
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut all = self.live.clone();
        for (prefix, held) in &self.of_file {
            all.insert(*prefix, Arc::clone(held));
        }
        all
    }

    /// The keys that the registry keeps.
    pub(super) fn of_registry(&self) -> impl Iterator<Item = &Arc<Held>> {
        self.live.values()
    }

    /// Forgets half of a whole that was arriving when a feed broke.
    pub(super) fn begin(&mut self) -> CatalogVersion {
        self.staging = None;
        self.synced
    }

    /// Takes a step of the feed. Says whether everything was sent.
    pub(super) fn take(&mut self, change: KeyChange) -> bool {
        match change {
            KeyChange::Reset => self.staging = Some(Snapshot::new()),
            KeyChange::Put(key) => {
                let prefix = key.record.prefix;
                let held = held(*key, self.live.get(&prefix));
                if let Some(staging) = &mut self.staging {
                    staging.insert(prefix, held);
                } else {
                    self.live.insert(prefix, held);
                }
            }
            KeyChange::Synced(version) => {
                if let Some(whole) = self.staging.take() {
                    let before = std::mem::replace(&mut self.live, whole);
                    for (prefix, old) in before {
                        if !self.live.contains_key(&prefix) {
                            old.life.over.cancel();
                        }
                    }
                }
                self.synced = version;
                return true;
            }
        }
        false
    }
}

/// A key with the life that it had before.
fn held(key: KeptKey, before: Option<&Arc<Held>>) -> Arc<Held> {
    let life = match before {
        Some(before) if before.digest == key.digest => Arc::clone(&before.life),
        // Another key that was given the same prefix after the first was forgotten.
        other => {
            if let Some(other) = other {
                other.life.over.cancel();
            }
            Arc::new(Life {
                over: CancellationToken::new(),
                used_at: AtomicI64::new(0),
                told: AtomicI64::new(0),
            })
        }
    };
    let held = Held {
        digest: key.digest,
        principal: Arc::new(key.record.principal()),
        key,
        life,
    };
    held.end(Timestamp::now());
    Arc::new(held)
}

impl Held {
    /// Ends what goes on by a key that does not work any more.
    pub(super) fn end(&self, now: Timestamp) {
        if !self.key.record.state(now).works() {
            self.life.over.cancel();
        }
    }
}
