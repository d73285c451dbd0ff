//! `tools/call` over HTTP: a plain answer when the call is quick and silent, else an event stream.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use domain::RawValue;
use futures::FutureExt as _;
use http::Response;
use telemetry::TraceHeaders;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};
use tracing::{Instrument as _, Span};

use super::endpoint::Endpoint;
use super::message::{is_object, text};
use super::port::Operations;
use super::refusal::Refusal;
use super::request::{Origin, Request};
use super::version::Version;
use super::{params, reply, stream, validity, write};
use crate::operations::{Notification, ProtocolError, ToolCall, ToolResult};

/// Notifications that wait for the stream; a tool that sends faster waits.
const NOTIFICATIONS: usize = 64;

/// How long the answer of an expired call may still take to come from below, where the same
/// deadline is enforced first and with a better error.
pub(crate) const DEADLINE_SLACK: Duration = Duration::from_millis(500);

pub(super) type Outcome = Result<ToolResult, ProtocolError>;
type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What the response needs of the request once the body is gone.
struct Pending {
    endpoint: Arc<Endpoint>,
    origin: Origin,
    version: Version,
    id: Box<RawValue>,
    progress_token: Option<Box<RawValue>>,
    call: Running,
    notes: mpsc::Receiver<Notification>,
}

/// The arguments of a `tools/call`, checked as far as the protocol goes.
fn tool_call(request: &Request<'_>, origin: &Origin) -> Result<ToolCall, Refusal> {
    let params = &request.message.params;
    let name = params
        .name
        .and_then(text)
        .ok_or_else(|| Refusal::invalid_params("params.name must be the name of a tool"))?;
    if params
        .arguments
        .is_some_and(|arguments| !is_object(arguments))
    {
        return Err(Refusal::invalid_params(
            "params.arguments must be an object",
        ));
    }
    let progress_token = request.meta.progress_token()?;
    let mut context = origin.context();
    context.idempotency_key = request.meta.idempotency_key()?;
    Ok(ToolCall {
        context,
        name: name.into_owned(),
        arguments: params.arguments.map(RawValue::to_owned),
        log_level: request.log_level()?.filter(|_| !origin.quiet),
        wants_progress: progress_token.is_some() && !origin.quiet,
        client_capabilities: request.meta.client_capabilities.map(RawValue::to_owned),
    })
}

/// Answers one call.
pub(crate) async fn answer(
    endpoint: &Arc<Endpoint>,
    origin: &Origin,
    request: &Request<'_>,
    headers: &http::HeaderMap,
) -> Result<Response<Body>, Refusal> {
    let Some(id) = request.id() else {
        return Err(Refusal::invalid_request("id is missing"));
    };
    let call = tool_call(request, origin)?;
    if request.version.is_modern() {
        let expected = endpoint
            .operations
            .param_headers(&origin.principal, &call.name);
        params::check(&expected, headers, request.message.params.arguments)?;
    }
    let (sender, notes) = mpsc::channel(NOTIFICATIONS);
    let operations = Arc::clone(&endpoint.operations);
    let mut pending = Pending {
        endpoint: Arc::clone(endpoint),
        origin: origin.clone(),
        version: request.version,
        id: id.to_owned(),
        progress_token: request.meta.progress_token.map(RawValue::to_owned),
        call: Box::pin(guarded(operations, call, sender)),
        notes,
    };
    if origin.quiet {
        let outcome = pending.settle().await;
        return Ok(reply::json(http::StatusCode::OK, pending.response(outcome)));
    }
    let silence = sleep(endpoint.settings.silence);
    tokio::select! {
        biased;
        Some(note) = pending.notes.recv() => Ok(pending.stream(Some(note), None)),
        outcome = &mut pending.call => match pending.notes.try_recv() {
            Ok(note) => Ok(pending.stream(Some(note), Some(outcome))),
            Err(_) => Ok(reply::json(http::StatusCode::OK, pending.response(outcome))),
        },
        () = silence => Ok(pending.stream(None, None)),
    }
}

