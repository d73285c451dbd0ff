//! An edge with the fake behind it, and requests of both eras.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use bootstrap::Health;
use bytes::Bytes;
use futures::StreamExt as _;
use gateway::audit::AuditLog;
use gateway::http::{
    AddressRules, HostRules, HttpAuth, HttpSettings, Lifecycle, anonymous, router,
};
use gateway::mcp::McpSettings;
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};
use telemetry::{BuildInfo, Metrics};
use tower::ServiceExt as _;

use super::fake::Fake;

pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const BOTH: [bool; 2] = [true, false];

pub(crate) struct Rig {
    pub(crate) router: Router,
    pub(crate) fake: Arc<Fake>,
    pub(crate) health: Health,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) metrics: Arc<Metrics>,
}

pub(crate) fn settings(fast_path: bool) -> HttpSettings {
    HttpSettings {
        audit: AuditLog::default(),
        mcp_path: "/mcp".to_owned(),
        health_path: "/health".to_owned(),
        metrics: true,
        request_timeout: Duration::from_secs(60),
        addresses: AddressRules::default(),
        https: false,
        hosts: HostRules::new(true, &[], &[]).unwrap(),
        limits: Arc::default(),
        auth: HttpAuth::Anonymous(anonymous(true)),
        mcp: McpSettings {
            fast_path,
            ..McpSettings::default()
        },
    }
}

impl Rig {
    pub(crate) fn new(fast_path: bool) -> Self {
        Self::with(settings(fast_path))
    }

    pub(crate) fn with(settings: HttpSettings) -> Self {
        let fake = Fake::new();
        let build = BuildInfo {
            service: "gateway",
            version: "0",
            commit: "test",
        };
        let metrics = Arc::new(Metrics::new(build).unwrap());
        let lifecycle = Lifecycle::default();
        let operations = Arc::<Fake>::clone(&fake);
        let health = Health::new();
        health.set_started();
        let counted = Arc::clone(&metrics);
        let router = router(
            settings,
            operations,
            health.clone(),
            counted,
            lifecycle.clone(),
        );
        Self {
            router,
            fake,
            health,
            lifecycle,
            metrics,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        Answer::read(self.send(request).await).await
    }

    pub(crate) async fn modern(&self, method: &str, params: Value) -> Answer {
        self.answer(modern(method, params)).await
    }

    pub(crate) async fn legacy(&self, method: &str, params: Value) -> Answer {
        self.answer(legacy(method, params)).await
    }

    /// A POST of anything.
    pub(crate) async fn raw(&self, body: impl Into<Body>) -> Answer {
        self.answer(post(&[], body)).await
    }
}

/// A POST with the headers that every client sends, and some more or others.
pub(crate) fn post(headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post("/mcp").body(body.into()).unwrap();
    let map = request.headers_mut();
    map.insert("host", "localhost".parse().unwrap());
    map.insert("content-type", "application/json".parse().unwrap());
    map.insert(
        "accept",
        "application/json, text/event-stream".parse().unwrap(),
    );
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        if value.is_empty() {
            map.remove(name);
        } else {
            map.insert(name, value.parse().unwrap());
        }
    }
    request
}

/// `params` with the metadata of the stateless era; what is there already wins.
pub(crate) fn with_meta(mut params: Value) -> Value {
    let meta = params["_meta"].take();
    let mut all = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    for (key, value) in meta.as_object().cloned().unwrap_or_default() {
        all[key] = value;
    }
    params["_meta"] = all;
    params
}

/// A request of the stateless era with all its headers.
pub(crate) fn modern(method: &str, params: Value) -> Request<Body> {
    let subject = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        _ => None,
    };
    let body =
        json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": with_meta(params.clone())});
    let mut headers = vec![("mcp-protocol-version", MODERN), ("mcp-method", method)];
    headers.extend(subject.map(|subject| ("mcp-name", subject)));
    post(&headers, body.to_string())
}

/// A request of the last version with a handshake.
pub(crate) fn legacy(method: &str, params: Value) -> Request<Body> {
    let body = json!({"jsonrpc": "2.0", "id": "seven", "method": method, "params": params});
    post(&[("mcp-protocol-version", "2025-11-25")], body.to_string())
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON; the last event of a stream.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        if self.header("content-type").starts_with("text/event-stream") {
            return self.events().pop().unwrap();
        }
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    pub(crate) fn result(&self) -> Value {
        let mut json = self.json();
        assert!(json["error"].is_null(), "{json}");
        json["result"].take()
    }

    /// `(HTTP status, JSON-RPC code)`.
    pub(crate) fn error(&self) -> (u16, i64) {
        let json = self.json();
        (
            self.status.as_u16(),
            json["error"]["code"]
                .as_i64()
                .unwrap_or_else(|| panic!("{json}")),
        )
    }

    /// Every message of a stream, in order.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        events(std::str::from_utf8(&self.body).unwrap())
    }
}

/// The messages of a piece of a stream. Every event is one `data:` line.
#[track_caller]
pub(crate) fn events(text: &str) -> Vec<Value> {
    text.split("\n\n")
        .flat_map(|event| {
            let data: Vec<&str> = event
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .collect();
            assert!(data.len() < 2, "{event:?}");
            data
        })
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// Reads a stream piece by piece.
pub(crate) struct Pieces(BodyDataStream);

impl Pieces {
    pub(crate) fn of(response: Response<Body>) -> Self {
        Self(response.into_body().into_data_stream())
    }

    pub(crate) async fn next(&mut self) -> Option<String> {
        let piece = self.0.next().await?.unwrap();
        Some(String::from_utf8(piece.to_vec()).unwrap())
    }

    /// The next message, comments passed over.
    pub(crate) async fn message(&mut self) -> Option<Value> {
        loop {
            if let Some(message) = events(&self.next().await?).pop() {
                return Some(message);
            }
        }
    }
}
