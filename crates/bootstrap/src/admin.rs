//! `/livez`, `/readyz` and `/metrics` on a listener of their own: at registry and executor, and at
//! the gateway when its metrics have a port of their own. None needs a token.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use domain::RequestId;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value as Json, json};
use telemetry::Metrics;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::health::Health;
use crate::listener::BoundListener;

/// Connections at once to an admin endpoint of its own: a scraper and the probes need a few.
const MAX_CONNECTIONS: usize = 64;
/// Time for the headers of a request, also between two on one connection.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Longest life of a connection, so that idle ones give their place back.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(3_600);
/// Largest headers of a request.
const MAX_HEADER_BYTES: usize = 16 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Media type of the Prometheus text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes. Without `metrics` there is no `/metrics` (it is off, or on a port of its own).
pub fn routes(health: Health, metrics: Option<Arc<Metrics>>) -> Router {
    routes_with(health, metrics, None)
}

/// The same with the routes of profiles, where those can be taken.
pub(crate) fn routes_with(
    health: Health,
    metrics: Option<Arc<Metrics>>,
    profiles: Option<Router>,
) -> Router {
    let router = Router::new()
        .route("/livez", get(async || livez()))
        .route("/readyz", get(async move || readyz(&health)));
    let router = match metrics {
        Some(metrics) => router.route("/metrics", get(async move || scrape(&metrics))),
        None => router,
    };
    let router = match profiles {
        Some(profiles) => router.merge(profiles),
        None => router,
    };
    router.layer(from_fn(marked))
}

/// The headers of every answer: the request's id, what browsers may do with it, and that a proxy
/// must not answer it from its cache.
async fn marked(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        // What is inside speaks of the request by the same id.
        request.headers_mut().insert(REQUEST_ID, id);
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The id of a request: its own where that is one, else a random one.
pub(crate) fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers.get(REQUEST_ID);
    given
        .and_then(|value| RequestId::accept(value.to_str().ok()?))
        .unwrap_or_else(RequestId::random)
}

/// 200 while the process can answer at all.
#[must_use]
pub fn livez() -> Response {
    (StatusCode::OK, axum::Json(json!({"status": "ok"}))).into_response()
}

/// 200 when ready; 503 with the failing checks by name when not, and while draining.
#[must_use]
pub fn readyz(health: &Health) -> Response {
    let readiness = health.readiness();
    let (status, body) = if readiness.is_ready() {
        (StatusCode::OK, json!({"status": "ready"}))
    } else {
        let names: Vec<&str> = readiness.failing.iter().map(|(name, _)| *name).collect();
        let reasons: serde_json::Map<String, Json> = readiness
            .failing
            .iter()
            .map(|(name, reason)| ((*name).to_owned(), Json::from(reason.as_str())))
            .collect();
        let body = json!({"status": "not ready", "failing": names, "reasons": reasons});
        (StatusCode::SERVICE_UNAVAILABLE, body)
    };
    let mut response = (status, axum::Json(body)).into_response();
    if !readiness.is_ready() {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// All metrics as Prometheus text.
#[must_use]
pub fn scrape(metrics: &Metrics) -> Response {
    match metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Serves the routes until it is dropped, with bounds on connections, headers and time.
pub(crate) async fn serve(mut listener: BoundListener, router: Router) -> Result<(), Infallible> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_CONNECTIONS as u32);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (connection, _) = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                let service = TowerToHyperService::new(router.clone());
                let builder = builder.clone();
                connections.spawn(async move {
                    let served = builder.serve_connection(TokioIo::new(connection), service);
                    if let Ok(Err(error)) = timeout(CONNECTION_DEADLINE, served).await {
                        tracing::debug!(%error, "a connection to the admin endpoint failed");
                    }
                });
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection to the admin endpoint ended badly");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::config::Service;
    use crate::health::CheckReport;
    use crate::version::build_info;

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new(build_info(Service::Registry)).unwrap())
    }

    #[tokio::test]
    async fn readyz_names_what_fails() {
        let health = Health::new();
        let router = routes(health.clone(), Some(metrics()));
        assert_eq!(
            get(&router, "/livez").await,
            (StatusCode::OK, r#"{"status":"ok"}"#.into())
        );
        let (status, body) = get(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains(r#""failing":["starting"]"#), "{body}");
        health.set_started();
        let ready = (StatusCode::OK, r#"{"status":"ready"}"#.to_owned());
        assert_eq!(get(&router, "/readyz").await, ready);
        health.require("store", || CheckReport::down("the file is locked"));
        let (status, body) = get(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            body.contains(r#""failing":["store"],"reasons":{"store":"the file is locked"}"#),
            "{body}"
        );
        health.set_draining();
        let (status, body) = get(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains(r#""failing":["draining"]"#), "{body}");
        assert_eq!(
            get(&router, "/livez").await.0,
            StatusCode::OK,
            "alive while draining"
        );
    }

    #[tokio::test]
    async fn every_answer_has_its_id_and_the_security_headers() {
        let router = routes(Health::new(), Some(metrics()));
        for path in ["/livez", "/readyz", "/metrics", "/debug/pprof/profile"] {
            let request = Request::get(path).header("x-request-id", "r-1");
            let request = request.body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            let header = |name: &str| response.headers().get(name).map(HeaderValue::as_bytes);
            assert_eq!(header("x-request-id"), Some(&b"r-1"[..]), "{path}");
            assert_eq!(header("x-content-type-options"), Some(&b"nosniff"[..]));
            assert_eq!(header("x-frame-options"), Some(&b"DENY"[..]));
            assert_eq!(header("referrer-policy"), Some(&b"no-referrer"[..]));
            assert_eq!(header("cache-control"), Some(&b"no-store"[..]));
            let later = (path == "/readyz").then_some(&b"1"[..]);
            assert_eq!(header("retry-after"), later, "not started yet");
        }
    }

    #[tokio::test]
    async fn metrics_are_there_unless_they_are_off() {
        let (status, body) = get(&routes(Health::new(), Some(metrics())), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            body.contains("dynamic_mcp_process_uptime_seconds"),
            "{body}"
        );
        let off = get(&routes(Health::new(), None), "/metrics").await;
        assert_eq!(off.0, StatusCode::NOT_FOUND);
    }
}
