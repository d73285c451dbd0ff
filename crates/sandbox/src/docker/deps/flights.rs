//! Work that many wait for and that is done once. It goes on when those who wait give up: the next
//! one who asks finds it begun.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use domain::error::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// Different things that are done or wait at the same time; more are refused.
const MOST: usize = 64;

type Ended<V> = watch::Receiver<Option<Result<V>>>;

/// What is being done, by what it is.
pub(super) struct Flights<K, V> {
    open: Arc<Mutex<HashMap<K, Ended<V>>>>,
    tasks: TaskTracker,
}

impl<K, V> Flights<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self {
            open: Arc::default(),
            tasks,
        }
    }

    /// Waits for the end of the work on `key`, which is begun if it is not on its way.
    ///
    /// # Errors
    /// The work's own; `timeout` at the deadline, when it goes on; `overloaded`.
    pub(super) async fn join<F>(
        &self,
        key: &K,
        deadline: Instant,
        work: impl FnOnce() -> F,
    ) -> Result<V>
    where
        F: Future<Output = Result<V>> + Send + 'static,
    {
        let mut ended = self.enter(key, work)?;
        let waited = timeout_at(deadline, ended.wait_for(Option::is_some)).await;
        match waited {
            Ok(Ok(result)) => match &*result {
                Some(result) => result.clone(),
                None => Err(gone()),
            },
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(Error::new(
                ErrorCode::Timeout,
                "the packages were not there in time; nothing has run",
            )
            .with_fix("they are being fetched still: try again in a while")),
        }
    }

    fn enter<F>(&self, key: &K, work: impl FnOnce() -> F) -> Result<Ended<V>>
    where
        F: Future<Output = Result<V>> + Send + 'static,
    {
        let mut open = self.open.lock();
        if let Some(ended) = open.get(key) {
            return Ok(ended.clone());
        }
        if open.len() >= MOST || self.tasks.is_closed() {
            return Err(Error::new(
                ErrorCode::Overloaded,
                "too many packages are being installed",
            )
            .with_retry_after(std::time::Duration::from_secs(2)));
        }
        let (tell, ended) = watch::channel(None);
        open.insert(key.clone(), ended.clone());
        let landed = Landed {
            key: key.clone(),
            open: Arc::clone(&self.open),
        };
        let work = work();
        self.tasks.spawn(async move {
            let result = work.await;
            // From here on the next one begins anew, unless it finds what was done.
            drop(landed);
            tell.send_replace(Some(result));
        });
        Ok(ended)
    }
}

fn gone() -> Error {
    Error::unavailable("installer of packages")
}

struct Landed<K: Hash + Eq, V> {
    key: K,
    open: Arc<Mutex<HashMap<K, Ended<V>>>>,
}

impl<K: Hash + Eq, V> Drop for Landed<K, V> {
    fn drop(&mut self) {
        self.open.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fault_67_many_who_ask_at_once_get_one_and_who_gives_up_stops_nobody() {
        let flights = Flights::new(TaskTracker::new());
        let count = Arc::new(AtomicUsize::new(0));
        let work = || {
            let count = Arc::clone(&count);
            async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Ok(count.fetch_add(1, Ordering::Relaxed))
            }
        };
        let soon = Instant::now() + Duration::from_secs(1);
        let error = flights.join(&"a", soon, work).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout);
        let later = Instant::now() + Duration::from_secs(60);
        let all = (0..100).map(|_| flights.join(&"a", later, work));
        for result in futures::future::join_all(all).await {
            assert_eq!(result.unwrap(), 0);
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
        // A failure is everybody's who waited, and nobody's afterwards.
        let fails = || async { Err(Error::unavailable("x")) };
        flights.join(&"a", later, fails).await.unwrap_err();
        assert_eq!(flights.join(&"a", later, work).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn fault_68_what_waits_is_bounded() {
        let flights = Flights::<usize, ()>::new(TaskTracker::new());
        let later = Instant::now() + Duration::from_secs(1);
        let never = std::future::pending::<Result<()>>;
        let all = (0..MOST + 1).map(|key| {
            let flights = &flights;
            async move { flights.join(&key, later, never).await.unwrap_err().code() }
        });
        let all = futures::future::join_all(all).await;
        assert_eq!(
            all.iter()
                .filter(|code| **code == ErrorCode::Overloaded)
                .count(),
            1
        );
    }
}
