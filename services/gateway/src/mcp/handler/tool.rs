//! `tools/call` through rmcp.

use std::sync::Arc;

use domain::runner::LogLevel;
use domain::{IdempotencyKey, RawValue};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, LoggingLevel,
    LoggingMessageNotificationParam, MetaObject, ProgressNotificationParam, ProgressToken,
};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::context::{Context, fault, is_modern, raw, refused, stamp};
use super::{Handler, Wire};
use crate::mcp::call::{DEADLINE_SLACK, expired, guarded};
use crate::mcp::request::Origin;
use crate::operations::{Notification, ToolCall, ToolResult};

const NOTIFICATIONS: usize = 64;

impl Handler {
    pub(super) async fn run_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let _counted = self.calls.token();
        let origin = self.origin(&context)?;
        let token = context.meta.get_progress_token().filter(|_| !origin.quiet);
        let capabilities = context.client_capabilities();
        let arguments = request
            .arguments
            .map(|arguments| raw(&arguments, &origin))
            .transpose()?;
        let mut call_context = origin.context();
        call_context.idempotency_key = idempotency_key(&context)?;
        let call = ToolCall {
            context: call_context,
            name: request.name.into_owned(),
            arguments,
            log_level: log_level(&context)?.filter(|_| !origin.quiet),
            wants_progress: token.is_some(),
            client_capabilities: capabilities.map(|of| raw(&of, &origin)).transpose()?,
        };
        let (sender, mut notes) = mpsc::channel(NOTIFICATIONS);
        let mut running = Box::pin(guarded(Arc::clone(&self.operations), call, sender));
        let outcome = loop {
            tokio::select! {
                biased;
                Some(note) = notes.recv() => self.notify(&context, &token, note).await,
                outcome = &mut running => break outcome,
                () = self.cancelled(&context) => {
                    return Err(ErrorData::internal_error("the request was cancelled", None));
                }
                () = sleep_until(origin.deadline + DEADLINE_SLACK) => break Err(expired(&origin)),
            }
        };
        while let Ok(note) = notes.try_recv() {
            self.notify(&context, &token, note).await;
        }
        let result = outcome.map_err(|error| refused(error, &origin))?;
        typed(result, &context, &origin).map(CallToolResponse::Complete)
    }

    /// Waits until the client wants no answer any more, or the pipe to it is closed.
    async fn cancelled(&self, context: &Context) {
        let at_the_end = matches!(self.wire, Wire::Stdio { .. });
        tokio::select! {
            () = context.ct.cancelled() => {}
            () = self.closing.cancelled(), if at_the_end => {}
        }
    }

    async fn notify(&self, context: &Context, token: &Option<ProgressToken>, note: Notification) {
        let sent = match note {
            Notification::Log {
                level,
                logger,
                data,
            } => {
                let data = serde_json::from_str(data.get()).unwrap_or_default();
                let message = LoggingMessageNotificationParam::new(rmcp_level(level), data);
                context
                    .peer
                    .notify_logging_message(message.with_logger(logger))
                    .await
            }
            Notification::Progress {
                progress,
                total,
                message,
            } => {
                let Some(token) = token.clone() else { return };
                let mut params = ProgressNotificationParam::new(token, progress);
                params.total = total;
                params.message = message;
                context.peer.notify_progress(params).await
            }
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "the client no longer takes notifications");
        }
    }
}

/// The result with rmcp's types. A content block of a type that rmcp does not know cannot be sent
/// through it; the core lets only known ones pass.
fn typed(
    result: ToolResult,
    context: &Context,
    origin: &Origin,
) -> Result<CallToolResult, ErrorData> {
    let content = parse(&result.content, origin)?;
    let structured = result
        .structured_content
        .map(|json| parse(&json, origin))
        .transpose()?;
    let mut answer = CallToolResult::success(content);
    answer.structured_content = structured;
    answer.is_error = result.is_error.then_some(true);
    let mut meta = stamp(context);
    if !result.meta.is_empty() {
        let all = meta.get_or_insert_with(MetaObject::default);
        for (key, value) in result.meta {
            all.insert(key, value);
        }
    }
    answer.meta = meta;
    Ok(answer)
}

fn parse<T: serde::de::DeserializeOwned>(json: &RawValue, origin: &Origin) -> Result<T, ErrorData> {
    serde_json::from_str(json.get()).map_err(|error| fault(origin, &error))
}

/// The key by which a write that is sent twice happens once.
fn idempotency_key(context: &Context) -> Result<Option<IdempotencyKey>, ErrorData> {
    let Some(key) = context.meta.get("dynamic-mcp/idempotencyKey") else {
        return Ok(None);
    };
    let parsed = key.as_str().and_then(|key| IdempotencyKey::parse(key).ok());
    parsed.map(Some).ok_or_else(|| {
        let message = "_meta.dynamic-mcp/idempotencyKey is a string of 1-128 printable ASCII \
                       characters without space";
        ErrorData::invalid_params(message, None)
    })
}

/// The least severe message to send: what `_meta` says in the stateless era, `info` before it.
fn log_level(context: &Context) -> Result<Option<LogLevel>, ErrorData> {
    if !is_modern(context) {
        return Ok(Some(LogLevel::Info));
    }
    match context.meta.get("io.modelcontextprotocol/logLevel") {
        None => Ok(None),
        Some(level) => match level.as_str().and_then(LogLevel::parse) {
            Some(level) => Ok(Some(level)),
            None => Err(ErrorData::invalid_params(
                "io.modelcontextprotocol/logLevel is not a level",
                None,
            )),
        },
    }
}

fn rmcp_level(level: LogLevel) -> LoggingLevel {
    match level {
        LogLevel::Debug => LoggingLevel::Debug,
        LogLevel::Info => LoggingLevel::Info,
        LogLevel::Notice => LoggingLevel::Notice,
        LogLevel::Warning => LoggingLevel::Warning,
        LogLevel::Error => LoggingLevel::Error,
        LogLevel::Critical => LoggingLevel::Critical,
        LogLevel::Alert => LoggingLevel::Alert,
        LogLevel::Emergency => LoggingLevel::Emergency,
    }
}
