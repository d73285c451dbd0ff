//! The one form in which a call that was refused or failed reaches the client.

use std::time::Duration;

use domain::runner::Printed;
use domain::{Error, ErrorCode, RawValue, RequestId};
use serde::Serialize;
use serde_json::{Map, json, value::to_raw_value};

use crate::operations::{ProtocolError, ToolResult};

/// `_meta` key of a failure whose `structuredContent` belongs to the tool's own `outputSchema`.
pub(crate) const META_ERROR: &str = "dynamic-mcp/error";

/// `structuredContent` of a failure (contract section 3).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FailureContent<'a> {
    ok: bool,
    error: &'a str,
    code: ErrorCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    may_have_run: Option<bool>,
    duration_ms: u128,
    #[serde(skip_serializing_if = "<[Printed]>::is_empty")]
    logs: &'a [Printed],
}

/// The result of a call that was refused, or that failed outside of the tool's code.
///
/// # Errors
/// -32603 when the result cannot be written, which its types exclude.
pub(crate) fn refused(
    error: &Error,
    request: &RequestId,
    took: Duration,
) -> Result<ToolResult, ProtocolError> {
    let sentence = sentence(error, request);
    let text = with_code(&sentence, error);
    failure(error, request, &sentence, text, took, &[])
}

/// The result of a stored or ephemeral tool that ran, or was to run, and failed.
///
/// # Errors
/// As [`refused`].
pub(crate) fn failed(
    tool: &str,
    error: &Error,
    request: &RequestId,
    took: Duration,
    logs: &[Printed],
) -> Result<ToolResult, ProtocolError> {
    let sentence = sentence(error, request);
    let text = format!(
        "Dynamic tool failed: {tool}\n\nDuration: {}ms\n\n{}",
        took.as_millis(),
        with_code(&sentence, error)
    );
    failure(error, request, &sentence, text, took, logs)
}

fn failure(
    error: &Error,
    request: &RequestId,
    sentence: &str,
    text: String,
    took: Duration,
    logs: &[Printed],
) -> Result<ToolResult, ProtocolError> {
    // Without a cause it happened in another service, whose log has it.
    if let (ErrorCode::Internal, Some(cause)) = (error.code(), error.cause()) {
        let at = error.origin().map(tracing::field::display);
        tracing::error!(fault = "internal", at, request_id = %request, ?cause, "internal error");
    }
    // Of the other failures the code itself says whether the tool was begun.
    let says_whether_it_ran = error.code() == ErrorCode::Unavailable;
    let structured = to_raw_value(&FailureContent {
        ok: false,
        error: sentence,
        code: error.code(),
        field: error.field(),
        limit: error.limit(),
        fix: error.fix(),
        retry_after_ms: error.retry_after().map(|after| after.as_millis()),
        may_have_run: says_whether_it_ran.then(|| error.may_have_run()),
        duration_ms: took.as_millis(),
        logs,
    });
    Ok(ToolResult {
        content: text_block(&text).map_err(|cause| unwritable(request, &cause))?,
        structured_content: Some(structured.map_err(|cause| unwritable(request, &cause))?),
        is_error: true,
        meta: Map::new(),
    })
}

/// A failure of a tool with an `outputSchema` of its author: what is in `structuredContent` has to
/// fit that schema, also when `isError` is set (official clients check it), so the failure goes to
/// `_meta`.
///
/// # Errors
/// -32603 when it cannot be read back, which its types exclude.
pub(crate) fn in_meta(
    mut result: ToolResult,
    request: &RequestId,
) -> Result<ToolResult, ProtocolError> {
    if let Some(content) = result.structured_content.take() {
        let value = serde_json::from_str(content.get());
        let value = value.map_err(|cause| unwritable(request, &cause))?;
        result.meta.insert(META_ERROR.to_owned(), value);
    }
    Ok(result)
}

/// The text of a failure: who reads nothing else can look the code up too.
fn with_code(sentence: &str, error: &Error) -> String {
    format!("{sentence}\n\nCode: {}", error.code())
}

/// The sentence for the caller; of an internal error only where to look.
fn sentence(error: &Error, request: &RequestId) -> String {
    if error.code() == ErrorCode::Internal {
        return format!("internal error; look up request {request} in the log");
    }
    error.to_string()
}

/// JSON array of one text block.
pub(crate) fn text_block(text: &str) -> serde_json::Result<Box<RawValue>> {
    #[derive(Serialize)]
    struct Block<'a> {
        r#type: &'static str,
        text: &'a str,
    }
    to_raw_value(&[Block {
        r#type: "text",
        text,
    }])
}

/// Our own data could not be written as JSON: a fault of ours.
pub(crate) fn unwritable(request: &RequestId, cause: &serde_json::Error) -> ProtocolError {
    tracing::error!(fault = "internal", request_id = %request, %cause, "a result could not be written as JSON");
    ProtocolError::internal(request)
}

/// -32602 for a tool that is not there, or not for this caller.
pub(crate) fn unknown_tool(name: &str) -> ProtocolError {
    let shown: String = name.chars().take(128).collect();
    let mut error = ProtocolError::invalid_params(format!("Unknown tool: {shown}"));
    error.data = Some(json!({ "code": ErrorCode::NotFound }));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(error: &Error) -> (String, serde_json::Value) {
        let request = RequestId::accept("r-1").unwrap();
        let result = refused(error, &request, Duration::from_millis(7)).unwrap();
        assert!(result.is_error);
        let content: serde_json::Value = serde_json::from_str(result.content.get()).unwrap();
        let structured = result.structured_content.unwrap();
        let text = content[0]["text"].as_str().unwrap().to_owned();
        (text, serde_json::from_str(structured.get()).unwrap())
    }

    #[test]
    fn everything_that_helps_is_in_the_result() {
        let error = Error::invalid("/tool/title", "is too long")
            .with_limit("1-120 characters")
            .with_fix("shorten it")
            .with_retry_after(Duration::from_millis(30));
        let (text, structured) = shown(&error);
        let sentence = "/tool/title: is too long (allowed: 1-120 characters); shorten it";
        assert_eq!(text, format!("{sentence}\n\nCode: invalid_argument"));
        assert_eq!(
            structured,
            json!({
                "ok": false, "error": sentence, "code": "invalid_argument", "field": "/tool/title",
                "limit": "1-120 characters", "fix": "shorten it", "retryAfterMs": 30,
                "durationMs": 7
            })
        );
    }

    #[test]
    fn an_internal_error_shows_the_request_and_nothing_else() {
        let (text, structured) = shown(&Error::internal("the database password is hunter2"));
        let sentence = "internal error; look up request r-1 in the log";
        assert_eq!(text, format!("{sentence}\n\nCode: internal"));
        assert!(!structured.to_string().contains("hunter2"));
    }

    #[test]
    fn unavailable_alone_says_whether_the_tool_may_have_run() {
        let (_, structured) = shown(&Error::unavailable("executor").with_may_have_run(true));
        assert_eq!(structured["mayHaveRun"], true);
        for code in [
            ErrorCode::Timeout,
            ErrorCode::Cancelled,
            ErrorCode::ToolFailed,
        ] {
            let (_, structured) = shown(&Error::new(code, "x").with_may_have_run(true));
            assert_eq!(structured.get("mayHaveRun"), None, "{code}");
        }
    }

    #[test]
    fn an_unknown_name_is_not_echoed_without_end() {
        assert_eq!(unknown_tool("x.y").message, "Unknown tool: x.y");
        assert!(unknown_tool(&"x".repeat(10_000)).message.len() < 200);
    }
}
