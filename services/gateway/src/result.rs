//! What the code returned, as a `tools/call` result (contract section 3).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use domain::runner::{LogLevel, Outcome, Printed};
use domain::schema::Schema;
use domain::{Error, ErrorCode, RawValue, RequestId};
use serde::Serialize;
use serde_json::{Map, Value, json, value::to_raw_value};

use crate::mcp::readable;
use crate::operations::{ProtocolError, ToolResult};
use crate::{blocks, error, json_text};

/// `_meta` key of what the code printed, where `structuredContent` is the tool's own.
const META_LOGS: &str = "dynamic-mcp/logs";

/// Turns outcomes of one call into its result.
pub(crate) struct Settling<'a> {
    /// The tool's name.
    pub(crate) tool: &'a str,
    /// What its results have to fit.
    pub(crate) output: Option<&'a Schema>,
    /// Whether `structuredContent` has the default form whatever the code returns, because the
    /// tool that runs it (`run_js_ephemeral`) says so in its own `outputSchema`.
    pub(crate) default_form: bool,
    /// Whether the text is what was printed, as a terminal shows it: for code in a session.
    pub(crate) as_printed: bool,
    /// The request, for errors.
    pub(crate) request: &'a RequestId,
    /// Longest text of a result in the text block, in bytes.
    pub(crate) max_text_bytes: usize,
    /// How long the call took.
    pub(crate) took: Duration,
}

/// A result and how the call is counted: `None` for success.
pub(crate) type Settled = (ToolResult, Option<ErrorCode>);

/// `structuredContent` of a result without `outputSchema`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DefaultContent<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    duration_ms: u128,
    #[serde(skip_serializing_if = "<[Printed]>::is_empty")]
    logs: &'a [Printed],
}

/// MCP content that the code made itself.
struct Passed {
    content: Box<RawValue>,
    structured: Option<Box<RawValue>>,
    is_error: bool,
}

/// What a returned object with a `content` array is.
enum Content {
    /// An ordinary result.
    Ordinary,
    /// MCP content.
    Mcp(Passed),
    /// Meant as MCP content, but it is none; the sentence says why.
    Malformed(String),
}

