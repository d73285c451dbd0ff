//! OTLP traces over gRPC or HTTP, only when an endpoint is configured.

mod told;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use crate::InitError;
use crate::post::Post;

pub(crate) use self::told::Fate;
use self::told::Told;

/// How long a batch of spans may take over HTTP, as OpenTelemetry's default says.
const WITHIN: Duration = Duration::from_secs(10);

/// What spans are sent over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceProtocol {
    /// OTLP over gRPC, by convention on port 4317.
    Grpc,
    /// OTLP as protobuf over HTTP, by convention on port 4318.
    HttpProtobuf,
}

/// Which traces are recorded: the samplers of OpenTelemetry, by its names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TraceSampler {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// This share of them, 0 to 1, by the trace id.
    Ratio(f64),
    /// As the caller has decided; of those without a caller's decision all.
    ParentAlwaysOn,
    /// As the caller has decided; of the others none.
    ParentAlwaysOff,
    /// As the caller has decided; of the others this share.
    ParentRatio(f64),
}

impl TraceSampler {
    fn build(self) -> Sampler {
        let parent = |root: Sampler| Sampler::ParentBased(Box::new(root));
        match self {
            Self::AlwaysOn => Sampler::AlwaysOn,
            Self::AlwaysOff => Sampler::AlwaysOff,
            Self::Ratio(share) => Sampler::TraceIdRatioBased(share),
            Self::ParentAlwaysOn => parent(Sampler::AlwaysOn),
            Self::ParentAlwaysOff => parent(Sampler::AlwaysOff),
            Self::ParentRatio(share) => parent(Sampler::TraceIdRatioBased(share)),
        }
    }
}

/// Where traces go. Batch sizes and timeouts follow OpenTelemetry's own `OTEL_BSP_*` and
/// `OTEL_EXPORTER_OTLP_TIMEOUT` variables, which the SDK reads itself.
#[derive(Clone)]
pub struct TraceSettings {
    /// `http://host:port` or `https://host:port` of an OTLP receiver; over HTTP `/v1/traces` is
    /// added.
    pub endpoint: String,
    /// What the receiver speaks.
    pub protocol: TraceProtocol,
    /// `name=value` pairs with commas between them, values percent-encoded: sent with every batch.
    /// A secret as a rule.
    pub headers: Option<String>,
    /// Which traces are recorded.
    pub sampler: TraceSampler,
    /// `service.name` of the traces.
    pub service: &'static str,
    /// `service.version` of the traces.
    pub version: &'static str,
}

impl std::fmt::Debug for TraceSettings {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TraceSettings")
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl TraceSettings {
    /// Whether the headers can be sent. The answer never holds a value of them.
    ///
    /// # Errors
    /// Which of them is none.
    pub fn check_headers(headers: &str) -> Result<(), String> {
        pairs(headers).map(drop)
    }
}

/// `name=value` pairs as OpenTelemetry writes them.
fn pairs(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let all = text.split(',').enumerate();
    all.filter(|(_, pair)| !pair.trim().is_empty())
        .map(|(number, pair)| {
            let which = number + 1;
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("pair {which} has no `=`"))?;
            let name: HeaderName = name
                .trim()
                .parse()
                .map_err(|_| format!("the name of pair {which} is not that of a header"))?;
            let value = decoded(value.trim());
            let value = HeaderValue::from_bytes(&value)
                .map_err(|_| format!("the value of pair {which} is not that of a header"))?;
            Ok((name, value))
        })
        .collect()
}

/// Percent-decoded.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digits = (byte == b'%')
            .then(|| Some([ahead.next()?, ahead.next()?]))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok());
        match digits {
            Some(digit) => {
                out.push(digit);
                bytes = ahead;
            }
            None => out.push(byte),
        }
    }
    out
}

/// Starts the exporter. Needs a running tokio runtime; the receiver need not be there yet.
pub(crate) fn provider(
    settings: &TraceSettings,
) -> Result<(SdkTracerProvider, Arc<Fate>), InitError> {
    let refused = |source| InitError::Exporter {
        endpoint: settings.endpoint.clone(),
        source,
    };
    let exporter = match settings.protocol {
        TraceProtocol::Grpc => over_grpc(settings),
        TraceProtocol::HttpProtobuf => over_http(settings),
    }
    .map_err(refused)?;
    let resource = Resource::builder()
        .with_service_name(settings.service)
        .with_attribute(KeyValue::new("service.version", settings.version))
        .build();
    let fate = Arc::new(Fate::default());
    let told = Told {
        exporter,
        fate: Arc::clone(&fate),
    };
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(told)
        .with_sampler(settings.sampler.build())
        .with_resource(resource)
        .build();
    Ok((provider, fate))
}

fn over_grpc(settings: &TraceSettings) -> Result<SpanExporter, ExporterBuildError> {
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(settings.endpoint.clone());
    if settings.endpoint.starts_with("https:") {
        builder = builder.with_tls_config(ClientTlsConfig::new().with_native_roots());
    }
    if let Some(headers) = &settings.headers {
        let headers = checked(headers)?.into_iter().collect();
        builder = builder.with_metadata(MetadataMap::from_headers(headers));
    }
    builder.build()
}

fn over_http(settings: &TraceSettings) -> Result<SpanExporter, ExporterBuildError> {
    let base = settings.endpoint.trim_end_matches('/');
    let post = Post::new(WITHIN).map_err(|why| {
        let why = format!("the system's trusted certificates cannot be read: {why}");
        ExporterBuildError::InternalFailure(why)
    })?;
    let mut headers = HashMap::new();
    for (name, value) in checked(settings.headers.as_deref().unwrap_or_default())? {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.insert(name.to_string(), value);
    }
    SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{base}/v1/traces"))
        .with_http_client(post)
        .with_headers(headers)
        .build()
}

fn checked(headers: &str) -> Result<Vec<(HeaderName, HeaderValue)>, ExporterBuildError> {
    pairs(headers).map_err(|why| {
        ExporterBuildError::InvalidConfiguration(format!("OTEL_EXPORTER_OTLP_HEADERS: {why}"))
    })
}

/// The tracer of the process, where traces are exported.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Makes the tracer of the process.
pub(crate) fn tracer(provider: &SdkTracerProvider) -> SdkTracer {
    TRACER
        .get_or_init(|| provider.tracer("dynamic-mcp"))
        .clone()
}

/// Whether spans are exported at all. What only traces need is not made without.
#[must_use]
pub(crate) fn global() -> Option<&'static SdkTracer> {
    TRACER.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them() {
        let read = pairs("authorization=Basic%20eA%3D%3D, x-team = a ,").unwrap();
        let read: Vec<_> = read
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(read, [("authorization", "Basic eA=="), ("x-team", "a")]);
        assert_eq!(decoded("100%"), b"100%");
        assert_eq!(decoded("%zz%4"), b"%zz%4");
    }

    #[test]
    fn what_is_wrong_with_headers_never_shows_them() {
        for bad in ["canary", "ok=1,canary", "a b=canary", "x=cana%0Ary"] {
            let why = TraceSettings::check_headers(bad).unwrap_err();
            assert!(!why.contains("cana"), "{why}");
            assert!(why.contains("pair"), "{why}");
        }
    }
}
