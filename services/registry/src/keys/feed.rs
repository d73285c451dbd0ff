//! The feed of keys: rows by version, then whatever comes, read from the store as the catalogue's is.
//! Each step holds the whole key, so that of several changes of one only the newest is sent.

use std::collections::VecDeque;
use std::sync::Arc;

use domain::keys::{KeyChange, KeyStream};
use domain::{CallContext, CatalogVersion, Error, ErrorCode, Result};
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Duration, Instant, sleep_until};

use crate::registry::Core;

/// Rows per read.
const BATCH: u32 = 512;
/// Longest time between two looks and two signs of life, whatever the settings say.
const LONGEST_POLL: Duration = Duration::from_secs(2);

struct Feed {
    core: Arc<Core>,
    hint: watch::Receiver<CatalogVersion>,
    position: CatalogVersion,
    ready: VecDeque<KeyChange>,
    next_poll: Instant,
    idle: bool,
    _permit: OwnedSemaphorePermit,
}

/// Starts a feed. The first read is made here, so that a store that is away is an error of the call
/// and not of its stream.
pub(super) async fn watch(
    core: &Arc<Core>,
    context: &CallContext,
    since: CatalogVersion,
) -> Result<KeyStream> {
    let permit = Arc::clone(&core.watchers)
        .try_acquire_owned()
        .map_err(|_| {
            Error::new(ErrorCode::Overloaded, "the registry has too many watchers")
                .with_retry_after(Duration::from_secs(5))
        })?;
    let mut feed = Feed {
        core: Arc::clone(core),
        hint: core.store.hints().catalogue(),
        position: since,
        ready: VecDeque::new(),
        next_poll: Instant::now(),
        idle: false,
        _permit: permit,
    };
    core.read(context, "key_watch", feed.read()).await?;
    Ok(stream::unfold(Some(feed), |feed| async move {
        let mut feed = feed?;
        match feed.next().await {
            Some(Ok(change)) => Some((Ok(change), Some(feed))),
            Some(Err(error)) => Some((Err(error), None)),
            None => None,
        }
    })
    .boxed())
}

impl Feed {
    async fn next(&mut self) -> Option<Result<KeyChange>> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Some(Ok(change));
            }
            if self.idle {
                let closing = self.core.closing.clone();
                tokio::select! {
                    () = closing.cancelled() => return None,
                    announced = self.hint.changed() => announced.ok()?,
                    () = sleep_until(self.next_poll) => {}
                }
            }
            let core = Arc::clone(&self.core);
            if let Err(error) = core.timed("key_changes", self.read()).await {
                return Some(Err(error));
            }
        }
    }

    /// Reads the next batch into `ready`.
    async fn read(&mut self) -> Result<()> {
        // Seen before the rows are read, so nothing that is announced meanwhile is missed.
        self.hint.mark_unchanged();
        let span = self.core.store.key_span().await?;
        if self.position < span.first || self.position > span.current {
            self.position = CatalogVersion::default();
            self.ready.push_back(KeyChange::Reset);
        }
        let batch = self.core.store.key_changes(self.position, BATCH).await?;
        self.idle = batch.len() < BATCH as usize;
        for key in batch {
            self.position = key.record.version;
            self.ready.push_back(KeyChange::Put(Box::new(key)));
        }
        if self.idle {
            // Rows were read after the span, so nothing up to either is missing.
            self.position = self.position.max(span.current);
            self.ready.push_back(KeyChange::Synced(self.position));
            let pause = self.core.settings.poll_interval.min(LONGEST_POLL);
            self.next_poll = Instant::now() + pause;
        }
        Ok(())
    }
}
