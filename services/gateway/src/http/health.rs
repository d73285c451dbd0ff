//! Probes, the health page and the metrics.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::Edge;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The process can answer.
pub(super) async fn livez() -> Response<Body> {
    answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// The process can serve: 503 names what is missing.
pub(super) async fn readyz(State(edge): State<Arc<Edge>>) -> Response<Body> {
    if edge.lifecycle.draining.is_cancelled() {
        let body = json!({ "status": "not ready", "failing": ["draining"] });
        return answer(StatusCode::SERVICE_UNAVAILABLE, &body);
    }
    let checks = edge.operations.health().await;
    let failing: Vec<&str> =
        checks.iter().filter(|check| check.needed && !check.healthy).map(|check| check.name).collect();
    if failing.is_empty() {
        return answer(StatusCode::OK, &json!({ "status": "ready" }));
    }
    answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "not ready", "failing": failing }))
}

/// Everything that can be said about the state of the process.
pub(super) async fn page(State(edge): State<Arc<Edge>>) -> Response<Body> {
    let checks = edge.operations.health().await;
    let healthy = checks.iter().all(|check| check.healthy);
    let checks: Map<String, Value> = checks
        .into_iter()
        .map(|check| {
            let mut detail = check.detail;
            let status = if check.healthy { "healthy" } else { "unhealthy" };
            detail.insert("status".to_owned(), json!(status));
            (check.name.to_owned(), Value::Object(detail))
        })
        .collect();
    let body = json!({
        "status": if healthy { "healthy" } else { "unhealthy" },
        "timestamp": domain::tool::iso_millis(jiff::Timestamp::now()),
        "uptime": edge.metrics.uptime_seconds(),
        "memory": { "rssBytes": resident_bytes().await },
        "draining": edge.lifecycle.draining.is_cancelled(),
        "checks": checks,
    });
    answer(if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

/// Every metric.
pub(super) async fn metrics(State(edge): State<Arc<Edge>>) -> Response<Body> {
    match edge.metrics.encode() {
        Ok(text) => typed(StatusCode::OK, PROMETHEUS, text),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": { "code": "internal" } }))
        }
    }
}

/// Resident memory of this process; `None` where the system does not say.
async fn resident_bytes() -> Option<u64> {
    let status = tokio::fs::read_to_string("/proc/self/status").await.ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    typed(status, JSON, body.to_string())
}

fn typed(status: StatusCode, content_type: HeaderValue, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
