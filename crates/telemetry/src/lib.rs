//! Logs, traces and every Prometheus metric.
//!
//! [`init`] starts logging (and, with an endpoint, OTLP traces) once per process; [`Metrics`] is the
//! one struct with every metric, handed down as an `Arc`; [`TraceHeaders`] carries the W3C trace
//! context over HTTP headers, gRPC metadata and MCP `_meta`.

mod logs;
mod metrics;
mod plain;
mod propagation;
mod reference;
mod traces;

pub use logs::{InitError, LogFormat, LogSettings, Telemetry, init};
pub use metrics::{
    BuildInfo, Description, Instruments, LATENCY_BUCKETS, MAX_TOOL_LABELS, Metrics, MetricsError,
    OTHER_TOOL, ToolLabel,
};
pub use propagation::TraceHeaders;
pub use reference::reference_markdown;
pub use traces::TraceSettings;

/// The instruments that the fields of [`Metrics`] are made of.
pub use prometheus::{
    Gauge, Histogram, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec,
};
