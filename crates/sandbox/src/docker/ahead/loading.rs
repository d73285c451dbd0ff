//! Having packages loaded in a container that waits, and giving up on those that are not fit for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::runner::Call;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::Ahead;
use crate::docker::deps::Deps;
use crate::docker::frames::Piece;
use crate::docker::pool::Key;
use crate::docker::sandbox::Sandbox;
use crate::output::parsed;
use crate::wire::{self, FromChild, NO_CALL, Thrown, ToChild};

/// How long the loading may take: the container's own limits hold meanwhile.
const LOAD_TIME: Duration = Duration::from_secs(10);

/// How long is waited for an install that goes on. Nobody waits for that container.
const INSTALL_TIME: Duration = Duration::from_secs(30);

/// Containers in which packages are loaded at the same time. There is no queue: one that finds no place
/// waits for its call without.
const AT_ONCE: usize = 8;

/// Failures of one kind of container after which nothing is loaded in it.
const FAILURES: u32 = 3;

/// For how long then, and after how long without one they are forgotten.
const BAN: Duration = Duration::from_secs(3_600);

/// Failures that come together, as when the daemon goes, are one: at most one is counted in this time.
const TOGETHER: Duration = Duration::from_secs(1);

/// Kinds whose failures are remembered.
const KINDS: usize = 1_024;

/// How long a container has to be silent then. What it wrote last may come after what its agent says.
const SILENCE: Duration = Duration::from_millis(50);

/// Largest frame of an agent that has loaded something, or has not.
const MAX_PAYLOAD: usize = 64 << 10;

/// Longest reason that is logged, in characters.
const MAX_REASON: usize = 300;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::docker) enum Loading {
    /// All of it is there, and the container waits as quietly as before.
    Loaded,
    /// An error, or something was left that is not to be there while it waits, or it printed.
    Unfit,
    /// It was not done in time.
    Late,
    /// The container ended, then or while it waited.
    Died,
    /// It used the CPU while it waited.
    Busy,
}

impl Loading {
    /// As the metric names it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Unfit => "unfit",
            Self::Late => "late",
            Self::Died => "died",
            Self::Busy => "busy",
        }
    }
}

/// Loads packages in containers. Cheap to clone.
#[derive(Clone)]
pub(in crate::docker) struct Loader(Arc<Inner>);

struct Inner {
    is_on: bool,
    deps: Deps,
    metrics: Arc<Metrics>,
    places: Semaphore,
    failed: Mutex<HashMap<Key, Failed>>,
}

impl fmt::Debug for Loader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Loader({} kinds failed)", self.0.failed.lock().len())
    }
}

/// How often it failed for one kind.
#[derive(Debug, Clone, Copy)]
struct Failed {
    count: u32,
    /// When one was counted last.
    counted: Instant,
    last: Instant,
}

impl Failed {
    const fn first(now: Instant) -> Self {
        Self {
            count: 1,
            counted: now,
            last: now,
        }
    }

    /// Says whether it was counted.
    fn again(&mut self, now: Instant) -> bool {
        let counts = now.duration_since(self.counted) >= TOGETHER;
        if counts {
            self.count += 1;
            self.counted = now;
        }
        self.last = now;
        counts
    }
}

