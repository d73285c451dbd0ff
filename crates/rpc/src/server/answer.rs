//! What every method does around its own work: who calls, how long, one span, one metric.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use auth::internal::Caller;
use domain::{CallContext, Error, ErrorCode, RequestId, Result, TenantId, TraceContext};
use telemetry::{Metrics, TraceHeaders};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::{Instrument as _, Span};

use super::{BUDGET_HEADER, REQUEST_ID_HEADER};
use crate::method::Method;
use crate::status;

/// The time of a request that names none.
const DEFAULT_BUDGET: Duration = Duration::from_secs(30);
/// The longest time that a request may ask for: the longest call with its queueing.
const MAX_BUDGET: Duration = Duration::from_secs(600);

/// What all services of one server share.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub(crate) metrics: Option<Arc<Metrics>>,
    /// Cancelled when the server stops: feeds end then, which nothing else would make them do.
    pub(crate) stopping: CancellationToken,
}

impl Shared {
    /// Runs `work` within the request's time and turns its outcome into an answer.
    pub(crate) async fn answer<Q, A, F>(
        &self,
        method: &'static Method,
        request: Request<Q>,
        work: impl FnOnce(CallContext, Q) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A>>,
    {
        let mut timer = self.timer(method);
        let (context, span) = context(method, &request).map_err(|error| {
            self.timer(method).stop(Err(error.code()));
            status::from_error(&error)
        })?;
        timer.span = span.clone();
        let budget = context.budget;
        let outcome = async {
            tokio::time::timeout(budget, work(context, request.into_inner()))
                .await
                .unwrap_or_else(|_| Err(out_of_time(method)))
                // The cause of an internal error is logged here, within the span.
                .map_err(|error| (error.code(), status::from_error(&error)))
        }
        .instrument(span)
        .await;
        timer.stop(outcome.as_ref().map(|_| ()).map_err(|(code, _)| *code));
        outcome.map(Response::new).map_err(|(_, status)| status)
    }

    pub(crate) fn timer(&self, method: &'static Method) -> Timer {
        Timer {
            metrics: self.metrics.clone(),
            method,
            start: Instant::now(),
            span: Span::none(),
        }
    }
}

fn out_of_time(method: &Method) -> Error {
    Error::new(
        ErrorCode::Timeout,
        "the request did not finish within its time",
    )
    .with_may_have_run(method.has_effects)
}

/// The context of a request: from its checked identity, and from nothing else whom it is for.
pub(crate) fn context<Q>(method: &Method, request: &Request<Q>) -> Result<(CallContext, Span)> {
    let Some(caller) = request.extensions().get::<Caller>() else {
        return Err(Error::new(
            ErrorCode::Unauthenticated,
            "the request carries no identity",
        ));
    };
    let headers = request.metadata().as_ref();
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    let request_id = text(REQUEST_ID_HEADER)
        .and_then(RequestId::accept)
        .unwrap_or_else(RequestId::random);
    let budget = text(BUDGET_HEADER)
        .and_then(|millis| millis.parse().ok())
        .map_or(DEFAULT_BUDGET, Duration::from_millis)
        .min(MAX_BUDGET);
    let id = request_id.as_str();
    let span = telemetry::grpc_span(method.service, method.name, id, &caller.call_id);
    let incoming = TraceHeaders::from_headers(headers);
    if let Some(trace) = &incoming {
        trace.continue_in(&span);
    }
    let trace = TraceHeaders::of_span(&span).or(incoming);
    let context = CallContext {
        call_id: caller.call_id,
        request_id,
        principal: Arc::clone(&caller.principal),
        budget,
        trace: trace.map_or_else(TraceContext::default, |trace| TraceContext {
            traceparent: Some(trace.traceparent().to_owned()),
            tracestate: trace.tracestate().map(str::to_owned),
        }),
        source: None,
        idempotency_key: None,
    };
    Ok((context, span))
}

/// A message names the tenant of its record; it has to be the caller's.
pub(crate) fn check_tenant(context: &CallContext, tenant: &str) -> Result<()> {
    if TenantId::parse(tenant)? == context.principal.tenant {
        Ok(())
    } else {
        Err(Error::new(
            ErrorCode::PermissionDenied,
            "the tenant is not the caller's",
        )
        .with_field("tenant"))
    }
}

/// Measures one request, and says its end in the log, where its span names it.
pub(crate) struct Timer {
    pub(crate) span: Span,
    metrics: Option<Arc<Metrics>>,
    method: &'static Method,
    start: Instant,
}

impl Timer {
    pub(crate) fn stop(self, outcome: std::result::Result<(), ErrorCode>) {
        let code = status::label(outcome);
        let took = self.start.elapsed();
        self.span
            .in_scope(|| tracing::debug!(code, ?took, "answered"));
        telemetry::span_ended(&self.span, code);
        if let Some(metrics) = &self.metrics {
            metrics
                .grpc_server_duration
                .with_label_values(&[self.method.service, self.method.name, code])
                .observe(took.as_secs_f64());
        }
    }
}
