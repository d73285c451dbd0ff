//! Keeping the ring: following the registry's feed for as long as the gateway lives, ending what goes
//! on by keys whose time is over, and telling the registry which keys were used.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::keys::{KeyUse, Keys, MAX_USES};
use domain::{CallContext, Error, Result};
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::KeyRing;

/// How long the registry may take to open the feed.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// How long the feed may be silent: it speaks every two seconds. A feed that is stuck is opened again
/// soon enough for a revoked key to end within five seconds of a registry that can be reached.
const SILENT_FOR: Duration = Duration::from_millis(3_500);
/// The feed is opened anew after this long, since every call has a deadline.
const FEED_LIFETIME: Duration = Duration::from_secs(24 * 3_600);
/// First and longest pause between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(900));
/// Most changes that are taken over in one step.
const BATCH: usize = 1_024;
/// How often keys are looked at whose time may be over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often uses are told of.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long a stop waits for the last of them.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long the registry may take to note them.
const TELL_WITHIN: Duration = Duration::from_secs(5);

impl KeyRing {
    /// Keeps the ring until `closing`, and then tells the registry of the last uses.
    ///
    /// # Errors
    /// None.
    pub async fn keep(
        self: Arc<Self>,
        keys: Arc<dyn Keys>,
        closing: CancellationToken,
    ) -> Result<(), Infallible> {
        let kept = async {
            tokio::join!(self.follow(&*keys), self.sweep(), self.tell(&*keys));
        };
        closing.run_until_cancelled(kept).await;
        if timeout(LAST_WORD, self.tell_now(&*keys)).await.is_err() {
            tracing::debug!("the registry was not told of the last uses of API keys in time");
        }
        Ok(())
    }

    async fn follow(&self, keys: &dyn Keys) {
        let mut pause = PAUSES.0;
        let mut told = false;
        loop {
            let before = self.status.lock().last_sync;
            let ended = self.follow_to_the_end(keys).await;
            let synced = self.status.lock().last_sync != before;
            if synced {
                (pause, told) = (PAUSES.0, false);
                if ended.is_ok() {
                    // The registry stops, or the connection is renewed: the next feed says which.
                    continue;
                }
            }
            let broken = ended
                .err()
                .unwrap_or_else(|| Error::unavailable("registry"));
            if !told {
                tracing::warn!(error = %broken, cause = ?broken.cause(),
                    "the registry's feed of API keys broke; going on with those that are known");
                told = true;
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn follow_to_the_end(&self, keys: &dyn Keys) -> Result<()> {
        let since = self.books.lock().begin();
        let silent = |_| Error::unavailable("registry");
        let context = CallContext::service("gateway", FEED_LIFETIME);
        let feed = timeout(OPEN_WITHIN, keys.watch(&context, since))
            .await
            .map_err(silent)??;
        let mut batches = feed.ready_chunks(BATCH);
        while let Some(batch) = timeout(SILENT_FOR, batches.next()).await.map_err(silent)? {
            let mut changed = false;
            let mut synced = false;
            let mut end = None;
            {
                let mut books = self.books.lock();
                for change in batch {
                    match change {
                        Ok(change) => {
                            let all = books.take(change);
                            synced |= all;
                            changed |= !all;
                        }
                        Err(error) => end = Some(error),
                    }
                }
                if changed {
                    self.current.store(Arc::new(books.snapshot()));
                }
            }
            if synced {
                self.status.lock().last_sync = Some(Instant::now());
                self.first_sync.send_replace(true);
            }
            if let Some(error) = end {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends what goes on by keys that expire or whose overlap ends.
    async fn sweep(&self) {
        loop {
            sleep(SWEEP_EVERY).await;
            let now = Timestamp::now();
            self.current
                .load_full()
                .values()
                .for_each(|held| held.end(now));
            let (keys, age) = self.extent();
            self.metrics
                .api_keys
                .set(i64::try_from(keys).unwrap_or(i64::MAX));
            let age = age.map_or(f64::INFINITY, |age| age.as_secs_f64());
            self.metrics.api_keys_age.set(age);
        }
    }

    /// Tells the registry of uses, those of a few seconds at once.
    async fn tell(&self, keys: &dyn Keys) {
        loop {
            sleep(TELL_EVERY.mul_f64(0.8 + fastrand::f64() / 5.0)).await;
            self.tell_now(keys).await;
        }
    }

    async fn tell_now(&self, keys: &dyn Keys) {
        let uses = self.untold();
        for some in uses.chunks(MAX_USES) {
            let context = CallContext::service("gateway", TELL_WITHIN);
            match keys.touch(&context, some.to_vec()).await {
                Ok(()) => self.note_told(some),
                Err(error) => {
                    tracing::debug!(%error, "uses of API keys are told of later");
                    break;
                }
            }
        }
    }

    fn untold(&self) -> Vec<KeyUse> {
        let books = self.books.lock();
        let live = books.of_registry();
        let used = live.filter_map(|held| {
            let at = held.life.used_at.load(Ordering::Relaxed);
            let new = at > held.life.told.load(Ordering::Relaxed);
            new.then(|| Timestamp::from_millisecond(at).ok())
                .flatten()
                .map(|at| KeyUse {
                    prefix: held.key.record.prefix,
                    at,
                })
        });
        used.collect()
    }

    fn note_told(&self, uses: &[KeyUse]) {
        let snapshot = self.current.load();
        for used in uses {
            if let Some(held) = snapshot.get(&used.prefix) {
                held.life
                    .told
                    .store(used.at.as_millisecond(), Ordering::Relaxed);
            }
        }
    }
}
