//! What is kept of each call: one metric, one log line and, where the audit log is on, its records;
//! also when it is cancelled.

use std::sync::Arc;
use std::time::Duration;

use domain::runner::EngineKind;
use domain::{Call, ErrorCode, RequestId, Result as DomainResult, Revision, TenantId, ToolRecord};
use serde_json::{Value, json};
use telemetry::Metrics;
use tokio::time::Instant;
use tracing::Span;

use crate::audit::call::CallAudit;
use crate::call::Refusal;
use crate::operations::{ProtocolError, ToolCall, ToolResult};
use crate::result::Settled;

/// How a call is counted that has not been given an end: its future was dropped.
const CANCELLED: &str = ErrorCode::Cancelled.as_str();

/// Counts and logs a call when it is dropped. Holds neither arguments nor code.
pub(crate) struct CallRecord {
    metrics: Arc<Metrics>,
    /// That of the call, where traces are exported.
    span: Span,
    started: Instant,
    tool: String,
    /// Whether the name stands for something: what does not is no label.
    known: bool,
    revision: Option<Revision>,
    engine: Option<EngineKind>,
    outcome: &'static str,
    request: RequestId,
    tenant: TenantId,
    /// `None` for what is not audited.
    audit: Option<Box<CallAudit>>,
    /// Whether the tool is there but not for this caller.
    hidden: bool,
    /// Whether the code spoke to the client while it ran.
    spoke: bool,
}

impl CallRecord {
    pub(crate) fn begin(call: &ToolCall, metrics: &Arc<Metrics>) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            span: if telemetry::traces_are_on() {
                Span::current()
            } else {
                Span::none()
            },
            started: Instant::now(),
            tool: call.name.chars().take(128).map(printable).collect(),
            known: false,
            revision: None,
            engine: None,
            outcome: CANCELLED,
            request: call.context.request_id.clone(),
            tenant: call.context.principal.tenant.clone(),
            audit: None,
            hidden: false,
            spoke: false,
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
        // A name that stands for nothing can be any text.
        self.span.record("tool", self.tool.as_str());
    }

    /// An engine ran it.
    pub(crate) fn ran_on(&mut self, engine: EngineKind) {
        self.engine = Some(engine);
        if let Some(audit) = &mut self.audit {
            audit.found("engine", json!(engine));
        }
    }

    /// What is recorded of it in the audit log, if anything is.
    pub(crate) fn audited(&mut self, audit: Option<Box<CallAudit>>) {
        self.audit = audit;
    }

    /// The arguments of a management tool, before they are checked.
    pub(crate) fn asked(&mut self, arguments: &Value) {
        if let Some(audit) = &mut self.audit {
            audit.asked(arguments);
        }
    }

    /// Facts for the record of the end.
    pub(crate) fn found(&mut self, facts: Vec<(&'static str, Value)>) {
        if let Some(audit) = &mut self.audit {
            for (key, value) in facts {
                audit.found(key, value);
            }
        }
    }

    /// A limit has refused it. `due`: the number of refusals before it that left no record; `None`:
    /// nor does this one, unless it is privileged.
    pub(crate) fn limited(&mut self, due: Option<u64>) {
        match (due, &mut self.audit) {
            (None, Some(audit)) if !audit.is_privileged() => self.audit = None,
            (Some(suppressed @ 1..), Some(audit)) => {
                audit.found("suppressed", json!(suppressed));
            }
            _ => {}
        }
    }

    /// The tool is not for this caller, who is told that there is none.
    pub(crate) fn hidden(&mut self) {
        self.hidden = true;
    }

    /// An execution begins.
    ///
    /// # Errors
    /// `unavailable` when that cannot be recorded: it must not run.
    pub(crate) async fn runs(&mut self, call: &Call) -> DomainResult<()> {
        match &mut self.audit {
            Some(audit) => {
                audit.runs(call);
                audit.begin().await
            }
            None => Ok(()),
        }
    }

    /// The answer is one that was made before: nothing runs, but it is a call like any other.
    ///
    /// # Errors
    /// As [`CallRecord::runs`].
    pub(crate) async fn answered_before(&mut self, tool: &ToolRecord) -> DomainResult<()> {
        match &mut self.audit {
            Some(audit) => {
                audit.answered_before(tool);
                audit.begin().await
            }
            None => Ok(()),
        }
    }

    /// The code spoke to the client while it ran.
    pub(crate) fn spoke(&mut self) {
        self.spoke = true;
    }

    /// Whether an answer is all that the client got.
    pub(crate) fn was_silent(&self) -> bool {
        !self.spoke
    }

    /// A built-in begins. Waits until the record of a privileged one is on the disk.
    ///
    /// # Errors
    /// `unavailable` when that cannot be recorded: it must not be done.
    pub(crate) async fn acts(&mut self, deadline: Instant) -> DomainResult<()> {
        match &mut self.audit {
            Some(audit) if audit.is_privileged() => audit.begin_on_disk(deadline).await,
            Some(audit) if audit.begins() => audit.begin().await,
            _ => Ok(()),
        }
    }

    /// Records the end, and of a privileged operation waits until that is on the disk.
    ///
    /// # Errors
    /// What it was given; `unavailable` when the end of a privileged operation cannot be recorded.
    pub(crate) async fn recorded(
        &mut self,
        settled: Result<Settled, Refusal>,
        deadline: Instant,
    ) -> Result<Settled, Refusal> {
        let Some(mut audit) = self.audit.take() else {
            return settled;
        };
        let code = match &settled {
            Ok((_, code)) => *code,
            Err(Refusal::Tool(error)) => Some(error.code()),
            Err(Refusal::Protocol(_)) if self.hidden => Some(ErrorCode::PermissionDenied),
            Err(Refusal::Protocol(error)) => Some(meaning(error)),
        };
        let took = self.took();
        if !audit.is_privileged() {
            audit.end(code, took);
            return settled;
        }
        if let Some(revision) = settled.as_ref().ok().and_then(|(result, _)| made(result)) {
            audit.found("revision", json!(revision));
        }
        audit.end_on_disk(code, took, deadline).await?;
        settled
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
            Err(error) => meaning(error).as_str(),
        };
        settled.map(|(result, _)| result)
    }
}

/// The code that says what a failure of the request itself means.
fn meaning(error: &ProtocolError) -> ErrorCode {
    match error.code {
        -32602 => ErrorCode::InvalidArgument,
        _ => ErrorCode::Internal,
    }
}

/// The revision that a management tool has made.
fn made(result: &ToolResult) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Made {
        tool: Numbered,
    }
    #[derive(serde::Deserialize)]
    struct Numbered {
        revision: u64,
    }
    let content = result.structured_content.as_deref()?;
    let made: Made = serde_json::from_str(content.get()).ok()?;
    Some(made.tool.revision)
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
        if let Some(audit) = self.audit.take() {
            // Nobody has given it an end: its future was dropped.
            audit.end(Some(ErrorCode::Cancelled), took);
        }
        if self.known {
            self.metrics
                .record_tool(&self.metrics.tool_label(&self.tool), self.outcome);
        }
        telemetry::span_ended(&self.span, self.outcome);
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
