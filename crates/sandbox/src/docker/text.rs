//! What the tool wrote past the agent: children of the code, and files opened on its streams.

use bytes::Bytes;
use domain::runner::{LogLevel, Printed as Line};

use super::daemon::Printed;
use crate::output::Output;

/// Longest line that is kept, in bytes; the rest of it is cut.
const MAX_LINE: usize = 16_384;

/// The end of stderr that is kept to tell how a runtime died, in bytes.
const LAST_WORDS: usize = 4_096;

/// Cuts text into lines.
#[derive(Debug, Default)]
pub(super) struct Text {
    out: Begun,
    err: Begun,
    last_words: Vec<u8>,
}

/// A line without its end.
#[derive(Debug, Default)]
struct Begun {
    text: Vec<u8>,
    /// Whether it is longer than what is kept.
    cut: bool,
}

impl Text {
    /// Takes a piece of text, cut anywhere; whole lines are added to `output`.
    pub(super) fn add(
        &mut self,
        from: Printed,
        bytes: &Bytes,
        output: &mut Output,
        max_bytes: u64,
    ) {
        let (begun, level) = match from {
            Printed::Out => (&mut self.out, LogLevel::Info),
            Printed::Err => (&mut self.err, LogLevel::Error),
        };
        if from == Printed::Err {
            self.last_words
                .extend(bytes.iter().rev().take(LAST_WORDS).rev());
            let old = self.last_words.len().saturating_sub(LAST_WORDS);
            self.last_words.drain(..old);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (line, ends) = match part.strip_suffix(b"\n") {
                Some(line) => (line, true),
                None => (part, false),
            };
            let room = MAX_LINE.saturating_sub(begun.text.len());
            begun.cut |= line.len() > room;
            begun.text.extend_from_slice(&line[..line.len().min(room)]);
            if ends {
                begun.print(level, output, max_bytes);
            }
        }
    }

    /// The lines that have no end yet.
    pub(super) fn flush(&mut self, output: &mut Output, max_bytes: u64) {
        for (begun, level) in [
            (&mut self.out, LogLevel::Info),
            (&mut self.err, LogLevel::Error),
        ] {
            if !begun.text.is_empty() {
                begun.print(level, output, max_bytes);
            }
        }
    }

    /// The last of what came on stderr.
    pub(super) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.last_words).into_owned()
    }
}

impl Begun {
    fn print(&mut self, level: LogLevel, output: &mut Output, max_bytes: u64) {
        let text = std::mem::take(&mut self.text);
        output.truncated |= std::mem::take(&mut self.cut);
        let message = String::from_utf8_lossy(&text).into_owned();
        if output.count(message.len(), max_bytes) {
            output.printed.push(Line { level, message });
        } else {
            output.truncated = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(text: &mut Text, output: &mut Output, from: Printed, bytes: &[u8]) {
        text.add(from, &Bytes::copy_from_slice(bytes), output, 100_000);
    }

    #[test]
    fn lines_are_whole_however_they_come_and_always_text() {
        let (mut text, mut output) = (Text::default(), Output::default());
        add(&mut text, &mut output, Printed::Out, b"one\ntw");
        add(&mut text, &mut output, Printed::Err, b"bad \xff\n");
        add(&mut text, &mut output, Printed::Out, b"o\n\nrest");
        text.flush(&mut output, 100_000);
        let lines: Vec<_> = output
            .printed
            .iter()
            .map(|line| (line.level, line.message.as_str()))
            .collect();
        assert_eq!(
            lines,
            [
                (LogLevel::Info, "one"),
                (LogLevel::Error, "bad \u{fffd}"),
                (LogLevel::Info, "two"),
                (LogLevel::Info, ""),
                (LogLevel::Info, "rest"),
            ]
        );
        assert!(!output.truncated);
    }

    #[test]
    fn fault_09_a_line_without_an_end_is_cut_and_said_to_be() {
        let (mut text, mut output) = (Text::default(), Output::default());
        let long = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            add(&mut text, &mut output, Printed::Err, &long);
        }
        assert!(text.err.text.capacity() <= 2 * MAX_LINE && text.last_words.len() <= LAST_WORDS);
        text.flush(&mut output, 100_000);
        assert_eq!(output.printed[0].message.len(), MAX_LINE);
        assert!(output.truncated);
    }

    #[test]
    fn fault_06_beyond_the_bound_nothing_is_kept() {
        let (mut text, mut output) = (Text::default(), Output::default());
        for _ in 0..1_000 {
            text.add(
                Printed::Out,
                &Bytes::from(vec![b'\n'; 1_000]),
                &mut output,
                50,
            );
            text.add(
                Printed::Out,
                &Bytes::from_static(b"12345678\n"),
                &mut output,
                50,
            );
        }
        assert!(
            output
                .printed
                .iter()
                .map(|line| line.message.len())
                .sum::<usize>()
                <= 50
        );
        assert!(output.printed.len() <= 20_000 && output.truncated);
    }
}
