//! What comes out of a sandbox, counted again on this side: a sandbox is believed nothing.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use domain::runner::{Failure, Outcome, Printed, RunEvent, Usage};
use serde_json::value::RawValue;

use crate::wire::{self, FromChild, Progress, Spent};

/// Room in a frame for what is not output: levels, JSON of a failure.
const FRAME_SLACK: usize = 65_536;

/// Most frames with output of one call. The guest stops before that.
const MAX_MESSAGES: u32 = 20_000;

/// Largest payload of a frame of a call with this bound of its output.
pub(crate) fn max_frame(max_output_bytes: u64) -> usize {
    usize::try_from(max_output_bytes)
        .unwrap_or(usize::MAX)
        .saturating_add(FRAME_SLACK)
}

/// What came out so far.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Whether the guest has read the call.
    pub(crate) started: bool,
    /// Lines of the console.
    pub(crate) printed: Vec<Printed>,
    /// What the guest says that it used, or what was read from outside.
    pub(crate) spent: Option<Spent>,
    /// Whether something was left out on this side.
    pub(crate) truncated: bool,
    bytes: u64,
    messages: u32,
}

impl Output {
    /// Counts a message and turns it into an event; printed lines are kept instead.
    ///
    /// # Errors
    /// `InvalidData`, or what the message breaks: the sandbox is not to be believed.
    pub(crate) fn admit(
        &mut self,
        kind: FromChild,
        payload: &Bytes,
        max_bytes: u64,
    ) -> io::Result<Option<RunEvent>> {
        if !self.count(payload.len().saturating_sub(1), max_bytes) {
            return Err(broken("more output than the call's bound"));
        }
        self.event(kind, payload)
    }

    /// The same without counting.
    ///
    /// # Errors
    /// What the message breaks: the sandbox is not to be believed.
    pub(crate) fn event(
        &mut self,
        kind: FromChild,
        payload: &Bytes,
    ) -> io::Result<Option<RunEvent>> {
        if kind == FromChild::Progress {
            let Progress {
                progress,
                total,
                message,
            } = parsed(payload)?;
            return Ok(Some(RunEvent::Progress {
                progress,
                total,
                message,
            }));
        }
        let (level, text) = payload
            .split_first()
            .ok_or_else(|| broken("an empty message"))?;
        let level = wire::level_from(*level).ok_or_else(|| broken("an unknown level"))?;
        let text = std::str::from_utf8(text)
            .map_err(io::Error::other)?
            .to_owned();
        if kind == FromChild::Print {
            self.printed.push(Printed {
                level,
                message: text,
            });
            return Ok(None);
        }
        let data = RawValue::from_string(well_formed(text)).map_err(io::Error::other)?;
        Ok(Some(RunEvent::Log { level, data }))
    }

    /// Whether so many bytes more, as one message, are within the bound of the call.
    pub(crate) fn count(&mut self, bytes: usize, max_bytes: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.messages = self.messages.saturating_add(1);
        self.bytes <= max_bytes && self.messages <= MAX_MESSAGES
    }

    /// The end of the call. The bound is for result and printed text together, and the result
    /// comes first.
    pub(crate) fn outcome(
        mut self,
        result: Result<Option<Box<RawValue>>, Failure>,
        mut usage: Usage,
        max_bytes: u64,
    ) -> Outcome {
        let spent = self.spent.unwrap_or_default();
        if self.spent.is_some() {
            usage.cpu = Some(Duration::from_micros(spent.cpu_micros));
            usage.peak_memory_bytes = Some(spent.peak_bytes);
        }
        let size = match &result {
            Ok(value) => value.as_ref().map_or(0, |value| value.get().len()),
            Err(_) => 0,
        };
        let cut = self.fit(max_bytes.saturating_sub(size as u64));
        Outcome {
            result,
            printed: self.printed,
            truncated: self.truncated || spent.truncated || cut,
            usage,
        }
    }

    /// Drops the last lines until the rest fits. Whether any had to go.
    fn fit(&mut self, bytes: u64) -> bool {
        let mut left = bytes;
        let keep = self.printed.iter().take_while(|line| {
            let fits = left.checked_sub(line.message.len() as u64);
            left = fits.unwrap_or(0);
            fits.is_some()
        });
        let keep = keep.count();
        let cut = keep < self.printed.len();
        self.printed.truncate(keep);
        cut
    }
}

/// The value of a call: JSON, or nothing for `undefined`.
///
/// # Errors
/// It is neither.
pub(crate) fn value(payload: &Bytes) -> io::Result<Option<Box<RawValue>>> {
    if payload.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8(payload.to_vec()).map_err(io::Error::other)?;
    RawValue::from_string(well_formed(text))
        .map(Some)
        .map_err(io::Error::other)
}

/// A payload that is JSON.
///
/// # Errors
/// It is not, or not of this shape.
pub(crate) fn parsed<'a, T: serde::Deserialize<'a>>(payload: &'a Bytes) -> io::Result<T> {
    serde_json::from_slice(payload).map_err(io::Error::other)
}

/// The sandbox did what a sandbox never does.
pub(crate) fn broken(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

/// JSON whose escapes name no lone surrogate. `JSON.stringify` writes pairs as they are and escapes
/// lone ones, which most readers of JSON refuse.
pub(crate) fn well_formed(json: String) -> String {
    if !json.contains("\\ud") {
        return json;
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let surrogate = escape.starts_with("\\ud")
            && escape
                .as_bytes()
                .get(3)
                .is_some_and(|digit| b"89abcdef".contains(digit));
        let (text, length) = if surrogate {
            ("\\ufffd", 6)
        } else {
            (&escape[..2.min(escape.len())], 2)
        };
        out.push_str(text);
        rest = escape.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_are_replaced_and_nothing_else() {
        let same = [
            r#""a\\ud800""#,
            r#""\ud7ff""#,
            r#"{"\"":"\n"}"#,
            "\"\u{1f600}\"",
        ];
        for json in same {
            assert_eq!(well_formed(json.to_owned()), json);
        }
        assert_eq!(
            well_formed(r#""x\ud800y\\\udfff""#.to_owned()),
            r#""x\ufffdy\\\ufffd""#
        );
        assert_eq!(
            well_formed(r#"["\ud83d","\\"]"#.to_owned()),
            r#"["\ufffd","\\"]"#
        );
    }
}