impl Loader {
    /// Nothing has failed yet.
    pub(in crate::docker) fn new(is_on: bool, deps: Deps, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            is_on,
            deps,
            metrics,
            places: Semaphore::new(AT_ONCE),
            failed: Mutex::default(),
        }))
    }

    /// What is to be loaded before calls like this one.
    pub(in crate::docker) fn of(&self, call: &Call) -> Ahead {
        if self.0.is_on {
            Ahead::of(call)
        } else {
            Ahead::default()
        }
    }

    /// Whether something is to be loaded in containers of this kind.
    pub(in crate::docker) fn wants(&self, key: &Key) -> bool {
        if key.ahead.is_empty() {
            return false;
        }
        let mut failed = self.0.failed.lock();
        match failed.get(key) {
            Some(it) if it.last.elapsed() >= BAN => {
                failed.remove(key);
                true
            }
            Some(it) => it.count < FAILURES,
            None => true,
        }
    }

    /// Has it done. Gives the container back if it can be handed out: with the packages, or as it was
    /// when this was not the time for it. Bounded in time.
    pub(in crate::docker) async fn load(&self, key: &Key, mut sandbox: Sandbox) -> Option<Sandbox> {
        let packages = key.deps.as_ref()?;
        let is_there = timeout(INSTALL_TIME, self.0.deps.is_installed(packages));
        if !matches!(is_there.await, Ok(true)) {
            return Some(sandbox);
        }
        let Ok(_place) = self.0.places.try_acquire() else {
            return Some(sandbox);
        };
        let frame = wire::encode_to_child(ToChild::Load, &[&key.ahead.json()])?;
        let begun = Instant::now();
        let done = async {
            if sandbox.write(&frame).await.is_err() {
                return Err((Loading::Died, "it ended".to_owned()));
            }
            answer(&mut sandbox).await
        };
        let done = timeout(LOAD_TIME, done).await;
        let done = done.unwrap_or_else(|_| {
            let reason = format!("it was not done after {LOAD_TIME:?}");
            Err((Loading::Late, reason))
        });
        self.0
            .metrics
            .load_ahead_duration
            .with_label_values(&[key.language()])
            .observe(begun.elapsed().as_secs_f64());
        match done {
            Ok(()) => {
                self.count(key, Loading::Loaded);
                sandbox.loaded = Some(Box::new((self.clone(), key.clone())));
                Some(sandbox)
            }
            Err((what, reason)) => {
                self.failed(key, what, &reason);
                None
            }
        }
    }

    fn count(&self, key: &Key, what: Loading) {
        let labels = [key.language(), what.as_str()];
        self.0.metrics.loads_ahead.with_label_values(&labels).inc();
    }

    /// A container of this kind is lost because of what was loaded in it.
    pub(in crate::docker) fn failed(&self, key: &Key, what: Loading, reason: &str) {
        self.count(key, what);
        let now = Instant::now();
        let is_last = {
            let mut failed = self.0.failed.lock();
            if failed.len() >= KINDS && !failed.contains_key(key) {
                // The one whose failure is longest ago: a ban of it ends early.
                let oldest = failed.iter().min_by_key(|(_, it)| it.last);
                if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                    failed.remove(&oldest);
                }
            }
            match failed.entry(key.clone()) {
                Entry::Occupied(mut it) => it.get_mut().again(now) && it.get().count == FAILURES,
                Entry::Vacant(it) => {
                    it.insert(Failed::first(now));
                    false
                }
            }
        };
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let (packages, outcome) = (&key.ahead, what.as_str());
        if is_last {
            tracing::warn!(
                %packages, outcome, reason,
                "packages are not loaded ahead of calls for an hour: each call loads them itself"
            );
        } else {
            tracing::info!(%packages, outcome, reason, "packages could not be loaded ahead of a call");
        }
    }
}

/// What the agent says of it. Whatever else comes out of the container was printed by a package, and
/// would be missing in what the call prints.
async fn answer(sandbox: &mut Sandbox) -> Result<(), (Loading, String)> {
    said(sandbox).await?;
    match timeout(SILENCE, said(sandbox)).await {
        Err(_) => Ok(()),
        Ok(Ok(())) => Err((Loading::Unfit, "it speaks out of turn".to_owned())),
        Ok(Err(more)) => Err(more),
    }
}

async fn said(sandbox: &mut Sandbox) -> Result<(), (Loading, String)> {
    match sandbox.frames.next(&NO_CALL, MAX_PAYLOAD).await {
        Ok(Some(Piece::Frame(FromChild::Ready, _))) => Ok(()),
        Ok(Some(Piece::Frame(FromChild::Failure, payload))) => {
            let told = parsed::<Thrown>(&payload).map(|thrown| thrown.message);
            Err((Loading::Unfit, told.unwrap_or_default()))
        }
        Ok(Some(Piece::Frame(..))) => Err((Loading::Unfit, "it speaks out of turn".to_owned())),
        Ok(Some(Piece::Text(..))) => Err((Loading::Unfit, "it printed something".to_owned())),
        Ok(None) => Err((Loading::Died, "it ended".to_owned())),
        Err(error) => Err((Loading::Died, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures that follow each other faster than that add up all the same: else there is no end to them.
    #[test]
    fn fault_73_failures_that_come_together_are_one_and_quick_ones_add_up() {
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let mut failed = Failed::first(begun);
        for _ in 0..8 {
            assert!(!failed.again(after(10)));
        }
        assert_eq!(failed.count, 1);
        for millis in (0..2_100).step_by(300) {
            failed.again(after(millis));
        }
        assert_eq!((failed.count, failed.last), (2, after(1_800)));
        assert!(failed.again(after(2_400)));
        assert_eq!(failed.count, FAILURES);
    }
}
