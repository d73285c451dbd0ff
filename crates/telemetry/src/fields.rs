//! Fields of spans as JSON. Every request has a span and few of them a line, so that this is what
//! a span costs: the subscriber's own form sorts the fields and copies each of them twice.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};

/// An object with the fields in their order. One that is recorded again is there twice, and the
/// last one counts: whoever reads objects takes it so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        writer.write_char('{')?;
        members(&mut writer, true, fields)?;
        writer.write_char('}')
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        if current.fields.pop().is_none() {
            current.fields.push('{');
        }
        let first = current.fields.len() == 1;
        members(&mut current.as_writer(), first, fields)?;
        current.fields.push('}');
        Ok(())
    }
}

fn members(writer: &mut Writer<'_>, first: bool, fields: impl RecordFields) -> fmt::Result {
    let mut members = Members {
        writer,
        first,
        result: Ok(()),
    };
    fields.record(&mut members);
    members.result
}

struct Members<'a, 'writer> {
    writer: &'a mut Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl Members<'_, '_> {
    fn add(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_err() {
            return;
        }
        let comma = if std::mem::replace(&mut self.first, false) {
            ""
        } else {
            ","
        };
        // Names are those of the program: identifiers with dots.
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        self.result =
            write!(self.writer, "{comma}\"{name}\":").and_then(|()| value(&mut *self.writer));
    }

    fn text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        self.add(field, |writer| {
            writer.write_char('"')?;
            Escaped(writer).write_fmt(text)?;
            writer.write_char('"')
        });
    }
}

impl Visit for Members<'_, '_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.add(field, |writer| write!(writer, "{value}"));
        } else {
            self.add(field, |writer| writer.write_str("null"));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, |writer| write!(writer, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}

/// What is written becomes the inside of a string of JSON.
struct Escaped<'a, 'writer>(&'a mut Writer<'writer>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        // All that has to be escaped is one byte long.
        let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        while let Some(at) = rest.bytes().position(special) {
            self.0.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                byte @ (b'"' | b'\\') => {
                    self.0.write_char('\\')?;
                    self.0.write_char(char::from(byte))?;
                }
                byte => write!(self.0, "\\u{byte:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::lines::Lines;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The member `span` of a line within it.
    fn span_of(make: impl FnOnce() -> tracing::Span) -> Value {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(SpanFields)
            .event_format(Lines::new())
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            make().in_scope(|| tracing::info!("a line"));
        });
        let line: Value = serde_json::from_slice(&kept.0.lock()).unwrap();
        assert_eq!(line["message"], "a line", "{line}");
        line["span"].clone()
    }

    #[test]
    fn fields_of_every_kind_and_every_character_are_in_the_line() {
        let all: String = (0..0x250).filter_map(char::from_u32).collect();
        let text = format!("{all}\u{2028}🌍");
        let span = span_of(|| {
            tracing::info_span!(
                "all",
                text = text.as_str(),
                shown = %text,
                debug = ?Some("a \"b\""),
                r#type = true,
                http.status = 200_u64,
                less = -1,
                part = 0.5,
                none = f64::NAN,
                empty = tracing::field::Empty,
            )
        });
        let wanted = json!({
            "text": text, "shown": text, "debug": "Some(\"a \\\"b\\\"\")", "type": true, "http.status": 200,
            "less": -1, "part": 0.5, "none": null, "name": "all",
        });
        assert_eq!(span, wanted);
    }

    #[test]
    fn what_is_recorded_later_is_added_and_the_last_counts() {
        let span = span_of(|| {
            let span = tracing::info_span!(
                "later",
                one = tracing::field::Empty,
                two = tracing::field::Empty
            );
            span.record("one", 1);
            span.record("two", "2");
            span.record("one", "again");
            span
        });
        assert_eq!(span, json!({"one": "again", "two": "2", "name": "later"}));
        assert_eq!(
            span_of(|| tracing::info_span!("bare")),
            json!({"name": "bare"})
        );
    }
}
