//! grpc.health.v1. It is for everyone who reaches the port, and so the one place where somebody
//! without an identity could make a service hold something: those who watch are bounded in number.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use domain::{Error, ErrorCode};
use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::{HealthReporter, HealthService};

use crate::status;

/// Most streams of `Watch` at once.
pub(crate) const MAX_WATCHERS: usize = 256;

/// Longest request: it is the name of a service.
const MAX_REQUEST_BYTES: usize = 4_096;

/// The service, and what tells it of changes.
pub(crate) fn service() -> (HealthReporter, HealthServer<impl Health>) {
    let reporter = HealthReporter::new();
    let bounded = Bounded {
        inner: HealthService::from_health_reporter(reporter.clone()),
        places: Arc::new(Semaphore::new(MAX_WATCHERS)),
    };
    let server = HealthServer::new(bounded).max_decoding_message_size(MAX_REQUEST_BYTES);
    (reporter, server)
}

struct Bounded {
    inner: HealthService,
    places: Arc<Semaphore>,
}

type Statuses = <HealthService as Health>::WatchStream;

/// One who watches, and the place that it takes.
pub(crate) struct Watched {
    statuses: Statuses,
    _place: OwnedSemaphorePermit,
}

#[tonic::async_trait]
impl Health for Bounded {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.inner.check(request).await
    }

    type WatchStream = Watched;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Watched>, Status> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| status::from_error(&full()))?;
        let answer = self.inner.watch(request).await?;
        Ok(answer.map(|statuses| Watched {
            statuses,
            _place: place,
        }))
    }
}

fn full() -> Error {
    Error::new(
        ErrorCode::Overloaded,
        "too many watch the health of this service",
    )
    .with_fix("ask by Check, or watch less")
}

impl Stream for Watched {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.statuses).poll_next(task)
    }
}
