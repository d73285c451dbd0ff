//! The port `Fleet` as a client.

use async_trait::async_trait;
use domain::fleet::{ExecutorInfo, Fleet, FleetStream};
use domain::{CallContext, Result};

use super::link::Link;
use super::watch;
use crate::convert::{executor_from, executor_to};
use crate::{method, pb};

/// The registry's directory of executors over gRPC.
#[derive(Debug, Clone)]
pub struct FleetClient(Link);

impl FleetClient {
    /// A client on a link to the registry.
    #[must_use]
    pub fn new(link: Link) -> Self {
        Self(link)
    }
}

#[async_trait]
impl Fleet for FleetClient {
    async fn heartbeat(&self, context: &CallContext, executor: ExecutorInfo) -> Result<()> {
        let request = pb::HeartbeatRequest {
            executor: Some(executor_to(executor)),
        };
        let pb::HeartbeatResponse {} = self.0.unary(context, &method::HEARTBEAT, request).await?;
        Ok(())
    }

    async fn leave(&self, context: &CallContext, id: &str) -> Result<()> {
        let request = pb::LeaveRequest { id: id.to_owned() };
        let pb::LeaveResponse {} = self.0.unary(context, &method::LEAVE, request).await?;
        Ok(())
    }

    async fn watch(&self, context: &CallContext) -> Result<FleetStream> {
        let list = |answer: pb::FleetWatchResponse| {
            answer.executors.into_iter().map(executor_from).collect()
        };
        let request = pb::FleetWatchRequest {};
        watch::follow(&self.0, context, &method::WATCH_FLEET, request, list).await
    }
}
