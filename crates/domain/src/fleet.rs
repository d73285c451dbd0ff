//! The executors there are: how one joins, and what the gateway knows of each.

use std::collections::BTreeMap;
use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;

use crate::call::CallContext;
use crate::error::Result;
use crate::runner::EngineKind;

/// An executor as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorInfo {
    /// Its name, unique while it lives: host and start.
    pub id: String,
    /// Where gateways reach it: `http://host:port` or `unix:/path`.
    pub address: String,
    /// Free labels such as `pool=ml`.
    pub labels: BTreeMap<String, String>,
    /// The engines it has.
    pub engines: Vec<EngineKind>,
    /// How many calls it runs at once.
    pub capacity: u32,
    /// Whether it takes no new calls.
    pub draining: bool,
    /// Its version.
    pub version: String,
}

/// The complete list after each change, at least every five seconds.
pub type FleetStream = Pin<Box<dyn Stream<Item = Result<Vec<ExecutorInfo>>> + Send>>;

/// The directory of executors. For services only.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// Joins or renews the lease, which ends 15 seconds after the last renewal.
    ///
    /// # Errors
    /// `permission_denied`, `invalid_argument`, `unavailable`.
    async fn heartbeat(&self, context: &CallContext, executor: ExecutorInfo) -> Result<()>;

    /// Leaves at once.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`.
    async fn leave(&self, context: &CallContext, id: &str) -> Result<()>;

    /// Follows the list of executors whose lease runs.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`.
    async fn watch(&self, context: &CallContext) -> Result<FleetStream>;
}
