//! One image: what is known of it, and the task that keeps that true.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::error::{Error, ErrorCode};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::name::Reference;
use super::{ImageId, Shared};
use crate::docker::daemon::{Fault, Progress};

/// Layers of one pull whose progress is followed.
const LAYERS: usize = 256;
/// Between lines in the log about one pull.
const NEWS: Duration = Duration::from_secs(10);
/// How long until the daemon is asked again when it did not answer.
const AWAY: Duration = Duration::from_secs(1);

/// What is known of an image.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Nothing yet: the daemon is being asked.
    Unknown,
    /// It is there.
    Present(ImageId),
    /// It is being fetched, or waits for its turn; how far in percent.
    Pulling(Option<u8>),
    /// It is not there, for this reason, until the next try.
    Missing { why: String, next: Option<Instant> },
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => out.write_str("is being looked up"),
            Self::Present(_) => out.write_str("is there"),
            Self::Pulling(None) => out.write_str("is being pulled"),
            Self::Pulling(Some(percent)) => write!(out, "is being pulled ({percent} %)"),
            Self::Missing { why, next: None } => write!(out, "is missing: {why}"),
            Self::Missing {
                why,
                next: Some(next),
            } => {
                let left = next.saturating_duration_since(Instant::now()).as_secs();
                write!(out, "is missing: {why}; next try in {} s", left.max(1))
            }
        }
    }
}

/// An image that is kept an eye on.
#[derive(Debug)]
pub(super) struct Entry {
    /// As tools and the configuration write it.
    pub(super) name: String,
    reference: Reference,
    pub(super) state: watch::Sender<State>,
    /// Number of the last use, for the order in which entries are forgotten.
    used: AtomicU64,
    pub(super) look: Notify,
    pub(super) closed: CancellationToken,
}

impl Entry {
    pub(super) fn new(name: &str, reference: Reference, closed: CancellationToken) -> Self {
        Self {
            name: name.to_owned(),
            reference,
            state: watch::Sender::new(State::Unknown),
            used: AtomicU64::new(0),
            look: Notify::new(),
            closed,
        }
    }

    pub(super) fn touch(&self, number: u64) {
        self.used.store(number, Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The image, if it is there.
    ///
    /// # Errors
    /// `unavailable`: names the image and what is being done about it.
    pub(super) fn resolve(&self) -> Result<ImageId, Error> {
        let state = self.state.borrow();
        if let State::Present(id) = &*state {
            return Ok(id.clone());
        }
        let message = format!("the image `{}` {}", self.name, *state);
        let error = Error::new(ErrorCode::Unavailable, message);
        Err(match &*state {
            State::Missing { next, .. } => {
                let error = error.with_fix("the tool's image has to be one that can be pulled");
                match next {
                    Some(next) => {
                        error.with_retry_after(next.saturating_duration_since(Instant::now()))
                    }
                    None => error,
                }
            }
            _ => error.with_fix("try again in a few seconds"),
        })
    }

    /// Keeps the state true until it is closed.
    pub(super) async fn tend(&self, shared: &Shared) {
        let timing = &shared.timing;
        let mut pause = timing.backoff[0];
        loop {
            let rest = match shared.daemon.image(self.reference.as_str()).await {
                Ok(Some(facts)) => {
                    pause = timing.backoff[0];
                    self.set(shared, State::Present(facts.into()));
                    timing.refresh
                }
                Ok(None) => match self.fetch(shared).await {
                    Ok(()) => continue,
                    Err(fault) => {
                        let rest = pause;
                        pause = (pause * 2).min(timing.backoff[1]);
                        let why = match fault {
                            Fault::Refused { message, .. } => message,
                            other => other.to_string(),
                        };
                        tracing::warn!(image = self.name, why, "an image could not be pulled");
                        let next = self.pullable().then(|| Instant::now() + rest);
                        self.set(shared, State::Missing { why, next });
                        rest
                    }
                },
                Err(fault) => {
                    // What was known before stays so: the daemon comes back with its images.
                    if !matches!(*self.state.borrow(), State::Present(_)) {
                        let (why, next) = (fault.to_string(), Some(Instant::now() + AWAY));
                        self.set(shared, State::Missing { why, next });
                    }
                    AWAY
                }
            };
            tokio::select! {
                () = sleep(rest) => {}
                () = self.look.notified() => {}
            }
        }
    }

    fn pullable(&self) -> bool {
        matches!(self.reference, Reference::Name(_))
    }

    async fn fetch(&self, shared: &Shared) -> Result<(), Fault> {
        if !self.pullable() {
            let why = "the daemon has no image with this ID, and an ID cannot be pulled";
            return Err(Fault::Answer(why.to_owned()));
        }
        self.set(shared, State::Pulling(None));
        let Ok(_turn) = shared.pulls.acquire().await else {
            return Err(Fault::Down("the engine is stopped".to_owned()));
        };
        let started = Instant::now();
        tracing::info!(image = self.name, "an image is pulled");
        let mut layers: HashMap<String, (i64, i64)> = HashMap::new();
        let mut told = started;
        let news = |line: Progress<'_>| {
            if line.total > 0 && (layers.len() < LAYERS || layers.contains_key(line.layer)) {
                layers.insert(line.layer.to_owned(), (line.current, line.total));
            }
            let done: i64 = layers.values().map(|layer| layer.0.min(layer.1)).sum();
            let total: i64 = layers.values().map(|layer| layer.1).sum();
            let percent = (total > 0).then(|| (done.max(0) * 100 / total).clamp(0, 100));
            let percent = percent.and_then(|percent| u8::try_from(percent).ok());
            self.state.send_replace(State::Pulling(percent));
            if told.elapsed() >= NEWS {
                told = Instant::now();
                tracing::info!(
                    image = self.name,
                    percent,
                    status = line.status,
                    "still pulling"
                );
            }
        };
        let reference = self.reference.as_str();
        let pulled = shared
            .daemon
            .pull(reference, shared.timing.pull, news)
            .await;
        let outcome = if pulled.is_ok() { "ok" } else { "failed" };
        let seconds = started.elapsed().as_secs_f64();
        let histogram = &shared.metrics.image_pull_duration;
        histogram.with_label_values(&[outcome]).observe(seconds);
        if pulled.is_ok() {
            tracing::info!(image = self.name, seconds, "an image was pulled");
        }
        pulled
    }

    /// Changes the state; tells those who hold containers of it when its ID is another one now.
    fn set(&self, shared: &Shared, state: State) {
        let id = |state: &State| match state {
            State::Present(id) => Some(id.clone()),
            _ => None,
        };
        let now = id(&state);
        let was = id(&self.state.send_replace(state));
        if was == now {
            return;
        }
        if let (Some(was), Some(now)) = (&was, &now) {
            tracing::info!(image = self.name, %was, %now, "the image's name means another image now");
        }
        shared.changed();
    }
}
