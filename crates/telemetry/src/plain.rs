//! Fields of text lines without control characters. What callers send ends up in log lines, of
//! libraries too; with a line break in it, it could look like a line of ours, and with an escape
//! sequence it could write to the reader's terminal. JSON lines have their own escapes.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// The subscriber's own form of fields, `message a=1 b="x"`, escaped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlainFields;

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line {
            writer,
            begun: false,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    begun: bool,
    result: fmt::Result,
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_err() {
            return;
        }
        self.result = self.write(field.name(), value);
    }
}

impl Line<'_> {
    fn write(&mut self, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
        if std::mem::replace(&mut self.begun, true) {
            self.writer.write_char(' ')?;
        }
        if name != "message" {
            let name = name.strip_prefix("r#").unwrap_or(name);
            if self.writer.has_ansi_escapes() {
                write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?;
            } else {
                write!(self.writer, "{name}=")?;
            }
        }
        write!(Escaped(&mut self.writer), "{value:?}")
    }
}

struct Escaped<'a, 'writer>(&'a mut Writer<'writer>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, bad)) = rest.char_indices().find(|(_, c)| misleads(*c)) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", bad.escape_default())?;
            rest = &rest[at + bad.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Control characters, line separators and what changes the direction of text.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(say: impl FnOnce()) -> String {
        let log = Log::default();
        let writer = log.clone();
        let lines = fmt::layer()
            .fmt_fields(PlainFields)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, say);
        let bytes = log.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn fields_look_as_the_subscribers_own_do() {
        let text = logged(|| tracing::info!(a = 1, b = "x", c = %"é", r#type = true, "hello"));
        assert_eq!(
            text,
            " INFO telemetry::plain::tests: hello a=1 b=\"x\" c=é type=true\n"
        );
    }

    /// Threat case 93: one line, whatever is in a name or a message, of an event or of its span.
    #[test]
    fn nothing_that_is_logged_can_forge_a_line_or_write_to_the_terminal() {
        let evil = "\u{1b}[31mred\u{7}\r\n INFO forged: yes\u{2028}\u{202e}\u{85}\0";
        let text = logged(|| {
            let span = tracing::info_span!("request", id = %evil);
            let _in = span.enter();
            tracing::info!(name = %evil, debugged = evil, "said {evil}");
        });
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(text.ends_with('\n'));
        assert!(!text.trim_end().chars().any(misleads), "{text:?}");
        assert_eq!(text.matches("\\u{1b}[31mred").count(), 4, "{text:?}");
    }
}
