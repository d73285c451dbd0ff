//! The W3C trace context: read from a request, continued in a span, written to the next request.
//!
//! It travels as plain text so that it fits HTTP headers, gRPC metadata (which is a header map) and
//! the `_meta` of an MCP request (`traceparent`, `tracestate` without a prefix). What is invalid is
//! ignored and never fails a request (W3C Trace Context, section 2.3).

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Longest `tracestate` taken over, in bytes: what W3C asks every implementation to carry.
const MAX_TRACESTATE: usize = 512;

/// A valid `traceparent` with its `tracestate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceHeaders {
    traceparent: String,
    tracestate: Option<String>,
}

impl TraceHeaders {
    /// Checks a pair from anywhere (for MCP: `_meta`). `None` when `traceparent` is not a valid
    /// version 00 value; an over-long or unprintable `tracestate` is dropped on its own.
    #[must_use]
    pub fn new(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        if !valid_traceparent(traceparent) {
            return None;
        }
        let tracestate = tracestate
            .filter(|state| !state.is_empty() && state.len() <= MAX_TRACESTATE)
            .filter(|state| state.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        Some(Self {
            traceparent: traceparent.to_owned(),
            tracestate: tracestate.map(str::to_owned),
        })
    }

    /// The pair in HTTP headers or in gRPC metadata turned into headers.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        Self::new(text(TRACEPARENT)?, text(TRACESTATE))
    }

    /// The context of `span`, for the next hop. `None` while no OTLP endpoint is configured: then
    /// hand on what came in.
    #[must_use]
    pub fn of_span(span: &tracing::Span) -> Option<Self> {
        let context = span.context();
        if !context.span().span_context().is_valid() {
            return None;
        }
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(&context, &mut carrier);
        Self::new(
            carrier.get(TRACEPARENT)?,
            carrier.get(TRACESTATE).map(String::as_str),
        )
    }

    /// Makes `span` a child of this context. Call it before the span is first entered; without an
    /// OTLP endpoint it does nothing.
    pub fn continue_in(&self, span: &tracing::Span) {
        let mut carrier = HashMap::new();
        carrier.insert(TRACEPARENT.to_owned(), self.traceparent.clone());
        if let Some(state) = &self.tracestate {
            carrier.insert(TRACESTATE.to_owned(), state.clone());
        }
        let context = TraceContextPropagator::new().extract(&carrier);
        if let Err(reason) = span.set_parent(context) {
            tracing::trace!(%reason, "the span has no trace context to continue");
        }
    }

    /// Writes the pair over whatever the map holds under these names.
    pub fn write_to(&self, headers: &mut HeaderMap) {
        let mut put =
            |name: &'static str, value: Option<&str>| match value.map(HeaderValue::from_str) {
                Some(Ok(value)) => {
                    headers.insert(name, value);
                }
                _ => {
                    headers.remove(name);
                }
            };
        put(TRACEPARENT, Some(&self.traceparent));
        put(TRACESTATE, self.tracestate.as_deref());
    }

    /// `00-<32 hex trace id>-<16 hex span id>-<2 hex flags>`.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// What vendors added, at most 512 bytes.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// The trace id: 32 lower-case hex digits, for the log.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }
}

fn valid_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        parts.next().is_some_and(|part| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let shape = text.starts_with("00-") && hex(2) && hex(32) && hex(16) && hex(2);
    let zero = |range| {
        text.get(range)
            .is_none_or(|id: &str| id.bytes().all(|b| b == b'0'))
    };
    shape && parts.next().is_none() && !zero(3..35) && !zero(36..52)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_pair_goes_through_headers_unchanged() {
        let pair = TraceHeaders::new(PARENT, Some("vendor=1,other=2")).unwrap();
        let mut headers = HeaderMap::new();
        pair.write_to(&mut headers);
        assert_eq!(TraceHeaders::from_headers(&headers), Some(pair.clone()));
        assert_eq!(pair.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn invalid_traceparents_are_ignored() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceHeaders::new(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_bad_tracestate_is_dropped_alone() {
        for bad in ["", "a=\u{7}", &"x".repeat(513)] {
            let pair = TraceHeaders::new(PARENT, Some(bad)).unwrap();
            assert_eq!(pair.tracestate(), None);
        }
    }

    #[test]
    fn a_span_continues_the_trace_of_the_caller() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let incoming = TraceHeaders::new(PARENT, Some("vendor=1")).unwrap();
            let span = tracing::info_span!("request");
            incoming.continue_in(&span);
            let outgoing = TraceHeaders::of_span(&span).unwrap();
            assert_eq!(outgoing.trace_id(), incoming.trace_id());
            assert_ne!(
                outgoing.traceparent(),
                incoming.traceparent(),
                "a span of its own"
            );
            assert_eq!(outgoing.tracestate(), Some("vendor=1"));
        });
    }

    #[test]
    fn without_a_tracer_a_span_has_no_context() {
        let span = tracing::info_span!("request");
        TraceHeaders::new(PARENT, None).unwrap().continue_in(&span);
        assert_eq!(TraceHeaders::of_span(&span), None);
    }
}
