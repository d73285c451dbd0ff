//! A record as a line: redacted, cut to its limit, on one line whatever is in it.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::chain::Link;
use super::redact::redact;
use super::{Action, Actor, Outcome, Record};
use crate::error::{Error, ErrorCode, Result};

/// What a name is cut to in a record that is too long without any details.
const SHORT_CHARS: usize = 40;

/// Makes lines, all of one service and within one limit.
#[derive(Debug, Clone)]
pub struct Writer {
    /// `service` of every line.
    pub service: &'static str,
    /// `serviceVersion` of every line.
    pub version: &'static str,
    /// Longest line in bytes, its line break aside; at least 1,000.
    pub max_bytes: usize,
}

/// The members of a line in their order. `seq` and `prev` come last.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    timestamp: String,
    service: &'a str,
    service_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<String>,
    actor: Cow<'a, Actor>,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    result: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    details: Map<String, Value>,
    seq: u64,
    prev: String,
}

impl Writer {
    /// The line of a record at this place of the chain, without a line break, at most
    /// [`Writer::max_bytes`] long.
    ///
    /// # Errors
    /// `internal` when it cannot be written as JSON, which its types exclude.
    pub fn line(&self, record: &Record, link: &Link) -> Result<String> {
        let mut line = Line {
            timestamp: format!("{:.3}", record.time),
            service: self.service,
            service_version: self.version,
            request_id: record.request_id.as_ref().map(|id| id.as_str().into()),
            call_id: record.call_id.map(|id| id.to_string()),
            actor: Cow::Borrowed(&record.actor),
            action: record.action,
            target: record.target.as_deref().map(Cow::Borrowed),
            result: record.outcome,
            code: record.code,
            duration_ms: record
                .duration
                .map(|took| (took.as_secs_f64() * 1e6).round() / 1e3),
            source: record.source,
            details: record.details.clone(),
            seq: link.seq,
            prev: link.prev_hex(),
        };
        redact(&mut line.details);
        let mut text = write(&line)?;
        if text.len() > self.max_bytes {
            self.cut(&mut line, text.len());
            text = write(&line)?;
        }
        if text.len() > self.max_bytes {
            shorten(&mut line);
            text = write(&line)?;
        }
        Ok(text)
    }

    /// Takes the largest details out until the rest fits, and says so.
    fn cut(&self, line: &mut Line<'_>, length: usize) {
        let reason = format!("payload exceeds {} bytes", self.max_bytes);
        let mark = 120 + reason.len();
        let mut too_much = (length + mark).saturating_sub(self.max_bytes);
        let size = |value: &Value| written_len(&value.to_string());
        let mut sizes: Vec<(usize, String)> = line
            .details
            .iter()
            .map(|(key, value)| (size(value), key.clone()))
            .collect();
        sizes.sort_unstable();
        let mut left_out = Vec::new();
        while too_much > 0
            && let Some((size, key)) = sizes.pop()
        {
            line.details.remove(&key);
            // Its name stands in the mark instead.
            too_much = too_much.saturating_sub(size);
            left_out.push(key);
        }
        line.details.insert("truncated".to_owned(), json!(true));
        line.details.insert("reason".to_owned(), json!(reason));
        line.details.insert("leftOut".to_owned(), json!(left_out));
    }
}

/// The last resort: no details, and names that are cut to what fits into any limit.
fn shorten(line: &mut Line<'_>) {
    let short = |text: &str| -> String {
        let printable = |c: char| match c {
            '"' | '\\' => '?',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '?',
        };
        text.chars().take(SHORT_CHARS).map(printable).collect()
    };
    line.request_id = line.request_id.as_deref().map(|id| short(id).into());
    line.target = line.target.as_deref().map(|name| short(name).into());
    let actor = line.actor.to_mut();
    actor.subject = short(&actor.subject);
    actor.client_id = actor.client_id.as_deref().map(short);
    line.details = Map::new();
    line.details.insert("truncated".to_owned(), json!(true));
}

fn write(line: &Line<'_>) -> Result<String> {
    let text = serde_json::to_string(line).map_err(Error::internal)?;
    Ok(escaped(text))
}

/// How long a JSON text is once [`escaped`].
fn written_len(json: &str) -> usize {
    json.chars()
        .map(|c| {
            if misleads(c) {
                6 * c.len_utf16()
            } else {
                c.len_utf8()
            }
        })
        .sum()
}

/// Writes as `\u…` what JSON may hold as it is but what moves a terminal's cursor, turns text
/// around or ends a line for some readers. Such characters only ever stand inside strings.
fn escaped(json: String) -> String {
    if json.is_ascii() && !json.contains('\u{7f}') {
        return json;
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if misleads(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, line and paragraph separators, and those that set the direction of text or
/// cannot be seen.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests;
