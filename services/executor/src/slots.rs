//! How many calls run at once, and how many may wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::error::{Error, ErrorCode, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// When a caller who was refused should come back.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A bounded number of slots with a bounded queue before them; who waits longest is served first.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    capacity: u32,
    waiting: AtomicUsize,
    queue: usize,
}

/// A taken slot.
#[derive(Debug)]
pub(crate) struct SlotGuard {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub(crate) fn new(capacity: u32, queue: usize) -> Self {
        let free = usize::try_from(capacity).unwrap_or(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(free.min(Semaphore::MAX_PERMITS)));
        Self {
            free,
            capacity,
            waiting: AtomicUsize::new(0),
            queue,
        }
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(crate) fn taken(&self) -> u32 {
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        self.capacity.saturating_sub(free)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes a slot, waiting at most this long.
    ///
    /// # Errors
    /// `overloaded` with a time to come back: the queue is full, or the time is over.
    pub(crate) async fn take(&self, patience: Duration) -> Result<SlotGuard> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(SlotGuard { _permit: permit });
        }
        let place = Place::take(&self.waiting, self.queue).ok_or_else(overloaded)?;
        let permit = timeout(patience, Arc::clone(&self.free).acquire_owned()).await;
        drop(place);
        match permit {
            Ok(Ok(permit)) => Ok(SlotGuard { _permit: permit }),
            // Too late, or closed, which never happens.
            Ok(Err(_)) | Err(_) => Err(overloaded()),
        }
    }

    /// Waits until no slot is taken.
    pub(crate) async fn all_free(&self) {
        let all = self
            .capacity
            .min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        // The semaphore is never closed.
        drop(self.free.acquire_many(all).await);
    }
}

fn overloaded() -> Error {
    Error::new(
        ErrorCode::Overloaded,
        "the executor runs as many calls as it can; nothing has run",
    )
    .with_fix("try again later")
    .with_retry_after(RETRY_AFTER)
}

/// A place in the queue; left when dropped, also by a caller who gives up.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, queue: usize) -> Option<Self> {
        let one_more = |count| (count < queue).then_some(count + 1);
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_and_a_long_wait_are_overloaded_with_a_time_to_come_back() {
        let slots = Arc::new(Slots::new(1, 1));
        let first = slots.take(Duration::from_secs(1)).await.unwrap();
        let waiting = Arc::clone(&slots);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { waiting.take(Duration::from_secs(5)).await.map(drop) });
        tokio::task::yield_now().await;
        assert_eq!((slots.taken(), slots.waiting()), (1, 1));

        let refused = slots.take(Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Overloaded);
        assert!(refused.retry_after().is_some());

        drop(first);
        tasks.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!((slots.taken(), slots.waiting()), (0, 0));

        let _held = slots.take(Duration::ZERO).await.unwrap();
        let late = slots.take(Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(late.code(), ErrorCode::Overloaded);
        assert_eq!(slots.waiting(), 0);
    }
}
