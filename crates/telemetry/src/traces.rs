//! OTLP traces over gRPC, only when an endpoint is configured.

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::InitError;

/// Where traces go. Everything else (sampling, headers, batch sizes) follows OpenTelemetry's own
/// `OTEL_*` variables, which the SDK reads itself.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// `http://host:port` of an OTLP receiver that speaks gRPC.
    pub endpoint: String,
    /// `service.name` of the traces.
    pub service: &'static str,
    /// `service.version` of the traces.
    pub version: &'static str,
}

/// Starts the exporter. Needs a running tokio runtime; the receiver need not be there yet.
pub(crate) fn provider(settings: &TraceSettings) -> Result<SdkTracerProvider, InitError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(settings.endpoint.clone())
        .build()
        .map_err(|source| InitError::Exporter {
            endpoint: settings.endpoint.clone(),
            source,
        })?;
    let resource = Resource::builder()
        .with_service_name(settings.service)
        .with_attribute(KeyValue::new("service.version", settings.version))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}
