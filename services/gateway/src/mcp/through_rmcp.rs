//! Every method that is not hot goes through rmcp, one stateless service for each request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use domain::ErrorCode;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Response, StatusCode, request::Parts};
use http_body_util::Full;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::handler::{Handler, Wire};
use super::headers;
use super::listeners::{Listeners, Listening};
use super::port::Operations;
use super::refusal::Refusal;
use super::request::{Origin, Request};
use super::{reply, stream, validity};

const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// rmcp's service with our handler in it.
pub(crate) struct Inner(StreamableHttpService<Handler, NeverSessionManager>);

impl Inner {
    pub(crate) fn new(operations: Arc<dyn Operations>, closing: CancellationToken) -> Self {
        let handler = Handler::new(operations, Wire::Http, closing.clone());
        // Hosts, origins and sizes are checked by our own layers, for every method alike.
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_sse_retry(None)
            .with_sse_keep_alive(None)
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(usize::MAX)
            .with_cancellation_token(CancellationToken::new());
        let sessions = Arc::new(NeverSessionManager::default());
        Self(StreamableHttpService::new(
            move || Ok(handler.clone()),
            sessions,
            config,
        ))
    }

    /// Answers a request that our own layer has checked.
    pub(crate) async fn answer(
        &self,
        endpoint: &Arc<Endpoint>,
        request: &Request<'_>,
        body: &Bytes,
        parts: &Parts,
        origin: &Origin,
    ) -> Result<Response<Body>, Refusal> {
        if request.message.method == "tools/call" && request.version.is_modern() {
            // rmcp's own check of these headers knows no caller.
            let tool = request.message.params.name.and_then(super::message::text);
            let tool = tool.unwrap_or_default();
            let expected = endpoint.operations.param_headers(&origin.principal, &tool);
            super::params::check(&expected, &parts.headers, request.message.params.arguments)?;
        }
        // What rmcp would take without a word.
        request.log_level()?;
        request.meta.progress_token()?;
        super::endpoint::cursor(request)?;
        let listening = match &*request.message.method {
            "subscriptions/listen" => Some(admit(&endpoint.listeners, origin)?),
            _ => None,
        };
        let asked = inner_request(request, body, parts, origin);
        let service = self.0.clone();
        let id = request.id().map(ToOwned::to_owned);
        let context = origin.clone();
        let keep_alive = endpoint.settings.keep_alive;
        let mut answer = Box::pin(async move {
            let response = service.handle(asked).await;
            finish(response.map(Body::new), id, &context, keep_alive, listening)
        });
        if origin.quiet {
            return Ok(answer.await);
        }
        tokio::select! {
            biased;
            response = &mut answer => Ok(response),
            () = sleep(endpoint.settings.silence) => {
                let last_word = Refusal::from(validity::ended()).body(request.id(), &origin.request_id);
                let credential = stream::Credential {
                    validity: origin.validity.clone(),
                    last_word,
                };
                Ok(stream::respond(&endpoint.tasks, keep_alive, |events| {
                    stream::late(answer, events, credential)
                }))
            }
        }
    }
}

fn admit(listeners: &Listeners, origin: &Origin) -> Result<Listening, Refusal> {
    listeners.admit(&origin.principal).ok_or_else(|| {
        Refusal::http(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::RateLimited,
            format!(
                "one caller has at most {} open subscriptions",
                Listeners::MAX_PER_CALLER
            ),
        )
    })
}

/// The request as rmcp wants to see it: only the headers that it reads.
fn inner_request(
    request: &Request<'_>,
    body: &Bytes,
    parts: &Parts,
    origin: &Origin,
) -> http::Request<Full<Bytes>> {
    let message = body.slice_ref(request.message.raw.get().as_bytes());
    let mut inner = http::Request::new(Full::new(message));
    *inner.method_mut() = Method::POST;
    let map = inner.headers_mut();
    // rmcp wants one although it is told to look at none.
    map.insert(HOST, HeaderValue::from_static("localhost"));
    map.insert(ACCEPT, BOTH);
    map.insert(CONTENT_TYPE, reply::JSON);
    for name in [headers::METHOD, headers::NAME] {
        // Checked without the space around it; rmcp compares it with the space.
        let value = parts
            .headers
            .get(&name)
            .map(|value| value.as_bytes().trim_ascii());
        if let Some(Ok(value)) = value.map(HeaderValue::from_bytes) {
            map.insert(name, value);
        }
    }
    if request.message.method != "initialize" {
        let version = HeaderValue::from_static(request.version.as_str());
        map.insert(headers::PROTOCOL_VERSION, version);
    }
    inner.extensions_mut().insert(origin.clone());
    inner
}

/// Takes an answer of rmcp over. What it refuses in plain text is a request whose params it could
/// not read: everything else was checked before.
fn finish(
    mut response: Response<Body>,
    id: Option<Box<domain::RawValue>>,
    origin: &Origin,
    keep_alive: Duration,
    listening: Option<Listening>,
) -> Response<Body> {
    if reply::is_event_stream(&response) {
        reply::mark_stream(&mut response);
        return response.map(|body| stream::keep(body, keep_alive, listening));
    }
    let is_json = response.headers().get(CONTENT_TYPE) == Some(&reply::JSON);
    if is_json {
        return response;
    }
    tracing::debug!(request_id = %origin.request_id, status = %response.status(), "rmcp refused");
    let refusal = Refusal::invalid_params("params are not what the method takes");
    super::endpoint::refuse(id.as_deref(), &refusal, origin)
}