/// The call, with a panic of the core turned into its error: on a stream nobody else would say it.
pub(super) async fn guarded(
    operations: Arc<dyn Operations>,
    call: ToolCall,
    notifications: mpsc::Sender<Notification>,
) -> Outcome {
    let request_id = call.context.request_id.clone();
    let span = span_of(&call);
    let running = AssertUnwindSafe(operations.call_tool(call, notifications)).catch_unwind();
    running.instrument(span).await.unwrap_or_else(|_| {
        // The hook has counted it and written it to the log, with the id of the request.
        tracing::debug!(request_id = %request_id, "a tool call ended in a panic");
        Err(ProtocolError::internal(&request_id))
    })
}

/// The span of a call: also once its answer is a stream, when that of the HTTP request has ended.
fn span_of(call: &ToolCall) -> Span {
    let trace = &call.context.trace;
    let parent = trace.traceparent.as_deref();
    let incoming = parent.and_then(|it| TraceHeaders::new(it, trace.tracestate.as_deref()));
    let span = telemetry::mcp_span("tools/call", incoming.as_ref());
    if span.is_none() {
        Span::current()
    } else {
        span
    }
}

impl Pending {
    fn response(&self, outcome: Outcome) -> Vec<u8> {
        match outcome {
            Ok(result) => self
                .endpoint
                .stamp
                .tool_result(self.version, &self.id, &result),
            Err(error) => Refusal::from(error).body(Some(&self.id), &self.origin.request_id),
        }
    }

    /// The end of the call, without its notifications.
    async fn settle(&mut self) -> Outcome {
        loop {
            tokio::select! {
                biased;
                Some(_) = self.notes.recv() => {}
                outcome = &mut self.call => return outcome,
                () = sleep_until(self.origin.deadline + DEADLINE_SLACK) => {
                    return Err(expired(&self.origin));
                }
            }
        }
    }

    /// Turns the answer into an event stream, fed by a task of its own: the call must go on, and
    /// meet its deadline, while the client does not read.
    fn stream(self, first: Option<Notification>, outcome: Option<Outcome>) -> Response<Body> {
        let tasks = self.endpoint.tasks.clone();
        let keep_alive = self.endpoint.settings.keep_alive;
        stream::respond(&tasks, keep_alive, |events| {
            self.feed(events, first, outcome)
        })
    }

    async fn feed(
        mut self,
        events: stream::Events,
        first: Option<Notification>,
        mut outcome: Option<Outcome>,
    ) {
        let validity = self.origin.validity.clone();
        let mut over = std::pin::pin!(validity.over());
        let mut next = first;
        loop {
            while let Some(note) = next.take().or_else(|| self.notes.try_recv().ok()) {
                let bytes = write::notification(&note, self.progress_token.as_deref());
                if let Some(bytes) = bytes
                    && !events.send(write::event(bytes)).await
                {
                    return;
                }
            }
            if let Some(outcome) = outcome.take() {
                let response = self.response(outcome);
                events.send(write::event(response)).await;
                return;
            }
            tokio::select! {
                biased;
                Some(note) = self.notes.recv() => next = Some(note),
                done = &mut self.call => outcome = Some(done),
                () = &mut over => outcome = Some(Err(validity::ended())),
                () = sleep_until(self.origin.deadline + DEADLINE_SLACK) => {
                    outcome = Some(Err(expired(&self.origin)));
                }
            }
        }
    }
}

/// The error of a request that outlived its time.
pub(crate) fn expired(origin: &Origin) -> ProtocolError {
    tracing::warn!(request_id = %origin.request_id, "a request did not end within its time");
    ProtocolError {
        code: super::refusal::code::INTERNAL,
        message: "the request did not end within its time; the tool may have run".to_owned(),
        data: Some(serde_json::json!({ "code": domain::ErrorCode::Timeout })),
    }
}