impl Settling<'_> {
    /// The result of a call that ended like this.
    ///
    /// # Errors
    /// -32603 when the result cannot be written as JSON, which its types exclude.
    pub(crate) fn settle(&self, outcome: Outcome) -> Result<Settled, ProtocolError> {
        let Outcome {
            result,
            mut printed,
            truncated,
            ..
        } = outcome;
        if truncated {
            let message = "(output beyond the bound was dropped)".to_owned();
            printed.push(Printed {
                level: LogLevel::Warning,
                message,
            });
        }
        match result {
            Err(failure) => {
                let error = Error::new(failure.code, failure.message)
                    .with_may_have_run(failure.may_have_run);
                self.failed(&error, &printed)
            }
            Ok(value) => self.returned(value.map(json_text::on_one_line), &printed),
        }
    }

    /// The result of a call that could not be run.
    ///
    /// # Errors
    /// As [`Settling::settle`].
    pub(crate) fn failed(
        &self,
        error: &Error,
        printed: &[Printed],
    ) -> Result<Settled, ProtocolError> {
        let mut result = error::failed(self.tool, error, self.request, self.took, printed)?;
        if self.output.is_some() {
            result = error::in_meta(result, self.request)?;
        }
        Ok((result, Some(error.code())))
    }

    fn returned(
        &self,
        value: Option<Box<RawValue>>,
        printed: &[Printed],
    ) -> Result<Settled, ProtocolError> {
        if let Some(Err(why)) = value.as_deref().map(readable) {
            return self.broke(&format!("the tool's result cannot be sent: {why}"), printed);
        }
        let content = value.as_deref().map_or(Content::Ordinary, content_of);
        match (content, self.output) {
            (Content::Malformed(why), _) => self.broke(
                &format!("the tool's result is not MCP content: {why}"),
                printed,
            ),
            (Content::Mcp(passed), output) => self.passed(passed, output, printed),
            (Content::Ordinary, Some(schema)) => self.by_schema(value, schema, printed),
            (Content::Ordinary, None) => self.by_default(value.as_deref(), printed),
        }
    }

    fn by_default(
        &self,
        value: Option<&RawValue>,
        printed: &[Printed],
    ) -> Result<Settled, ProtocolError> {
        let duration_ms = self.took.as_millis();
        if self.as_printed {
            let text = self.printed_text(value, printed);
            let structured = self.structured(true, value, printed)?;
            return Ok((self.success(self.text(&text)?, Some(structured), &[]), None));
        }
        let shown = value.map_or_else(
            || "undefined".to_owned(),
            |value| json_text::pretty(value, self.max_text_bytes),
        );
        let text = format!(
            "Dynamic tool succeeded: {}\n\nDuration: {duration_ms}ms\n\nResult:\n{shown}",
            self.tool
        );
        let structured = self.structured(true, value, printed)?;
        Ok((self.success(self.text(&text)?, Some(structured), &[]), None))
    }

    fn printed_text(&self, value: Option<&RawValue>, printed: &[Printed]) -> String {
        let lines: Vec<&str> = printed.iter().map(|line| line.message.as_str()).collect();
        let mut text = lines.join("\n");
        if let Some(value) = value {
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            text.push_str("Result:\n");
            text.push_str(&json_text::pretty(value, self.max_text_bytes));
        }
        if text.is_empty() {
            text.push_str("Execution completed with no output.");
        }
        text
    }

    fn structured(
        &self,
        ok: bool,
        result: Option<&RawValue>,
        logs: &[Printed],
    ) -> Result<Box<RawValue>, ProtocolError> {
        let duration_ms = self.took.as_millis();
        let content = DefaultContent {
            ok,
            result,
            duration_ms,
            logs,
        };
        to_raw_value(&content).map_err(|e| self.unwritable(&e))
    }

    fn by_schema(
        &self,
        value: Option<Box<RawValue>>,
        schema: &Schema,
        printed: &[Printed],
    ) -> Result<Settled, ProtocolError> {
        let Some(value) = value else {
            return self.broke(
                "the tool returned nothing, but has an outputSchema",
                printed,
            );
        };
        if let Err(why) = fits(schema, &value) {
            return self.broke(&why, printed);
        }
        let content = self.text(value.get())?;
        Ok((self.success(content, Some(value), printed), None))
    }

    fn passed(
        &self,
        passed: Passed,
        output: Option<&Schema>,
        printed: &[Printed],
    ) -> Result<Settled, ProtocolError> {
        let Passed {
            content,
            structured,
            is_error,
        } = passed;
        // Clients check structuredContent also when isError is set; only then it may be absent.
        let fit = match (output, structured.as_deref()) {
            (Some(schema), Some(structured)) => fits(schema, structured),
            (Some(_), None) if !is_error => {
                Err("the tool has an outputSchema, but its result no structuredContent".into())
            }
            _ => Ok(()),
        };
        let mut result = match (fit, structured) {
            (Err(why), Some(structured)) if is_error => {
                // JSON that no value can hold, such as a number beyond all bounds, is kept as text.
                let structured = serde_json::from_str(structured.get())
                    .unwrap_or_else(|_| Value::from(structured.get()));
                let kept = json!({
                    "code": ErrorCode::ToolFailed, "error": why, "structuredContent": structured,
                });
                let mut result = self.success(content, None, printed);
                result.meta.insert(error::META_ERROR.to_owned(), kept);
                result
            }
            (Err(why), _) => return self.broke(&why, printed),
            (Ok(()), structured) if self.default_form => {
                let inner = self.structured(!is_error, structured.as_deref(), printed)?;
                self.success(content, Some(inner), &[])
            }
            (Ok(()), structured) => self.success(content, structured, printed),
        };
        result.is_error = is_error;
        Ok((result, is_error.then_some(ErrorCode::ToolFailed)))
    }

    fn success(
        &self,
        content: Box<RawValue>,
        structured_content: Option<Box<RawValue>>,
        logs: &[Printed],
    ) -> ToolResult {
        let mut meta = Map::new();
        if !logs.is_empty() {
            meta.insert(META_LOGS.to_owned(), json!(logs));
        }
        ToolResult {
            content,
            structured_content,
            is_error: false,
            meta,
        }
    }

    fn broke(&self, why: &str, printed: &[Printed]) -> Result<Settled, ProtocolError> {
        self.failed(&Error::new(ErrorCode::ToolFailed, why), printed)
    }

    fn text(&self, text: &str) -> Result<Box<RawValue>, ProtocolError> {
        error::text_block(text).map_err(|e| self.unwritable(&e))
    }

    fn unwritable(&self, cause: &serde_json::Error) -> ProtocolError {
        error::unwritable(self.request, cause)
    }
}

fn fits(schema: &Schema, value: &RawValue) -> Result<(), String> {
    let value: Value = serde_json::from_str(value.get())
        .map_err(|e| format!("the tool's result cannot be checked: {e}"))?;
    schema.check(&value).map_err(|violation| {
        let at = if violation.path.is_empty() {
            "the result itself"
        } else {
            &violation.path
        };
        format!(
            "the tool's result does not fit its outputSchema at {at}: {} [{}]",
            violation.message, violation.rule
        )
    })
}

/// Whether a result is MCP content. Members beyond those of MCP make an object that is no content
/// an ordinary one: a page of `content` from some other API is data, not a mistake.
fn content_of(value: &RawValue) -> Content {
    let text = value.get();
    if !text.starts_with('{') || !text.contains("\"content\"") {
        return Content::Ordinary;
    }
    let Ok(members) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(text) else {
        return Content::Ordinary;
    };
    let Some(content) = members
        .get("content")
        .filter(|raw| raw.get().starts_with('['))
    else {
        return Content::Ordinary;
    };
    let known = |name: &str| matches!(name, "content" | "isError" | "structuredContent" | "_meta");
    let meant = members.keys().all(|name| known(name));
    let checked = serde_json::from_str::<Vec<Value>>(content.get())
        .map_err(|e| format!("content cannot be read: {e}"))
        .and_then(|blocks| blocks::check(&blocks));
    let is_error = match members.get("isError").map(|raw| raw.get()) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err("isError is not a boolean".to_owned()),
    };
    match checked.and(is_error) {
        Ok(is_error) => Content::Mcp(Passed {
            content: (*content).to_owned(),
            structured: members
                .get("structuredContent")
                .map(|raw| (*raw).to_owned()),
            is_error,
        }),
        Err(why) if meant => Content::Malformed(why),
        Err(_) => Content::Ordinary,
    }
}

#[cfg(test)]
mod tests;
