//! The outermost layer: the request's id, its span, its metric, and what becomes of a panic.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use domain::{ErrorCode, RequestId, TraceContext};
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use telemetry::TraceHeaders;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Edge;
use super::measure::Measured;
use super::protected_resource;
use crate::mcp::{Origin, Refusal, json_response};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What this layer hands to the ones inside it.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) request_id: RequestId,
    pub(super) trace: TraceContext,
    pub(super) received: Instant,
}

/// The id of a request that has passed this layer, wherever the layers have it by then.
pub(super) fn request_id(request: &Request<Body>) -> RequestId {
    let extensions = request.extensions();
    let observed = extensions
        .get::<Observed>()
        .map(|observed| &observed.request_id);
    let origin = || extensions.get::<Origin>().map(|origin| &origin.request_id);
    observed
        .or_else(origin)
        .cloned()
        .unwrap_or_else(RequestId::random)
}

pub(super) async fn layer(
    State(edge): State<Arc<Edge>>,
    mut request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let received = Instant::now();
    let method = request.method().clone();
    let route = edge.route(request.uri().path());
    let measured = Measured::begin(&edge.metrics, &method, route, received);
    let request_id = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .and_then(RequestId::accept)
        .unwrap_or_else(RequestId::random);
    let incoming = TraceHeaders::from_headers(request.headers());
    let span = telemetry::http_span(&method, route, request_id.as_str(), incoming.as_ref());
    let trace =
        TraceHeaders::of_span(&span)
            .or(incoming)
            .map_or_else(TraceContext::default, |headers| TraceContext {
                traceparent: Some(headers.traceparent().to_owned()),
                tracestate: headers.tracestate().map(str::to_owned),
            });
    let observed = Observed {
        request_id: request_id.clone(),
        trace,
        received,
    };
    request.extensions_mut().insert(observed);

    let answered = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    let mut response = answered.unwrap_or_else(|_| {
        // The hook has counted it and written it to the log, with the id of the request.
        tracing::debug!(request_id = %request_id, "a request ended in a panic");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let refusal = Refusal::http(status, ErrorCode::Internal, "internal error");
        json_response(status, refusal.body(None, &request_id))
    });
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if telemetry::traces_are_on() {
        let status = response.status().as_u16();
        span.record("http.response.status_code", status);
    }
    let took = received.elapsed();
    tracing::debug!(
        request_id = request_id.as_str(),
        status = response.status().as_u16(),
        ?took,
        "answered"
    );
    measured.until_the_end_of(response)
}

impl Edge {
    /// The route's label in the metrics: never the path that was asked for.
    fn route(&self, path: &str) -> &'static str {
        match path {
            path if path == self.settings.mcp_path => "/mcp",
            "/livez" => "/livez",
            "/readyz" => "/readyz",
            path if path == self.settings.health_path => "/health",
            "/metrics" => "/metrics",
            path if path.starts_with(protected_resource::PATH) => protected_resource::PATH,
            _ => "other",
        }
    }
}
