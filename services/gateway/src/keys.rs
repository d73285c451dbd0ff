//! API keys as this gateway knows them: a snapshot of their hashes, kept fresh by the registry's feed
//! and read without locks and without RPCs. While the registry is away the keys of the snapshot go on
//! working; a key that is revoked ends here within moments of the feed's word.

mod books;
mod follow;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use auth::ShownKey;
use domain::keys::{KeptKey, KeyDigest, KeyState};
use domain::principal::Principal;
use jiff::Timestamp;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::books::{Books, Snapshot};

/// The keys, and what keeps them.
#[derive(Debug)]
pub struct KeyRing {
    current: ArcSwap<Snapshot>,
    books: Mutex<Books>,
    status: Mutex<Status>,
    first_sync: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

/// What is known of the feed.
#[derive(Debug, Clone, Copy, Default)]
struct Status {
    last_sync: Option<Instant>,
}

/// A key as it is looked up.
#[derive(Debug)]
struct Held {
    digest: KeyDigest,
    principal: Arc<Principal>,
    key: KeptKey,
    life: Arc<Life>,
}

/// What outlives the changes of a key.
#[derive(Debug)]
struct Life {
    /// Cancelled when the key no longer lets anybody in.
    over: CancellationToken,
    /// When it was last used, in milliseconds since 1970; zero: never, by this gateway.
    used_at: AtomicI64,
    /// The last use that the registry was told of. Keys of the configuration are never told of.
    told: AtomicI64,
}

/// A key that lets its holder in.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The holder.
    pub(crate) principal: Arc<Principal>,
    /// How long the key still works; `None`: for ever.
    pub(crate) remaining: Option<Duration>,
    /// Cancelled when it no longer does.
    pub(crate) revoked: CancellationToken,
}

/// Why a key lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyDenied {
    /// It has not the form of one.
    Malformed,
    /// No key is like that.
    Wrong,
    /// It was revoked.
    Revoked,
    /// It has expired, or was rotated and its overlap is over.
    Expired,
    /// It is not known here, but no keys have come from the registry yet.
    Unavailable,
}

impl KeyDenied {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 5] = [
        Self::Malformed,
        Self::Wrong,
        Self::Revoked,
        Self::Expired,
        Self::Unavailable,
    ];

    /// The label of metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            KeyDenied::Malformed => "malformed",
            KeyDenied::Wrong => "wrong",
            KeyDenied::Revoked => "revoked",
            KeyDenied::Expired => "expired",
            KeyDenied::Unavailable => "keys_unavailable",
        }
    }

    /// A sentence for the client.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            KeyDenied::Malformed => "the credential has not the form of an API key",
            KeyDenied::Wrong => "the API key is not known here",
            KeyDenied::Revoked => "the API key was revoked",
            KeyDenied::Expired => "the API key has expired",
            KeyDenied::Unavailable => {
                "the API key cannot be checked now: the registry has not sent its keys yet"
            }
        }
    }
}

impl KeyRing {
    /// A ring that knows the keys of the configuration, and waits for those of the registry.
    #[must_use]
    pub fn new(of_file: Vec<KeptKey>, metrics: Arc<Metrics>) -> Self {
        let books = Books::new(of_file);
        Self {
            current: ArcSwap::from_pointee(books.snapshot()),
            books: Mutex::new(books),
            status: Mutex::default(),
            first_sync: watch::Sender::new(false),
            metrics,
        }
    }

    /// Whom this key lets in: a look into a map and one SHA-256.
    pub(crate) fn check(&self, shown: &str) -> Result<Admitted, KeyDenied> {
        let shown = ShownKey::read(shown).ok_or(KeyDenied::Malformed)?;
        let snapshot = self.current.load();
        let Some(held) = snapshot.get(&shown.prefix()) else {
            return Err(if *self.first_sync.borrow() {
                KeyDenied::Wrong
            } else {
                KeyDenied::Unavailable
            });
        };
        if !shown.is(&held.digest) {
            return Err(KeyDenied::Wrong);
        }
        let now = Timestamp::now();
        match held.key.record.state(now) {
            KeyState::Active | KeyState::Rotated => {}
            KeyState::Revoked => return Err(KeyDenied::Revoked),
            KeyState::Expired => return Err(KeyDenied::Expired),
        }
        let at = now.as_millisecond();
        held.life.used_at.store(at, Ordering::Relaxed);
        let ends = held.key.record.ends_at();
        Ok(Admitted {
            principal: Arc::clone(&held.principal),
            remaining: ends
                .map(|end| Duration::try_from(end.duration_since(now)).unwrap_or_default()),
            revoked: held.life.over.clone(),
        })
    }

    /// Waits until the registry's keys are known for the first time, at most this long. Says whether
    /// they are.
    pub async fn synced(&self, within: Duration) -> bool {
        let mut first = self.first_sync.subscribe();
        let synced = tokio::time::timeout(within, first.wait_for(|synced| *synced)).await;
        matches!(synced, Ok(Ok(_)))
    }

    /// Whether the registry's keys were ever known.
    pub(crate) fn has_synced(&self) -> bool {
        *self.first_sync.borrow()
    }

    /// How many keys are held, and how long ago they were known to be all.
    pub(crate) fn extent(&self) -> (usize, Option<Duration>) {
        let age = self.status.lock().last_sync.map(|at| at.elapsed());
        (self.current.load().len(), age)
    }
}

#[cfg(test)]
mod tests;
