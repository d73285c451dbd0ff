//! The port `Fleet` as a service.

use std::sync::Arc;

use domain::fleet::Fleet;
use tonic::{Request, Response, Status};

use super::answer::Shared;
use super::watch::{Feed, feed};
use crate::convert::{executor_from, executor_to, required};
use crate::method;
use crate::pb::fleet_server::Fleet as Service;
use crate::pb::{
    FleetWatchRequest, FleetWatchResponse, HeartbeatRequest, HeartbeatResponse, LeaveRequest,
    LeaveResponse,
};

pub(crate) struct FleetService {
    pub(crate) fleet: Arc<dyn Fleet>,
    pub(crate) shared: Shared,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Service for FleetService {
    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Answer<HeartbeatResponse> {
        self.shared
            .answer(&method::HEARTBEAT, request, |context, request| async move {
                let executor = executor_from(required("executor", request.executor)?)?;
                self.fleet.heartbeat(&context, executor).await?;
                Ok(HeartbeatResponse {})
            })
            .await
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Answer<LeaveResponse> {
        self.shared
            .answer(&method::LEAVE, request, |context, request| async move {
                self.fleet.leave(&context, &request.id).await?;
                Ok(LeaveResponse {})
            })
            .await
    }

    type WatchStream = Feed<FleetWatchResponse>;

    async fn watch(&self, request: Request<FleetWatchRequest>) -> Answer<Self::WatchStream> {
        self.shared
            .answer(
                &method::WATCH_FLEET,
                request,
                |context, _request| async move {
                    let lists = self.fleet.watch(&context).await?;
                    let list = |executors: Vec<_>| FleetWatchResponse {
                        executors: executors.into_iter().map(executor_to).collect(),
                    };
                    Ok(feed(lists, list, self.shared.stopping.clone()))
                },
            )
            .await
    }
}
