//! The change feed: a replay of rows by version, then whatever comes, read from the store.
//!
//! A watcher holds its position and one batch. What is announced in the process only wakes it; it
//! always reads the store by version, so a slow watcher, another process that writes and a missed
//! announcement need no care of their own. Of several changes of one tool since the last look it
//! sees the newest.

use std::collections::VecDeque;
use std::sync::Arc;

use domain::{CallContext, CatalogChange, CatalogVersion, ChangeStream, Error, ErrorCode, Result};
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use crate::registry::Core;
use crate::store::{Change, Span};

/// Rows per read.
const BATCH: u32 = 512;

struct Feed {
    core: Arc<Core>,
    hint: watch::Receiver<CatalogVersion>,
    /// Everything up to here was sent or is in `ready`.
    position: CatalogVersion,
    /// Deletions up to here need not be sent: whoever forgot everything never heard of the tool.
    deletions_after: CatalogVersion,
    ready: VecDeque<CatalogChange>,
    next_poll: Instant,
    /// Whether the last read found the end.
    idle: bool,
    _permit: OwnedSemaphorePermit,
}

/// Starts a feed. The first read is made here, so that a store that is away is an error of the
/// call and not of its stream.
pub(crate) async fn watch(
    core: &Arc<Core>,
    context: &CallContext,
    since: CatalogVersion,
) -> Result<ChangeStream> {
    let permit = Arc::clone(&core.watchers)
        .try_acquire_owned()
        .map_err(|_| {
            Error::new(ErrorCode::Overloaded, "the registry has too many watchers")
                .with_retry_after(std::time::Duration::from_secs(5))
        })?;
    let mut feed = Feed {
        core: Arc::clone(core),
        hint: core.store.hints().catalogue(),
        position: since,
        deletions_after: CatalogVersion::default(),
        ready: VecDeque::new(),
        next_poll: Instant::now(),
        idle: false,
        _permit: permit,
    };
    core.read(context, "watch", feed.read()).await?;
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
    async fn next(&mut self) -> Option<Result<CatalogChange>> {
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
            if let Err(error) = core.timed("changes", self.read()).await {
                return Some(Err(error));
            }
        }
    }

    /// Reads the next batch into `ready`.
    async fn read(&mut self) -> Result<()> {
        // Seen before the rows are read, so nothing that is announced meanwhile is missed.
        self.hint.mark_unchanged();
        let span = self.core.store.span().await?;
        self.core.show_version(span.current);
        self.check_position(span);
        let batch = self
            .core
            .store
            .changes(self.position, self.deletions_after, BATCH)
            .await?;
        self.idle = batch.len() < BATCH as usize;
        for change in batch {
            self.position = change.version();
            self.take(change);
        }
        if self.idle {
            // Rows were read after the span, so nothing up to either is missing.
            self.position = self.position.max(span.current);
            self.ready.push_back(CatalogChange::Synced(self.position));
            self.next_poll = Instant::now() + self.core.settings.poll_interval;
        }
        Ok(())
    }

    /// Starts from nothing when the position is not one of this store.
    fn check_position(&mut self, span: Span) {
        if self.position < span.first || self.position > span.current {
            self.position = CatalogVersion::default();
            self.deletions_after = span.current;
            self.ready.push_back(CatalogChange::Reset);
        }
    }

    fn take(&mut self, change: Change) {
        self.ready.push_back(match change {
            Change::Live(record) => CatalogChange::Upserted(record),
            Change::Gone {
                tenant,
                name,
                version,
            } => CatalogChange::Removed {
                tenant,
                name,
                version,
            },
            Change::Unreadable {
                place,
                version,
                reason,
            } => {
                self.core.metrics.registry_unreadable_records.inc();
                self.core.unreadable.name(&place, version, &reason);
                return;
            }
        });
    }
}
