//! Word that something changed: a reason to look at the store, which alone is the truth.

use domain::CatalogVersion;
use tokio::sync::watch;

/// Wakes those who follow a store. A hint that comes twice or for nothing costs a look; one that is
/// lost is made up for by the followers' own poll.
#[derive(Debug)]
pub struct Hints {
    catalogue: watch::Sender<CatalogVersion>,
    fleet: watch::Sender<u64>,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            catalogue: watch::Sender::new(CatalogVersion::default()),
            fleet: watch::Sender::new(0),
        }
    }
}

impl Hints {
    /// Tells that the catalogue is at `version`; false when a version as new was told before.
    pub fn announce(&self, version: CatalogVersion) -> bool {
        self.catalogue.send_if_modified(|newest| {
            let newer = version > *newest;
            if newer {
                *newest = version;
            }
            newer
        })
    }

    /// Tells that the catalogue was replaced by one that is at the older `version`.
    pub fn start_again(&self, version: CatalogVersion) {
        self.catalogue.send_replace(version);
    }

    /// Tells that an executor joined, left or changed.
    pub fn fleet_changed(&self) {
        self.fleet
            .send_modify(|ticks| *ticks = ticks.wrapping_add(1));
    }

    /// Follows the catalogue: the newest version that was told of.
    #[must_use]
    pub fn catalogue(&self) -> watch::Receiver<CatalogVersion> {
        self.catalogue.subscribe()
    }

    /// Follows the fleet: a number that changes with it.
    #[must_use]
    pub fn fleet(&self) -> watch::Receiver<u64> {
        self.fleet.subscribe()
    }
}
