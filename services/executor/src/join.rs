//! How an executor joins the fleet: a heartbeat that renews its lease, and a farewell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::call::CallContext;
use domain::error::Error;
use domain::fleet::{ExecutorInfo, Fleet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::Executor;

/// How often the lease of 15 seconds is renewed.
const EVERY: Duration = Duration::from_secs(5);

/// How long one renewal may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// What the fleet is told besides what the executor knows itself.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Where gateways reach it: `http://host:port` or `unix:/path`.
    pub address: String,
    /// Free labels such as `pool=ml`.
    pub labels: BTreeMap<String, String>,
    /// Version of the program.
    pub version: String,
}

/// The stages of a stop, as far as the fleet has to know.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Calls are still taken, and had better go elsewhere: told at once.
    pub draining: CancellationToken,
    /// No call is taken any more.
    pub stopping: CancellationToken,
}

/// Joins, renews every five seconds, says when it is about to stop, and leaves when it does. A registry
/// that cannot be reached is asked again with the next beat; it never ends this.
pub async fn join(executor: Executor, fleet: Arc<dyn Fleet>, membership: Membership, stop: Stop) {
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut joined = None;
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            () = stop.stopping.cancelled() => break,
            () = stop.draining.cancelled(), if !draining => draining = true,
            _ = beat.tick() => {}
        }
        let context = CallContext::service(executor.name(), PATIENCE);
        let mut info = info(&executor, &membership);
        info.draining |= draining;
        let renewal = fleet.heartbeat(&context, info);
        // Not cut off by the stop: it must not come to the registry after the farewell.
        let renewed = bounded(renewal).await;
        tell(&executor, joined, &renewed);
        joined = Some(renewed.is_ok());
    }
    let context = CallContext::service(executor.name(), PATIENCE);
    if let Err(error) = bounded(fleet.leave(&context, executor.name())).await {
        tracing::warn!(%error, "could not leave the fleet; the lease ends by itself");
    }
}

async fn bounded(asked: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| Err(Error::unavailable("registry")))
}

/// One line when it changes, not one for each beat.
fn tell(executor: &Executor, before: Option<bool>, now: &Result<(), Error>) {
    match now {
        Ok(()) if before != Some(true) => {
            tracing::info!(executor = executor.name(), "joined the fleet");
        }
        Err(error) if before != Some(false) => {
            tracing::warn!(%error, "could not join the fleet; trying again");
        }
        _ => {}
    }
}

fn info(executor: &Executor, membership: &Membership) -> ExecutorInfo {
    let status = executor.status();
    ExecutorInfo {
        id: status.name,
        address: membership.address.clone(),
        labels: membership.labels.clone(),
        engines: vec![status.engine.kind],
        capacity: status.capacity,
        draining: status.draining,
        version: membership.version.clone(),
    }
}
