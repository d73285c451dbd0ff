//! What a log line holds: which events become lines, and on each JSON line the ids by which it is
//! found: `request_id`, and `trace_id` and `span_id` where there is a trace.

use std::fmt::{self, Write as _};

use opentelemetry::trace::TraceContextExt as _;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, fmt::time::SystemTime};

use crate::fields::SpanFields;

/// Crates whose spans say what a line belongs to.
const OURS: &[&str] = &[
    "auth",
    "bootstrap",
    "dynamic_mcp",
    "executor",
    "gateway",
    "registry",
    "rpc",
    "sandbox",
    "telemetry",
];

/// Whether it is a span of ours that traces and lines are made of.
pub(crate) fn is_span_of_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO && {
        let of = metadata.target().split("::").next();
        of.is_some_and(|of| OURS.contains(&of))
    }
}

/// The filter of `LOG_LEVEL`, but that spans which name the request of a line are there at every
/// level: a warning without its request's id is worth little.
pub(crate) struct LineFilter(pub(crate) EnvFilter);

impl LineFilter {
    fn is_off(&self) -> bool {
        self.0.max_level_hint() == Some(LevelFilter::OFF)
    }
}

impl<S> Filter<S> for LineFilter
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        (is_span_of_ours(metadata) && !self.is_off()) || Filter::enabled(&self.0, metadata, context)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_span_of_ours(metadata) && !self.is_off() {
            // The filter must know the span too, if it has directives for it.
            let by_level: Interest = Filter::<S>::callsite_enabled(&self.0, metadata);
            return if by_level.is_sometimes() {
                by_level
            } else {
                Interest::always()
            };
        }
        Filter::<S>::callsite_enabled(&self.0, metadata)
    }

    fn event_enabled(&self, event: &Event<'_>, context: &Context<'_, S>) -> bool {
        Filter::event_enabled(&self.0, event, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let hint = self.0.max_level_hint()?;
        Some(if hint == LevelFilter::OFF {
            hint
        } else {
            hint.max(LevelFilter::INFO)
        })
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        Filter::on_new_span(&self.0, attributes, id, context);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        Filter::on_record(&self.0, id, values, context);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        Filter::on_enter(&self.0, id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        Filter::on_exit(&self.0, id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        Filter::on_close(&self.0, id, context);
    }
}

/// What a span says about every line within it.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) request_id: Option<String>,
    pub(crate) trace_id: Option<String>,
}

/// Keeps the marks of spans that have some.
pub(crate) struct KeepMarks;

impl<S> Layer<S> for KeepMarks
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let fields = attributes.metadata().fields();
        if fields.field("request_id").is_none() && fields.field("trace_id").is_none() {
            return;
        }
        let mut marks = Marks::default();
        attributes.record(&mut marks);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(marks);
        }
    }
}

impl Visit for Marks {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "request_id" => self.request_id = Some(value.to_owned()),
            "trace_id" => self.trace_id = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "request_id" | "trace_id") {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

/// The subscriber's JSON, with the ids at the end of each line.
pub(crate) struct Lines(Format<Json, SystemTime>);

impl Lines {
    pub(crate) fn new() -> Self {
        let format = tracing_subscriber::fmt::format().json();
        Self(
            format
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false),
        )
    }
}

impl<S> FormatEvent<S, SpanFields> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, SpanFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(512);
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        while line.ends_with(['\n', '}']) {
            let last = line.pop();
            if last == Some('}') {
                break;
            }
        }
        let own = event.metadata().fields();
        let mut ids = Ids::of_otel();
        for span in context.event_scope().into_iter().flatten() {
            if let Some(marks) = span.extensions().get::<Marks>() {
                ids.add(marks);
            }
        }
        for (name, value) in [
            ("request_id", &ids.request_id),
            ("trace_id", &ids.trace_id),
            ("span_id", &ids.span_id),
        ] {
            if let Some(value) = value
                && own.field(name).is_none()
            {
                write!(line, ",\"{name}\":")?;
                quoted(&mut line, value)?;
            }
        }
        line.push_str("}\n");
        writer.write_str(&line)
    }
}

#[derive(Default)]
struct Ids {
    request_id: Option<String>,
    trace_id: Option<String>,
    span_id: Option<String>,
}

impl Ids {
    /// Those of the span that runs now, where spans are exported.
    fn of_otel() -> Self {
        let context = opentelemetry::Context::current();
        let span = context.span();
        let span = span.span_context();
        if !span.is_valid() {
            return Self::default();
        }
        Self {
            trace_id: Some(span.trace_id().to_string()),
            span_id: Some(span.span_id().to_string()),
            request_id: None,
        }
    }

    /// Those of a span further out, where nothing nearer has said it.
    fn add(&mut self, marks: &Marks) {
        if self.request_id.is_none() {
            self.request_id.clone_from(&marks.request_id);
        }
        if self.trace_id.is_none() {
            self.trace_id.clone_from(&marks.trace_id);
        }
    }
}

/// JSON text of an id, which may be any printable characters.
fn quoted(line: &mut String, text: &str) -> fmt::Result {
    line.push_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?);
    Ok(())
}
