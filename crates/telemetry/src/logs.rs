//! Logging to stderr or to a file, as text or as JSON lines. Nothing is ever written to stdout: in
//! stdio mode that belongs to MCP.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Metadata;
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::fields::SpanFields;
use crate::lines::{KeepMarks, LineFilter, Lines, is_span_of_ours};
use crate::metrics::Metrics;
use crate::plain::PlainFields;
use crate::reports::{self, ReportSettings, Reports};
use crate::rotate::{FileLog, LogFile};
use crate::traces::{self, Fate, TraceSettings};

/// How long a stop waits for the last spans, reports and lines to leave, each.
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
    /// A file instead of stderr.
    pub file: Option<LogFile>,
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
    /// The log file cannot be written.
    #[error(
        "LOG_FILE: the log cannot be written to `{path}`: {source}; make its directory writable, or \
         unset LOG_FILE to log to stderr"
    )]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The OTLP exporter refused its settings.
    #[error("traces cannot be sent to `{endpoint}`: {source}")]
    Exporter {
        /// The endpoint that was asked for.
        endpoint: String,
        /// Why the exporter refused it.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Error reports cannot be sent.
    #[error("SENTRY_DSN: error reports cannot be sent: {0}")]
    Reports(std::io::Error),
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
        parse(&self.filter).map(drop)
    }
}

fn parse(filter: &str) -> Result<EnvFilter, InitError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|source| InitError::Filter {
            filter: filter.to_owned(),
            source,
        })
}

/// What is started besides lines.
#[derive(Debug, Clone, Default)]
pub struct Exports {
    /// Where traces go; without, there are none.
    pub traces: Option<TraceSettings>,
    /// Where faults of this program are reported; without, nowhere.
    pub reports: Option<ReportSettings>,
}

/// Changes what is logged while the process runs. Cheap to clone.
#[derive(Clone)]
pub struct LogControl {
    filter: reload::Handle<LineFilter, Registry>,
    file: Option<FileLog>,
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("LogControl")
    }
}

impl LogControl {
    /// Uses another filter from now on.
    ///
    /// # Errors
    /// [`InitError::Filter`]: the one in use stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), InitError> {
        let parsed = parse(filter)?;
        // Only a subscriber that is gone refuses, and that is the process's end.
        self.filter
            .reload(LineFilter(parsed))
            .map_err(|_| InitError::AlreadyStarted)
    }

    /// Whether anything at `warn` can become a line.
    #[must_use]
    pub fn takes_warnings(&self) -> bool {
        self.takes(LevelFilter::WARN)
    }

    /// Whether anything at `error` can become a line. (`tracing::enabled!` does not know: it says yes
    /// where one layer has no filter of its own.)
    #[must_use]
    pub fn takes_errors(&self) -> bool {
        self.takes(LevelFilter::ERROR)
    }

    fn takes(&self, level: LevelFilter) -> bool {
        let hint = self.filter.with_current(|it| it.0.max_level_hint());
        hint.is_ok_and(|hint| hint.is_none_or(|hint| hint >= level))
    }

    /// Opens the log file anew, for those who put it aside themselves.
    pub fn reopen(&self) {
        if let Some(file) = &self.file {
            file.reopen();
        }
    }
}

/// Holds logging and tracing for the life of the process; [`Telemetry::flush`] at its end.
#[derive(Debug)]
#[must_use = "without a flush at the end the last spans are lost"]
pub struct Telemetry {
    traces: Option<(SdkTracerProvider, Arc<Fate>)>,
    reports: Option<Reports>,
    control: LogControl,
}

impl Telemetry {
    /// The way to change what is logged.
    #[must_use]
    pub fn control(&self) -> LogControl {
        self.control.clone()
    }

    /// Counts what is lost of lines and reports in these metrics.
    pub fn count_in(&self, metrics: &Metrics) {
        if let Some(file) = self.control.file.clone() {
            metrics.on_scrape(move |it| it.log_lines_lost.inc_by(file.take_lost()));
        }
        if let Some((_, fate)) = &self.traces {
            let fate = Arc::clone(fate);
            metrics.on_scrape(move |it| it.trace_spans_lost.inc_by(fate.take_lost()));
        }
        if let Some(reports) = &self.reports {
            let counts = reports.counts();
            metrics.on_scrape(move |it| counts.add_to(&it.error_reports));
        }
    }

    /// Sends the spans and reports that are still waiting and writes the last lines, for two
    /// seconds each at most. Blocks: call it outside the runtime's worker threads or at the very
    /// end.
    pub fn flush(self) {
        if let Some((provider, _)) = self.traces
            && let Err(reason) = provider.shutdown_with_timeout(FLUSH_DEADLINE)
        {
            tracing::warn!(%reason, "the last traces could not be sent");
        }
        if let Some(reports) = self.reports {
            reports.flush(FLUSH_DEADLINE);
        }
        if let Some(file) = self.control.file {
            file.flush(FLUSH_DEADLINE);
        }
    }
}

/// Starts logging for the whole process and what else is asked for. With exports it needs to be
/// inside a tokio runtime.
///
/// # Errors
/// An unreadable filter, a file that cannot be written, an endpoint that the exporter refuses, or a
/// second call.
pub fn init(logs: &LogSettings, exports: Exports) -> Result<Telemetry, InitError> {
    let (filter, handle) = reload::Layer::new(LineFilter(parse(&logs.filter)?));
    let file = match &logs.file {
        None => None,
        Some(file) => Some(
            FileLog::start(file.clone()).map_err(|source| InitError::File {
                path: file.path.display().to_string(),
                source,
            })?,
        ),
    };
    let writer = match &file {
        None => BoxMakeWriter::new(std::io::stderr),
        Some(file) => BoxMakeWriter::new(file.clone()),
    };
    let lines = match logs.format {
        LogFormat::Text => fmt::layer()
            .with_writer(writer)
            .with_ansi(logs.colours && file.is_none())
            .fmt_fields(PlainFields)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .fmt_fields(SpanFields)
            .event_format(Lines::new())
            .with_writer(writer)
            .boxed(),
    };
    let traces = exports.traces.as_ref().map(traces::provider).transpose()?;
    // Spans of ours only, whatever the log's level is, and never an event: an event may hold the
    // text of an error.
    let spans = traces.as_ref().map(|(provider, _)| {
        tracing_opentelemetry::layer()
            .with_tracer(traces::tracer(provider))
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(of_spans())
    });
    let reports = exports.reports.map(Reports::start).transpose();
    let reports = reports.map_err(InitError::Reports)?;
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(KeepMarks.with_filter(of_spans()))
        .with(spans)
        .with(reports.as_ref().map(|reports| {
            let wanted = filter_fn(|it| is_span_of_ours(it) || reports::is_fault(it));
            let layer = reports.layer();
            layer.with_filter(wanted.with_max_level_hint(LevelFilter::INFO))
        }))
        .try_init()
        .map_err(|_| InitError::AlreadyStarted)?;
    Ok(Telemetry {
        traces,
        reports,
        control: LogControl {
            filter: handle,
            file,
        },
    })
}

/// Without the hint every event of every library would be looked at.
fn of_spans() -> FilterFn {
    filter_fn(is_span_of_ours as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::INFO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(filter: &str) -> LogSettings {
        LogSettings {
            filter: filter.to_owned(),
            format: LogFormat::Text,
            colours: false,
            file: None,
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
        init(&settings("off"), Exports::default()).unwrap().flush();
        assert!(matches!(
            init(&settings("off"), Exports::default()),
            Err(InitError::AlreadyStarted)
        ));
    }
}
