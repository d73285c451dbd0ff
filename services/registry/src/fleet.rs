//! The directory of executors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::fleet::{ExecutorInfo, Fleet, FleetStream};
use domain::principal::{Action, authorize};
use domain::{CallContext, Error, ErrorCode, Result};
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use crate::registry::{Core, Registry};

/// Most executors at once.
const MAX_EXECUTORS: u32 = 1_000;

/// The list is repeated at least this often.
const REPEAT: Duration = Duration::from_secs(4);

#[async_trait]
impl Fleet for Registry {
    async fn heartbeat(&self, context: &CallContext, executor: ExecutorInfo) -> Result<()> {
        authorize(&context.principal, Action::Internal)?;
        check(&executor)?;
        let core = Arc::clone(&self.core);
        let work = async move {
            if core
                .store
                .renew(&executor, core.settings.lease, MAX_EXECUTORS)
                .await?
            {
                core.store.hints().fleet_changed();
                return Ok(());
            }
            Err(Error::new(ErrorCode::LimitExceeded, "the fleet is full")
                .with_limit(format!("{MAX_EXECUTORS} executors")))
        };
        self.core.write(context, "heartbeat", work).await
    }

    async fn leave(&self, context: &CallContext, id: &str) -> Result<()> {
        authorize(&context.principal, Action::Internal)?;
        let (core, id) = (Arc::clone(&self.core), id.to_owned());
        let work = async move {
            core.store.leave(&id).await?;
            core.store.hints().fleet_changed();
            Ok(())
        };
        self.core.write(context, "leave", work).await
    }

    async fn watch(&self, context: &CallContext) -> Result<FleetStream> {
        authorize(&context.principal, Action::Internal)?;
        let permit = Arc::clone(&self.core.watchers)
            .try_acquire_owned()
            .map_err(|_| {
                Error::new(ErrorCode::Overloaded, "the registry has too many watchers")
                    .with_retry_after(Duration::from_secs(5))
            })?;
        let hint = self.core.store.hints().fleet();
        let first = self
            .core
            .read(context, "executors", self.core.store.executors())
            .await?;
        let watcher = Watcher {
            core: Arc::clone(&self.core),
            hint,
            sent: first.clone(),
            sent_at: Instant::now(),
            _permit: permit,
        };
        let rest = stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Some(Ok(list)) => Some((Ok(list), Some(watcher))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        });
        let first = stream::iter([Ok(first.into_values().collect())]);
        Ok(first.chain(rest).boxed())
    }
}

struct Watcher {
    core: Arc<Core>,
    hint: watch::Receiver<u64>,
    sent: BTreeMap<String, ExecutorInfo>,
    sent_at: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// The list after the next change, or again after a while.
    async fn next(&mut self) -> Option<Result<Vec<ExecutorInfo>>> {
        loop {
            let poll = Instant::now() + self.core.settings.poll_interval.min(REPEAT);
            let closing = self.core.closing.clone();
            tokio::select! {
                () = closing.cancelled() => return None,
                ticked = self.hint.changed() => ticked.ok()?,
                () = sleep_until(poll) => {}
            }
            let executors = self.core.store.executors();
            let list = match self.core.timed("executors", executors).await {
                Ok(list) => list,
                Err(error) => return Some(Err(error)),
            };
            if list != self.sent || self.sent_at.elapsed() >= REPEAT {
                self.sent_at = Instant::now();
                self.sent.clone_from(&list);
                return Some(Ok(list.into_values().collect()));
            }
        }
    }
}

fn check(executor: &ExecutorInfo) -> Result<()> {
    text("id", &executor.id, 1..=128)?;
    text("address", &executor.address, 1..=512)?;
    text("version", &executor.version, 1..=64)?;
    if !["http://", "https://", "unix:"]
        .iter()
        .any(|scheme| executor.address.starts_with(scheme))
    {
        return Err(
            Error::invalid("address", "is not an address of an executor")
                .with_limit("http://host:port, https://host:port or unix:/path"),
        );
    }
    if executor.labels.len() > 32 {
        return Err(Error::invalid("labels", "are too many").with_limit("32"));
    }
    for (key, value) in &executor.labels {
        text("labels", key, 1..=64)?;
        text("labels", value, 0..=256)?;
    }
    if executor.engines.len() > 8 {
        return Err(Error::invalid("engines", "are too many").with_limit("8"));
    }
    if !(1..=100_000).contains(&executor.capacity) {
        return Err(Error::invalid("capacity", "is out of range").with_limit("1-100000"));
    }
    Ok(())
}

fn text(field: &str, text: &str, bytes: std::ops::RangeInclusive<usize>) -> Result<()> {
    if bytes.contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(());
    }
    Err(Error::invalid(field, "is not valid").with_limit(format!(
        "{}-{} printable ASCII characters",
        bytes.start(),
        bytes.end()
    )))
}
