//! What is counted of a request: that it is there, and how long it took.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http::{Method, Response, StatusCode};
use http_body::{Frame, SizeHint};
use telemetry::Metrics;
use tokio::time::Instant;

use crate::mcp::is_event_stream;

/// One request. It is over when this is dropped.
pub(super) struct Measured {
    metrics: Arc<Metrics>,
    method: Method,
    route: &'static str,
    received: Instant,
    /// `None`: the client went away before there was an answer.
    status: Option<StatusCode>,
}

impl Measured {
    pub(super) fn begin(
        metrics: &Arc<Metrics>,
        method: &Method,
        route: &'static str,
        received: Instant,
    ) -> Self {
        metrics.requests_in_flight.inc();
        Self {
            metrics: Arc::clone(metrics),
            method: method.clone(),
            route,
            received,
            status: None,
        }
    }

    /// Measures up to the head of the answer, which is as good as all of it, or up to the last
    /// event of a stream.
    pub(super) fn until_the_end_of(mut self, response: Response<Body>) -> Response<Body> {
        self.status = Some(response.status());
        if !is_event_stream(&response) {
            return response;
        }
        response.map(|body| {
            Body::new(Streaming {
                body,
                _measured: self,
            })
        })
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.metrics.requests_in_flight.dec();
        if let Some(status) = self.status {
            let took = self.received.elapsed();
            self.metrics
                .record_request(&self.method, self.route, status, took);
        }
    }
}

struct Streaming {
    body: Body,
    _measured: Measured,
}

impl http_body::Body for Streaming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
