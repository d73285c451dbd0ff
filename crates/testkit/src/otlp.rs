//! What came of traces: OTLP's own messages, read as a collector reads them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;

use crate::receiver::Received;

/// Path of OTLP over gRPC.
pub const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Path of OTLP over HTTP.
pub const HTTP_PATH: &str = "/v1/traces";

/// One span, with ids as lower-case hex.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of who sent it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its trace.
    pub trace_id: String,
    /// Its own id.
    pub span_id: String,
    /// The id of the span above it; empty for a root.
    pub parent: String,
    /// Begin and end, in nanoseconds since 1970.
    pub times: (u64, u64),
    /// Everything that it says, resource and events excluded.
    pub attributes: BTreeMap<String, String>,
    /// Names of its events.
    pub events: Vec<String>,
    /// Traces that it is linked to.
    pub links: Vec<String>,
}

/// Every span of these requests, over either protocol.
///
/// # Panics
/// When a body is not OTLP.
#[must_use]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub fn spans(requests: &[Received]) -> Vec<Span> {
    let mut all = Vec::new();
    for request in requests {
        let bytes = match request.path.as_str() {
            GRPC_PATH => &request.body[5..],
            HTTP_PATH => &request.body[..],
            _ => continue,
        };
        let export = ExportTraceServiceRequest::decode(bytes).unwrap();
        for resource in export.resource_spans {
            let of = attributes(&resource.resource.unwrap_or_default().attributes);
            let service = of.get("service.name").cloned().unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|it| it.spans) {
                all.push(Span {
                    service: service.clone(),
                    name: span.name,
                    trace_id: hex(&span.trace_id),
                    span_id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    times: (span.start_time_unix_nano, span.end_time_unix_nano),
                    attributes: attributes(&span.attributes),
                    events: span.events.into_iter().map(|it| it.name).collect(),
                    links: span.links.iter().map(|it| hex(&it.trace_id)).collect(),
                });
            }
        }
    }
    all
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|pair| (pair.key.clone(), text(pair.value.as_ref())))
        .collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
