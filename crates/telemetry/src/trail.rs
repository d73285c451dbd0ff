//! Spans that are made only where traces are exported. Without an exporter each of these is one
//! look at a static, so that the way of a call costs nothing for them.

use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _};
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::TraceHeaders;
use crate::metrics::method_label;
use crate::traces::global;

/// A place in a trace below which spans are put that are known only once they are over: the stages
/// of a call in its sandbox.
#[derive(Debug, Clone, Default)]
pub struct Trail(Option<opentelemetry::Context>);

impl Trail {
    /// Below the span that runs now. Empty where nothing is exported, or not of this trace.
    #[must_use]
    pub fn here() -> Self {
        if global().is_none() {
            return Self(None);
        }
        let context = Span::current().context();
        let sampled = context.span().span_context().is_sampled();
        Self(sampled.then_some(context))
    }

    /// Adds a span that has ended. `name` and `attributes` are words of closed lists, never a
    /// user's.
    pub fn add(
        &self,
        name: &'static str,
        attributes: &[(&'static str, &'static str)],
        from: Instant,
        to: Instant,
    ) {
        let (Some(context), Some(tracer)) = (&self.0, global()) else {
            return;
        };
        let now = (Instant::now(), SystemTime::now());
        let at = |instant: Instant| {
            let ago = now.0.saturating_duration_since(instant);
            now.1.checked_sub(ago).unwrap_or(now.1)
        };
        let attributes = attributes
            .iter()
            .map(|(name, value)| KeyValue::new(*name, *value));
        let mut span = tracer
            .span_builder(name)
            .with_kind(SpanKind::Internal)
            .with_start_time(at(from))
            .with_attributes(attributes)
            .start_with_context(tracer, context);
        span.end_with_timestamp(at(to));
    }
}

/// The span of an HTTP request, below what its headers name. What HTTP does not define is method
/// `OTHER`.
#[must_use]
pub fn http_span(
    method: &http::Method,
    route: &'static str,
    request_id: &str,
    incoming: Option<&TraceHeaders>,
) -> Span {
    let method = method_label(method);
    if global().is_none() {
        return match incoming.map(TraceHeaders::trace_id) {
            Some(trace_id) => {
                tracing::info_span!("request", method, route, request_id, trace_id)
            }
            None => tracing::info_span!("request", method, route, request_id),
        };
    }
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        otel.name = %format_args!("{method} {route}"),
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        request_id,
    );
    if let Some(incoming) = incoming {
        incoming.continue_in(&span);
    }
    span
}

/// The span of a gRPC request that is answered. `service` and `method` are words of a closed list.
#[must_use]
pub fn grpc_span(
    service: &'static str,
    method: &'static str,
    request_id: &str,
    call_id: &dyn std::fmt::Display,
) -> Span {
    if global().is_none() {
        return tracing::info_span!("grpc", service, method, request_id, %call_id);
    }
    tracing::info_span!(
        "grpc",
        otel.kind = "server",
        otel.name = %format_args!("{service}/{method}"),
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        code = Empty,
        request_id,
        %call_id,
    )
}

/// The span of a gRPC request that is made, below the span that runs now; none where nothing is
/// exported, and for what a service does by itself. `service` and `method` are words of a closed
/// list.
#[must_use]
pub fn client_span(service: &'static str, method: &'static str) -> Span {
    if global().is_none() || Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(
        "grpc request",
        otel.kind = "client",
        otel.name = %format_args!("{service}/{method}"),
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        code = Empty,
    )
}

/// Says how what a span covers has ended: `OK`, `ok`, or a code.
pub fn span_ended(span: &Span, code: &'static str) {
    if span.is_none() || global().is_none() {
        return;
    }
    span.record("code", code);
    if !code.eq_ignore_ascii_case("ok") {
        span.record("otel.status_code", "ERROR");
    }
}

/// The span of one MCP request: below what the request's `_meta` names, which is nearer to the
/// caller than the HTTP headers are, else below the span that runs now. Where nothing is exported
/// there is a span only for a trace of the caller, so that lines name it. `method` is a word of a
/// closed list.
#[must_use]
pub fn mcp_span(method: &'static str, incoming: Option<&TraceHeaders>) -> Span {
    if global().is_none() {
        return match incoming {
            Some(trace) => tracing::info_span!("mcp", method, trace_id = trace.trace_id()),
            None => Span::none(),
        };
    }
    let span = tracing::info_span!(
        "mcp",
        otel.kind = "server",
        otel.name = method,
        mcp.method.name = method,
        otel.status_code = Empty,
        tool = Empty,
        code = Empty,
    );
    if let Some(incoming) = incoming {
        let around = Span::current().context().span().span_context().clone();
        incoming.continue_in(&span);
        if around.is_valid() && around.trace_id().to_string() != incoming.trace_id() {
            span.add_link(around);
        }
    }
    span
}

/// Whether spans are exported.
#[must_use]
pub fn traces_are_on() -> bool {
    global().is_some()
}
