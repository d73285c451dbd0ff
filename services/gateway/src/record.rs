//! What is kept of each call: one metric and one log line, also when it is cancelled.

use std::sync::Arc;
use std::time::Duration;

use domain::runner::EngineKind;
use domain::{ErrorCode, RequestId, Revision, TenantId};
use telemetry::Metrics;
use tokio::time::Instant;

use crate::operations::{ProtocolError, ToolCall, ToolResult};
use crate::result::Settled;

/// How a call is counted that has not been given an end: its future was dropped.
const CANCELLED: &str = ErrorCode::Cancelled.as_str();

/// Counts and logs a call when it is dropped. Holds neither arguments nor code.
pub(crate) struct CallRecord {
    metrics: Arc<Metrics>,
    started: Instant,
    tool: String,
    /// Whether the name stands for something: what does not is no label.
    known: bool,
    revision: Option<Revision>,
    engine: Option<EngineKind>,
    outcome: &'static str,
    request: RequestId,
    tenant: TenantId,
}

impl CallRecord {
    pub(crate) fn begin(call: &ToolCall, metrics: &Arc<Metrics>) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            started: Instant::now(),
            tool: call.name.chars().take(128).map(printable).collect(),
            known: false,
            revision: None,
            engine: None,
            outcome: CANCELLED,
            request: call.context.request_id.clone(),
            tenant: call.context.principal.tenant.clone(),
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn took(&self) -> Duration {
        self.started.elapsed()
    }

    /// The name stands for a built-in, or for this revision of a stored tool.
    pub(crate) fn resolved(&mut self, revision: Option<Revision>) {
        self.known = true;
        self.revision = revision;
    }

    /// An engine ran it.
    pub(crate) fn ran_on(&mut self, engine: EngineKind) {
        self.engine = Some(engine);
    }

    /// Notes the end and hands the answer on.
    ///
    /// # Errors
    /// The error that it was given.
    pub(crate) fn end(
        mut self,
        settled: Result<Settled, ProtocolError>,
    ) -> Result<ToolResult, ProtocolError> {
        self.outcome = match &settled {
            Ok((_, None)) => "ok",
            Ok((_, Some(code))) => code.as_str(),
            Err(error) if error.code == -32602 && !self.known => "unknown_tool",
            Err(error) if error.code == -32602 => ErrorCode::InvalidArgument.as_str(),
            Err(_) => ErrorCode::Internal.as_str(),
        };
        settled.map(|(result, _)| result)
    }
}

/// A name that stands for nothing can be any text; in the log it stays on its line.
fn printable(c: char) -> char {
    if c.is_control() {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if self.known {
            self.metrics
                .record_tool(&self.metrics.tool_label(&self.tool), self.outcome);
        }
        if let Some(engine) = self.engine {
            self.metrics
                .execution_duration
                .with_label_values(&[engine.as_str(), self.outcome])
                .observe(took.as_secs_f64());
        }
        tracing::info!(
            tool = %self.tool,
            revision = self.revision.map(|revision| revision.0),
            outcome = self.outcome,
            duration_ms = took.as_secs_f64() * 1_000.0,
            request_id = %self.request,
            tenant = %self.tenant,
            "tool call"
        );
    }
}
