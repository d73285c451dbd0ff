//! What the MCP edges (HTTP and stdio) ask of the gateway: requests, notifications and results in
//! terms of MCP, free of any protocol version, HTTP or rmcp type.

use domain::RawValue;
use domain::call::CallContext;
use domain::runner::LogLevel;
use serde_json::{Map, Value};

/// One `tools/call`.
#[derive(Debug)]
pub struct ToolCall {
    /// Caller, ids, deadline and trace.
    pub context: CallContext,
    /// Name of a built-in or a stored tool.
    pub name: String,
    /// The arguments as they were sent; absent counts as `{}`.
    pub arguments: Option<Box<RawValue>>,
    /// The least severe log level that the client wants on this request; `None`: no messages.
    pub log_level: Option<LogLevel>,
    /// Whether the client sent a progress token.
    pub wants_progress: bool,
    /// The capabilities that the client declared, as a JSON object.
    pub client_capabilities: Option<Box<RawValue>>,
}

/// Something that reaches the client while its call runs.
#[derive(Debug)]
pub enum Notification {
    /// `notifications/message`.
    Log {
        /// Severity.
        level: LogLevel,
        /// The tool's name.
        logger: String,
        /// Any JSON.
        data: Box<RawValue>,
    },
    /// `notifications/progress`, strictly increasing.
    Progress {
        /// How far.
        progress: f64,
        /// Out of how much.
        total: Option<f64>,
        /// A word on it.
        message: Option<String>,
    },
}

/// The result of a `tools/call`, before a protocol version puts it into its form.
#[derive(Debug)]
pub struct ToolResult {
    /// JSON array of content blocks.
    pub content: Box<RawValue>,
    /// Any JSON value.
    pub structured_content: Option<Box<RawValue>>,
    /// Whether the call failed in a way that the caller should read.
    pub is_error: bool,
    /// Our own keys of `_meta`, such as the engine that ran it.
    pub meta: Map<String, Value>,
}

/// What of MCP this gateway offers besides tools, by profile. A capability whose methods do not
/// answer is not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// `resources/*`.
    pub resources: bool,
    /// `prompts/*` and `completion/complete`.
    pub prompts: bool,
}

/// One entry of `/health` and `/readyz`.
#[derive(Debug, Clone)]
pub struct Check {
    /// `registry`, `catalogue`, `executors` or `cache`.
    pub name: &'static str,
    /// Whether it is as it should be. A failing one makes `/health` say `unhealthy`.
    pub healthy: bool,
    /// Whether `/readyz` fails with it: requests cannot be served without it.
    pub needed: bool,
    /// A JSON object with the facts.
    pub detail: Map<String, Value>,
}

/// A failure of the request itself: unknown tool, malformed request, fault of ours. Everything
/// else that a caller should act on is a [`ToolResult`] with `is_error`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ProtocolError {
    /// JSON-RPC error code.
    pub code: i32,
    /// A sentence for the caller; nothing internal.
    pub message: String,
    /// `data` of the JSON-RPC error.
    pub data: Option<Value>,
}

impl ProtocolError {
    /// -32602 with a sentence: unknown tool, prompt or resource, invalid parameters or cursor.
    #[must_use]
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self {
            code: -32602,
            message: message.into(),
            data: None,
        }
    }

    /// -32603: a fault of ours; the sentence names the request id and nothing else.
    #[must_use]
    pub fn internal(request_id: &domain::RequestId) -> Self {
        Self {
            code: -32603,
            message: format!("internal error; look up request {request_id} in the log"),
            data: None,
        }
    }
}
