//! Answers as bytes: the parts that are JSON already are copied, never parsed.

use domain::RawValue;
use serde::Serialize;

use super::port::Page;
use super::request::Request;
use super::version::Version;
use crate::operations::{Notification, ToolResult};

/// How long a client may take a list for fresh, in milliseconds: not at all, for a tool that was
/// just made has to be in the very next list.
pub(crate) const LIST_TTL_MS: u64 = 0;

/// The key of `_meta` that names the server in every answer of the stateless era.
pub(crate) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// What every answer says of the server, serialised once.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    /// `"io.modelcontextprotocol/serverInfo":{...}`.
    server_info: String,
}

impl Stamp {
    pub(crate) fn new(server: &rmcp::model::Implementation) -> Self {
        let json = serde_json::to_string(server).unwrap_or_default();
        Self {
            server_info: format!("\"{SERVER_INFO}\":{json}"),
        }
    }

    /// The response to `tools/call`.
    pub(crate) fn tool_result(
        &self,
        request: Version,
        id: &RawValue,
        result: &ToolResult,
    ) -> Vec<u8> {
        let structured = result
            .structured_content
            .as_deref()
            .map_or("", RawValue::get);
        let size = 320 + result.content.get().len() + structured.len();
        let mut out = open(id, size);
        if request.is_modern() {
            out.extend_from_slice(br#""resultType":"complete","#);
        }
        out.extend_from_slice(br#""content":"#);
        out.extend_from_slice(result.content.get().as_bytes());
        if result.structured_content.is_some() {
            out.extend_from_slice(br#","structuredContent":"#);
            out.extend_from_slice(structured.as_bytes());
        }
        if result.is_error {
            out.extend_from_slice(br#","isError":true"#);
        }
        if request.is_modern() || !result.meta.is_empty() {
            out.extend_from_slice(br#","_meta":{"#);
            let mut first = true;
            if request.is_modern() {
                out.extend_from_slice(self.server_info.as_bytes());
                first = false;
            }
            for (key, value) in &result.meta {
                if !first {
                    out.push(b',');
                }
                first = false;
                json(&mut out, key);
                out.push(b':');
                json(&mut out, value);
            }
            out.push(b'}');
        }
        out.extend_from_slice(b"}}");
        out
    }

    /// The response to a list method; `member` is the name of the list.
    pub(crate) fn page(
        &self,
        request: &Request<'_>,
        id: &RawValue,
        member: &str,
        page: &Page,
    ) -> Vec<u8> {
        let modern = request.version.is_modern();
        let mut out = open(id, 320 + page.items.get().len());
        if modern {
            out.extend_from_slice(br#""resultType":"complete","#);
        }
        json(&mut out, member);
        out.push(b':');
        out.extend_from_slice(page.items.get().as_bytes());
        if let Some(cursor) = &page.next_cursor {
            out.extend_from_slice(br#","nextCursor":"#);
            json(&mut out, cursor);
        }
        if modern {
            let hints = format!(r#","ttlMs":{LIST_TTL_MS},"cacheScope":"private","_meta":{{"#);
            out.extend_from_slice(hints.as_bytes());
            out.extend_from_slice(self.server_info.as_bytes());
            out.push(b'}');
        }
        out.extend_from_slice(b"}}");
        out
    }
}

/// The response `{}`, exactly.
pub(crate) fn empty(id: &RawValue) -> Vec<u8> {
    let mut out = open(id, 64);
    out.extend_from_slice(b"}}");
    out
}

/// Up to the first member of the result.
fn open(id: &RawValue, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + id.get().len());
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.get().as_bytes());
    out.extend_from_slice(br#","result":{"#);
    out
}

/// A notification of a running call. `None` for progress that nobody asked for.
pub(crate) fn notification(
    note: &Notification,
    progress_token: Option<&RawValue>,
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(192);
    match note {
        Notification::Log {
            level,
            logger,
            data,
        } => {
            out.extend_from_slice(
                br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":""#,
            );
            out.extend_from_slice(level.as_str().as_bytes());
            out.extend_from_slice(br#"","logger":"#);
            json(&mut out, logger);
            out.extend_from_slice(br#","data":"#);
            out.extend_from_slice(data.get().as_bytes());
        }
        Notification::Progress {
            progress,
            total,
            message,
        } => {
            out.extend_from_slice(
                br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"#,
            );
            out.extend_from_slice(progress_token?.get().as_bytes());
            out.extend_from_slice(br#","progress":"#);
            json(&mut out, progress);
            if let Some(total) = total {
                out.extend_from_slice(br#","total":"#);
                json(&mut out, total);
            }
            if let Some(message) = message {
                out.extend_from_slice(br#","message":"#);
                json(&mut out, message);
            }
        }
    }
    out.extend_from_slice(b"}}");
    Some(out)
}

/// Appends a value. Writing to memory cannot fail, and these types always serialise; should that
/// change, the client gets `null` and no broken JSON.
fn json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// One event of a stream. A newline in JSON is never inside a string, so it can be a space: the
/// framing of the stream must not depend on what a tool returned.
pub(crate) fn event(mut message: Vec<u8>) -> Vec<u8> {
    for byte in &mut message {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    let mut out = Vec::with_capacity(message.len() + 24);
    out.extend_from_slice(b"event: message\ndata: ");
    out.extend_from_slice(&message);
    out.extend_from_slice(b"\n\n");
    out
}

/// A comment line, which keeps proxies from closing a silent stream.
pub(crate) const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
