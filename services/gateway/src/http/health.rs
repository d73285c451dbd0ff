//! Probes, the health page and the metrics.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::Edge;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The process can answer.
pub(super) async fn livez() -> Response<Body> {
    answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// The process can serve, and wants to: 503 names what is missing.
pub(super) async fn readyz(State(edge): State<Arc<Edge>>) -> Response<Body> {
    let mut failing: Vec<&str> = edge
        .health
        .readiness()
        .failing
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let checks = edge.operations.health().await;
    failing.extend(
        checks
            .iter()
            .filter(|check| check.needed && !check.healthy)
            .map(|check| check.name),
    );
    if failing.is_empty() {
        return answer(StatusCode::OK, &json!({ "status": "ready" }));
    }
    let body = json!({ "status": "not ready", "failing": failing });
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, &body);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Everything that can be said about the state of the process.
pub(super) async fn page(State(edge): State<Arc<Edge>>) -> Response<Body> {
    let core = edge.operations.health().await;
    let core = core
        .into_iter()
        .map(|check| (check.name, check.healthy, check.detail));
    let process = edge.health.reports().into_iter().map(|(name, report)| {
        let mut detail = match report.detail {
            Value::Object(detail) => detail,
            _ => Map::new(),
        };
        if let Some(why) = &report.failure {
            detail.insert("failure".to_owned(), json!(why));
        }
        (name, report.failure.is_none(), detail)
    });
    let mut all_healthy = true;
    let mut checks = Map::new();
    for (name, healthy, mut detail) in process.chain(core) {
        all_healthy &= healthy;
        detail.insert("status".to_owned(), json!(word(healthy)));
        checks.insert(name.to_owned(), Value::Object(detail));
    }
    let mut limits = edge.settings.limits.health();
    limits.insert("status".to_owned(), json!(word(true)));
    checks.insert("limits".to_owned(), Value::Object(limits));
    let body = json!({
        "status": word(all_healthy),
        "version": bootstrap::VERSION,
        "commit": bootstrap::COMMIT,
        "timestamp": domain::tool::iso_millis(jiff::Timestamp::now()),
        "uptime": edge.metrics.uptime_seconds(),
        "memory": { "rssBytes": resident_bytes().await },
        "draining": edge.health.draining().is_cancelled(),
        "checks": checks,
    });
    answer(
        if all_healthy {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        &body,
    )
}

fn word(healthy: bool) -> &'static str {
    if healthy { "healthy" } else { "unhealthy" }
}

/// Every metric.
pub(super) async fn metrics(State(edge): State<Arc<Edge>>) -> Response<Body> {
    match edge.metrics.encode() {
        Ok(text) => typed(StatusCode::OK, PROMETHEUS, text),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            answer(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({ "error": { "code": "internal" } }),
            )
        }
    }
}

/// Resident memory of this process; `None` where the system does not say.
async fn resident_bytes() -> Option<u64> {
    let status = tokio::fs::read_to_string("/proc/self/status").await.ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
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
