//! A service that restarts is away for a moment. What provably never reached it may wait for it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long after it was first missed requests wait for a service. Later they fail at once: it does not
/// restart, it is away.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause before a request is tried again.
pub(crate) const AGAIN: Duration = Duration::from_millis(40);

/// Since when a service cannot be reached. A clone is of the same service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outage(Arc<Mutex<Option<Instant>>>);

impl Outage {
    /// A request did not reach the service: whether it may be tried again.
    pub(crate) fn missed(&self) -> bool {
        let mut since = self.0.lock();
        since.get_or_insert_with(Instant::now).elapsed() < PATIENCE
    }

    /// The service has answered something.
    pub(crate) fn over(&self) {
        // Nearly always it is `None` already, and then nobody waits for the lock for long.
        *self.0.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_ends_until_the_service_is_back() {
        let outage = Outage::default();
        assert!(outage.missed());
        tokio::time::advance(PATIENCE / 2).await;
        assert!(outage.clone().missed());
        tokio::time::advance(PATIENCE / 2).await;
        assert!(!outage.missed());
        assert!(!outage.missed(), "an outage that lasts has no second grace");
        outage.over();
        assert!(outage.missed());
    }
}
