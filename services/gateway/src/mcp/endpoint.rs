//! The one endpoint: reads a POST, decides what it is, and answers it itself or through rmcp.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use domain::{ErrorCode, RawValue};
use http::{Method, Response, StatusCode, request::Parts};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::headers;
use super::listeners::Listeners;
use super::message::{self, Message, text};
use super::port::Operations;
use super::refusal::Refusal;
use super::request::{Origin, Request, needs_id};
use super::through_rmcp::Inner;
use super::version::Version;
use super::write::{self, Stamp};
use super::{body, call, handler, reply};

/// Most messages in a batch of version 2025-03-26.
pub(crate) const MAX_BATCH: usize = 32;

/// Settings of the endpoint.
#[derive(Debug, Clone)]
pub struct McpSettings {
    /// Largest body in bytes.
    pub max_request_bytes: usize,
    /// How long a body may take to come.
    pub body_timeout: Duration,
    /// After how much silence an answer becomes an event stream, so that proxies keep it.
    pub silence: Duration,
    /// Time between two comment lines on a silent stream.
    pub keep_alive: Duration,
    /// Whether the hot methods are answered here. Off, every method goes through rmcp: the tests
    /// run one suite on both.
    pub fast_path: bool,
}

impl Default for McpSettings {
    fn default() -> Self {
        Self {
            max_request_bytes: 1_048_576,
            body_timeout: Duration::from_secs(14),
            silence: Duration::from_secs(1),
            keep_alive: Duration::from_secs(15),
            fast_path: true,
        }
    }
}

/// The MCP endpoint over HTTP.
pub(crate) struct Endpoint {
    pub(super) operations: Arc<dyn Operations>,
    pub(super) settings: McpSettings,
    pub(super) stamp: Stamp,
    pub(super) tasks: TaskTracker,
    pub(super) listeners: Listeners,
    inner: Inner,
}

impl Endpoint {
    /// `tasks` counts the streams that are open, `closing` ends the subscriptions at a drain.
    pub(crate) fn new(
        operations: Arc<dyn Operations>,
        settings: McpSettings,
        tasks: TaskTracker,
        closing: CancellationToken,
    ) -> Arc<Self> {
        let stamp = Stamp::new(&handler::implementation());
        let inner = Inner::new(Arc::clone(&operations), closing);
        let listeners = Listeners::default();
        Arc::new(Self {
            operations,
            settings,
            stamp,
            tasks,
            listeners,
            inner,
        })
    }

