//! The issuer's keys as they are known now, and the task that keeps them fresh.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument as _;

use super::fetch::{FetchError, Fetched, Source};
use super::key_set::KeySet;

/// How often keys are fetched when the issuer does not say.
const REFRESH: Duration = Duration::from_secs(300);
/// The bounds of what it may say. An old key that the issuer has removed is good for that long.
const REFRESH_BOUNDS: [Duration; 2] = [Duration::from_secs(120), Duration::from_secs(900)];
/// After a failure while keys are known.
const RETRY: Duration = Duration::from_secs(90);
/// After the first failure while no keys are known; doubled up to [`COOL_DOWN`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// At most one fetch in this time because of a key that is not known.
const COOL_DOWN: Duration = Duration::from_secs(60);
/// How long a caller with an unknown key waits for such a fetch.
const WAIT: Duration = Duration::from_millis(900);
/// How long keys are believed when they cannot be fetched again.
const STALE: Duration = Duration::from_secs(3600);

/// A key set in force.
pub(crate) struct Known {
    pub(crate) keys: KeySet,
    /// Another number whenever the keys have changed.
    pub(crate) generation: u64,
    fetched: Option<Instant>,
}

/// The keys of one issuer.
pub(crate) struct IssuerKeys {
    known: ArcSwapOption<Known>,
    /// `None` for keys from the configuration: they never change.
    source: Option<Source>,
    demand: Mutex<Demand>,
    wanted: Notify,
    /// Counts the fetches that have ended.
    ended: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Demand {
    /// A fetch runs or is about to.
    under_way: bool,
    last: Option<Instant>,
}

/// What is known of the issuer's keys, for the health page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHealth {
    /// Keys that can be used now.
    pub usable: usize,
    /// How long ago they were fetched; `None` when never, or for keys from the configuration.
    pub age: Option<Duration>,
    /// Why no token can be checked; `None` when tokens can.
    pub failure: Option<&'static str>,
}

impl IssuerKeys {
    pub(crate) fn fixed(keys: KeySet, metrics: Arc<Metrics>) -> Self {
        let known = Known {
            keys,
            generation: 0,
            fetched: None,
        };
        Self::new(Some(known), None, metrics)
    }

    pub(crate) fn remote(source: Source, metrics: Arc<Metrics>) -> Self {
        Self::new(None, Some(source), metrics)
    }

    fn new(known: Option<Known>, source: Option<Source>, metrics: Arc<Metrics>) -> Self {
        Self {
            known: ArcSwapOption::from_pointee(known),
            demand: Mutex::new(Demand {
                // The first fetch comes with the start of the task.
                under_way: source.is_some(),
                last: None,
            }),
            source,
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
            metrics,
        }
    }

    /// Whether they come from an issuer, and so have to be kept fresh.
    pub(crate) fn is_remote(&self) -> bool {
        self.source.is_some()
    }

    /// The keys, as long as they can be believed.
    pub(crate) fn now(&self) -> Option<Arc<Known>> {
        let known = self.known.load_full()?;
        let stale = known.fetched.is_some_and(|at| at.elapsed() > STALE);
        (!stale && known.keys.len() > 0).then_some(known)
    }

    /// Waits, a short time only, for keys other than those known now. False when there is nothing
    /// to wait for: no fetch is under way, and another one is not due yet.
    pub(crate) async fn news(&self) -> bool {
        let mut ended = self.ended.subscribe();
        if !self.demand() {
            return false;
        }
        matches!(timeout(WAIT, ended.changed()).await, Ok(Ok(())))
    }

    /// Asks for a fetch, unless there was one on demand within the cool-down. Whether one is under
    /// way.
    fn demand(&self) -> bool {
        if self.source.is_none() {
            return false;
        }
        let mut demand = self.demand.lock();
        if demand.under_way {
            return true;
        }
        if demand.last.is_some_and(|last| last.elapsed() < COOL_DOWN) {
            return false;
        }
        demand.last = Some(Instant::now());
        demand.under_way = true;
        drop(demand);
        self.wanted.notify_one();
        true
    }

    /// Keeps the keys fresh for ever; returns at once for keys from the configuration.
    pub(crate) async fn refresh(&self) {
        let Some(source) = &self.source else { return };
        let mut unknown_for = 0;
        loop {
            let span = tracing::debug_span!("fetch issuer keys", host = source.host());
            let fetched = source.fetch().instrument(span).await;
            let next = self.take(fetched, &mut unknown_for);
            self.demand.lock().under_way = false;
            self.ended.send_modify(|count| *count += 1);
            tokio::select! {
                biased;
                () = self.wanted.notified() => {}
                () = sleep(next) => self.demand.lock().under_way = true,
            }
        }
    }

    /// Takes the outcome of a fetch over; says when the next one is due.
    fn take(&self, fetched: Result<Fetched, FetchError>, unknown_for: &mut u32) -> Duration {
        let outcome = match &fetched {
            Ok(_) => "ok",
            Err(error) => error.outcome(),
        };
        self.metrics
            .jwks_fetches
            .with_label_values(&[outcome])
            .inc();
        match fetched {
            Ok(Fetched { keys, max_age }) => {
                *unknown_for = 0;
                self.replace(keys);
                let [shortest, longest] = REFRESH_BOUNDS;
                max_age.unwrap_or(REFRESH).clamp(shortest, longest)
            }
            Err(error) => {
                let known = self.now().is_some();
                tracing::warn!(
                    %error,
                    known_keys_are_used = known,
                    "the keys of the token issuer could not be fetched"
                );
                if known {
                    return RETRY;
                }
                let wait = FIRST_RETRY * 2_u32.pow((*unknown_for).min(6));
                *unknown_for += 1;
                wait.min(COOL_DOWN)
            }
        }
    }

    fn replace(&self, keys: KeySet) {
        let before = self.known.load_full();
        let generation = match &before {
            Some(before) if before.keys == keys => before.generation,
            Some(before) => before.generation + 1,
            None => 0,
        };
        let changed = before.is_none_or(|before| before.generation != generation);
        if keys.len() == 0 {
            tracing::error!(
                "the token issuer has no key that can be used: RSA with 2048-8192 bits, EC P-256, \
                 EC P-384 or Ed25519, for signatures; no token is accepted"
            );
        } else if changed {
            tracing::info!(keys = keys.len(), "the keys of the token issuer are known");
        }
        let known = Known {
            keys,
            generation,
            fetched: Some(Instant::now()),
        };
        self.known.store(Some(Arc::new(known)));
    }

    pub(crate) fn health(&self) -> KeyHealth {
        let known = self.known.load();
        let usable = self.now().map_or(0, |known| known.keys.len());
        let failure = match (usable, known.as_ref()) {
            (1.., _) => None,
            (0, None) => Some("the issuer's keys have not been fetched yet"),
            (0, Some(known)) if known.keys.len() == 0 => Some("the issuer has no usable key"),
            (0, Some(_)) => Some("the issuer's keys could not be fetched for an hour"),
        };
        KeyHealth {
            usable,
            age: known
                .as_ref()
                .and_then(|known| Some(known.fetched?.elapsed())),
            failure,
        }
    }
}

#[cfg(test)]
impl IssuerKeys {
    /// Counts the fetches that have ended.
    pub(super) fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }
}
