//! Logging to stderr, as text or as JSON lines. Nothing is ever written to stdout: in stdio mode
//! that belongs to MCP.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::plain::PlainFields;
use crate::traces::{self, TraceSettings};

/// How long a stop waits for the last spans to leave.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person at a terminal.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// What to log and how.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// A filter as in `RUST_LOG`: `info`, or `info,gateway=debug`.
    pub filter: String,
    /// Text or JSON.
    pub format: LogFormat,
    /// Colours for [`LogFormat::Text`].
    pub colours: bool,
}

/// Why logging or tracing could not start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is not one.
    #[error("the log filter `{filter}` is not valid: {source}")]
    Filter {
        /// What was asked for.
        filter: String,
        /// Which directive is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The OTLP exporter refused its settings.
    #[error("traces cannot be sent to `{endpoint}`: {source}")]
    Exporter {
        /// The endpoint that was asked for.
        endpoint: String,
        /// Why the exporter refused it.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Logging was started before in this process.
    #[error("logging has already been started in this process")]
    AlreadyStarted,
}

impl LogSettings {
    /// Whether the filter can be read, without starting anything.
    ///
    /// # Errors
    /// [`InitError::Filter`] with the directive that is wrong.
    pub fn check(&self) -> Result<(), InitError> {
        self.parse().map(drop)
    }

    fn parse(&self) -> Result<EnvFilter, InitError> {
        EnvFilter::builder()
            .parse(&self.filter)
            .map_err(|source| InitError::Filter {
                filter: self.filter.clone(),
                source,
            })
    }
}

/// Holds logging and tracing for the life of the process; [`Telemetry::flush`] at its end.
#[derive(Debug)]
#[must_use = "without a flush at the end the last spans are lost"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends the spans that are still waiting, for two seconds at most. Blocks: call it outside the
    /// runtime's worker threads or at the very end.
    pub fn flush(self) {
        let Some(provider) = self.provider else {
            return;
        };
        if let Err(reason) = provider.shutdown_with_timeout(FLUSH_DEADLINE) {
            tracing::warn!(%reason, "the last traces could not be sent");
        }
    }
}

/// Starts logging for the whole process and, with `traces`, the OTLP exporter (which needs to be
/// inside a tokio runtime).
///
/// # Errors
/// An unreadable filter, an endpoint that the exporter refuses, or a second call.
pub fn init(logs: &LogSettings, traces: Option<&TraceSettings>) -> Result<Telemetry, InitError> {
    let filter = logs.parse()?;
    let lines = match logs.format {
        LogFormat::Text => fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(logs.colours)
            .fmt_fields(PlainFields)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    let provider = traces.map(traces::provider).transpose()?;
    let spans = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("dynamic-mcp")));
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(spans)
        .try_init()
        .map_err(|_| InitError::AlreadyStarted)?;
    Ok(Telemetry { provider })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(filter: &str) -> LogSettings {
        LogSettings {
            filter: filter.to_owned(),
            format: LogFormat::Text,
            colours: false,
        }
    }

    #[test]
    fn filters_are_checked_before_anything_starts() {
        for good in ["info", "warn,gateway=debug", "off"] {
            settings(good).check().unwrap();
        }
        let error = settings("info,gateway=loud").check().unwrap_err();
        assert!(error.to_string().contains("`info,gateway=loud`"), "{error}");
    }

    #[test]
    fn a_second_start_is_refused() {
        init(&settings("off"), None).unwrap().flush();
        assert!(matches!(
            init(&settings("off"), None),
            Err(InitError::AlreadyStarted)
        ));
    }
}