    /// Answers one HTTP request that the layers in front have let through.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        parts: &Parts,
        body: Body,
        origin: &Origin,
    ) -> Response<Body> {
        let read = self.read(parts, body).await;
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(refusal) => return refuse(None, &refusal, origin),
        };
        let answered = match message::split(&bytes) {
            Ok(message::Body::One(raw)) => self.one(raw, &bytes, parts, origin).await,
            Ok(message::Body::Batch(batch)) => self.batch(&batch, &bytes, parts, origin).await,
            Err(refusal) => Some(refuse(None, &refusal, origin)),
        };
        answered.unwrap_or_else(|| reply::status(StatusCode::ACCEPTED))
    }

    async fn read(&self, parts: &Parts, body: Body) -> Result<Bytes, Refusal> {
        if parts.method != Method::POST {
            return Err(Refusal::http(
                StatusCode::METHOD_NOT_ALLOWED,
                ErrorCode::InvalidArgument,
                "this endpoint takes POST only: it keeps no sessions and no stream of its own",
            ));
        }
        headers::content_type(&parts.headers)?;
        headers::accept(&parts.headers)?;
        let settings = &self.settings;
        body::read(
            &parts.headers,
            body,
            settings.max_request_bytes,
            settings.body_timeout,
        )
        .await
    }

    /// Answers one message; `None` for a notification.
    async fn one(
        self: &Arc<Self>,
        raw: &RawValue,
        body: &Bytes,
        parts: &Parts,
        origin: &Origin,
    ) -> Option<Response<Body>> {
        let message = match Message::read(raw) {
            Ok(message) => message,
            Err((id, refusal)) => return Some(refuse(id, &refusal, origin)),
        };
        let Some(id) = message.id else {
            return notified(&message, parts)
                .err()
                .map(|refusal| refuse(None, &refusal, origin));
        };
        let answer = match Request::check(message, &parts.headers) {
            Ok(request) => self.dispatch(&request, body, parts, origin).await,
            Err(refusal) => Err(refusal),
        };
        Some(answer.unwrap_or_else(|refusal| refuse(Some(id), &refusal, origin)))
    }

    async fn dispatch(
        self: &Arc<Self>,
        request: &Request<'_>,
        body: &Bytes,
        parts: &Parts,
        origin: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        self.declared(request)?;
        self.permitted(request, origin)?;
        let traced;
        let origin = match request.trace() {
            Some(trace) => {
                traced = Origin {
                    trace,
                    ..origin.clone()
                };
                &traced
            }
            None => origin,
        };
        let Some(id) = request.id().filter(|_| self.settings.fast_path) else {
            return self.inner.answer(self, request, body, parts, origin).await;
        };
        let body = match &*request.message.method {
            "tools/call" => return call::answer(self, origin, request, &parts.headers).await,
            "tools/list" => {
                let cursor = cursor(request)?;
                let listed = self
                    .operations
                    .list_tools(&origin.principal, cursor.as_deref());
                self.stamp.page(request, id, "tools", &listed.await?)
            }
            "ping" => write::empty(id),
            _ => return self.inner.answer(self, request, body, parts, origin).await,
        };
        Ok(reply::json(StatusCode::OK, body))
    }

    /// What the profile does not have is not declared, and so does not exist.
    fn declared(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let method = &*request.message.method;
        let features = match method.split('/').next() {
            Some("resources") => self.operations.features().resources,
            Some("prompts" | "completion") => self.operations.features().prompts,
            _ => true,
        };
        if features {
            Ok(())
        } else {
            Err(Refusal::method_not_found(method, request.version))
        }
    }

    /// A caller without the scope of a method or built-in is told which one: it may ask the issuer
    /// for a token that has it.
    fn permitted(&self, request: &Request<'_>, origin: &Origin) -> Result<(), Refusal> {
        let params = &request.message.params;
        let tool = params.name.and_then(text);
        let missing = self.operations.missing_scope(
            &origin.principal,
            &request.message.method,
            tool.as_deref(),
            params.arguments,
        );
        missing.map_or(Ok(()), |scope| Err(Refusal::insufficient_scope(scope)))
    }

    /// Version 2025-03-26 alone had batches. The messages are answered one after the other and
    /// without streams.
    async fn batch(
        self: &Arc<Self>,
        batch: &[&RawValue],
        body: &Bytes,
        parts: &Parts,
        origin: &Origin,
    ) -> Option<Response<Body>> {
        let version = parts.headers.get(headers::PROTOCOL_VERSION);
        let allowed = version.is_none_or(|version| version == Version::V2025_03_26.as_str());
        let problem = if !allowed {
            Some("only protocol version 2025-03-26 has batches: send one message")
        } else if batch.is_empty() {
            Some("a batch must not be empty")
        } else if batch.len() > MAX_BATCH {
            Some("a batch has at most 32 messages")
        } else if batch.iter().any(|raw| is_outside_batches(raw)) {
            Some("a batch holds no initialize, and no request of 2026-07-28")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Some(refuse(None, &Refusal::invalid_request(problem), origin));
        }
        let origin = Origin {
            quiet: true,
            ..origin.clone()
        };
        let mut answers = Vec::new();
        for raw in batch {
            let Some(response) = self.one(raw, body, parts, &origin).await else {
                continue;
            };
            if let Some(answer) = reply::collect(response).await {
                answers.push(if answers.is_empty() { b'[' } else { b',' });
                answers.extend_from_slice(&answer);
            }
        }
        if answers.is_empty() {
            return None;
        }
        answers.push(b']');
        Some(reply::json(StatusCode::OK, answers))
    }
}

fn is_outside_batches(raw: &RawValue) -> bool {
    Message::read(raw).is_ok_and(|message| {
        message.method == "initialize"
            || message
                .meta()
                .is_ok_and(|meta| meta.protocol_version.is_some())
    })
}

/// Whether a notification is one that can be accepted. None of them does anything here: a stream
/// that is closed is what cancels a call.
fn notified(message: &Message<'_>, parts: &Parts) -> Result<(), Refusal> {
    if needs_id(&message.method) {
        return Err(Refusal::invalid_request("id is missing"));
    }
    let header = headers::single(&parts.headers, headers::PROTOCOL_VERSION)?;
    let Some(header) = header else { return Ok(()) };
    match Version::parse(header) {
        Some(version) if version.is_modern() => headers::method(&parts.headers, message),
        Some(_) => Ok(()),
        None => Err(Refusal::unsupported_version(header)),
    }
}

/// The cursor of a list request.
pub(super) fn cursor<'a>(
    request: &Request<'a>,
) -> Result<Option<std::borrow::Cow<'a, str>>, Refusal> {
    match request.message.params.cursor {
        None => Ok(None),
        Some(raw) if raw.get() == "null" => Ok(None),
        Some(raw) => text(raw)
            .map(Some)
            .ok_or_else(|| Refusal::invalid_params("params.cursor must be a string")),
    }
}

pub(super) fn refuse(id: Option<&RawValue>, refusal: &Refusal, origin: &Origin) -> Response<Body> {
    let mut response = reply::json(refusal.status, refusal.body(id, &origin.request_id));
    if let Some(scope) = refusal.scope {
        // The layer that knows where tokens come from turns it into a challenge.
        response.extensions_mut().insert(scope);
    }
    response
}
