//! Logs, traces and every Prometheus metric.
//!
//! [`init`] starts logging (and, where asked for, OTLP traces and error reports) once per process; [`Metrics`] is the
//! one struct with every metric, handed down as an `Arc`; [`TraceHeaders`] carries the W3C trace
//! context over HTTP headers, gRPC metadata and MCP `_meta`.

mod allocator;
mod fields;
mod lines;
mod logs;
mod metrics;
mod plain;
mod post;
pub mod profile;
mod propagation;
mod reference;
mod reports;
mod rotate;
mod traces;
mod trail;

pub use logs::{Exports, InitError, LogControl, LogFormat, LogSettings, Telemetry, init};
pub use metrics::{
    BuildInfo, Description, Instruments, LATENCY_BUCKETS, MAX_TOOL_LABELS, Metrics, MetricsError,
    OTHER_TOOL, ToolLabel,
};
pub use propagation::TraceHeaders;
pub use reference::reference_markdown;
pub use reports::{Dsn, DsnError, ReportSettings};
pub use rotate::LogFile;
pub use traces::{TraceProtocol, TraceSampler, TraceSettings};
pub use trail::{Trail, client_span, grpc_span, http_span, mcp_span, span_ended, traces_are_on};

/// The instruments that the fields of [`Metrics`] are made of.
pub use prometheus::{
    Gauge, Histogram, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec,
};
