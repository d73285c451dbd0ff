//! Following the registry's change feed for as long as the gateway lives.

use std::sync::Arc;
use std::time::Duration;

use domain::{CallContext, Catalog, Error, Result};
use futures::StreamExt;
use jiff::Timestamp;
use telemetry::Metrics;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Catalogue;

/// How long the registry may take to open the feed.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// How long the feed may be silent: it speaks at least every five seconds.
const SILENT_FOR: Duration = Duration::from_secs(12);
/// The feed is opened anew after this long, since every call has a deadline.
const FEED_LIFETIME: Duration = Duration::from_secs(24 * 3_600);
/// First and longest pause between attempts; a registry that comes back is followed within a
/// second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(900));
/// Most changes that are taken over in one step.
const BATCH: usize = 1_024;

impl Catalogue {
    /// Follows the feed until `stop`; a feed that breaks is opened again, from where it was.
    pub(crate) async fn follow(
        self: Arc<Self>,
        catalog: Arc<dyn Catalog>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) {
        let mut pause = PAUSES.0;
        let mut told = false;
        loop {
            let before = self.status().last_sync;
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.follow_to_the_end(&*catalog, &metrics) => ended,
            };
            let synced = self.status().last_sync != before;
            if synced && ended.is_ok() {
                // The registry stops, or the connection is renewed: the next feed says which.
                (pause, told) = (PAUSES.0, false);
                continue;
            }
            let broken = ended
                .err()
                .unwrap_or_else(|| Error::unavailable("registry"));
            self.status.lock().connected = false;
            if synced {
                (pause, told) = (PAUSES.0, false);
            }
            if !told {
                tracing::warn!(error = %broken, cause = ?broken.cause(),
                    "the registry's change feed broke; going on from the snapshot");
                told = true;
            }
            let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(jittered) => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn follow_to_the_end(&self, catalog: &dyn Catalog, metrics: &Metrics) -> Result<()> {
        let since = {
            let mut writer = self.writer.lock();
            // Half of a whole catalogue is of no use: the next feed starts from what was complete.
            writer.staging = None;
            writer.synced
        };
        let silent = |_| Error::unavailable("registry");
        let context = CallContext::service("gateway", FEED_LIFETIME);
        let feed = timeout(OPEN_WITHIN, catalog.watch(&context, since))
            .await
            .map_err(silent)??;
        let mut batches = feed.ready_chunks(BATCH);
        while let Some(batch) = timeout(SILENT_FOR, batches.next()).await.map_err(silent)? {
            let mut end = None;
            let mut changes = Vec::with_capacity(batch.len());
            for change in batch {
                match change {
                    Ok(change) => changes.push(change),
                    Err(error) => end = Some(error),
                }
            }
            let now = Timestamp::now();
            for made_at in self.apply(changes)? {
                // Clocks of two machines differ: a change from the future came at once.
                let lag = now.duration_since(made_at).as_secs_f64();
                metrics.catalogue_lag.observe(lag.max(0.0));
            }
            match end {
                Some(error) => return Err(error),
                None => self.status.lock().connected = true,
            }
        }
        Ok(())
    }
}
