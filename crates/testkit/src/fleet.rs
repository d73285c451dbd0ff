//! A directory of executors in memory, without leases.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use domain::fleet::{ExecutorInfo, Fleet, FleetStream};
use domain::principal::{Action, authorize};
use domain::{CallContext, Result};
use futures::stream;
use tokio::sync::watch;

/// How often a feed says that it lives.
const REPEATED_EVERY: Duration = Duration::from_millis(500);

/// A directory of executors in memory, without leases.
pub struct FakeFleet(watch::Sender<BTreeMap<String, ExecutorInfo>>);

impl Default for FakeFleet {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

#[async_trait]
impl Fleet for FakeFleet {
    async fn heartbeat(&self, context: &CallContext, executor: ExecutorInfo) -> Result<()> {
        authorize(&context.principal, Action::Internal)?;
        self.0.send_modify(|executors| {
            executors.insert(executor.id.clone(), executor);
        });
        Ok(())
    }

    async fn leave(&self, context: &CallContext, id: &str) -> Result<()> {
        authorize(&context.principal, Action::Internal)?;
        self.0.send_modify(|executors| {
            executors.remove(id);
        });
        Ok(())
    }

    async fn watch(&self, context: &CallContext) -> Result<FleetStream> {
        authorize(&context.principal, Action::Internal)?;
        let feed = (true, self.0.subscribe());
        Ok(Box::pin(stream::unfold(
            feed,
            |(first, mut executors)| async move {
                if !first
                    && let Ok(Err(_)) =
                        tokio::time::timeout(REPEATED_EVERY, executors.changed()).await
                {
                    return None;
                }
                let list = executors.borrow_and_update().values().cloned().collect();
                Some((Ok(list), (false, executors)))
            },
        )))
    }
}
