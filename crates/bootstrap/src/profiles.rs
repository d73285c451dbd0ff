//! Profiles of the running process, on the admin listener and for whoever has the admin token only.
//! Without a token these routes do not exist.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use domain::RequestId;
use futures::future::BoxFuture;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use telemetry::Metrics;
use telemetry::profile::{self, MAX_CPU_TIME, MAX_HEAP_TIME, ProfileError};
use tokio::sync::Semaphore;

use crate::secret::Secret;

/// The header that management tools take the token from, too.
const ADMIN_TOKEN: &str = "x-mcp-admin-token";
/// How long a profile is that says nothing else.
const USUAL_TIME: Duration = Duration::from_secs(10);
/// What a wrong token costs whoever presents it, one after the other.
const WRONG_TOKEN: Duration = Duration::from_millis(500);

/// Somebody with the token wants a profile.
#[derive(Debug, Clone)]
pub struct ProfileRequest {
    /// `cpu` or `heap`.
    pub kind: &'static str,
    /// How long it is taken.
    pub length: Duration,
    /// The request.
    pub request_id: RequestId,
}

/// Writes down that a profile is about to be taken; the error is why it cannot be.
type Recorder = dyn Fn(ProfileRequest) -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// Where a service with an audit log says how profiles get into it. Cheap to clone.
#[derive(Clone, Default)]
pub struct ProfileRecords(Arc<OnceLock<Box<Recorder>>>);

impl std::fmt::Debug for ProfileRecords {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("ProfileRecords")
            .field(&self.0.get().is_some())
            .finish()
    }
}

impl ProfileRecords {
    /// From now on a profile is taken only after `record` has written it down. The first one counts.
    pub fn record_with(
        &self,
        record: impl Fn(ProfileRequest) -> BoxFuture<'static, Result<(), String>>
        + Send
        + Sync
        + 'static,
    ) {
        if self.0.set(Box::new(record)).is_err() {
            tracing::debug!("profiles are recorded already");
        }
    }
}

struct Desk {
    /// SHA-256 of the token.
    token: [u8; 32],
    records: ProfileRecords,
    metrics: Arc<Metrics>,
    /// Wrong tokens wait here one after the other.
    wrong: Semaphore,
}

/// The routes, where there is a token.
pub(crate) fn routes_of(
    token: Option<&Secret>,
    records: &ProfileRecords,
    metrics: &Arc<Metrics>,
) -> Option<Router> {
    token.map(|token| routes(token, records.clone(), Arc::clone(metrics)))
}

fn routes(token: &Secret, records: ProfileRecords, metrics: Arc<Metrics>) -> Router {
    let desk = Desk {
        token: Sha256::digest(token.expose().as_bytes()).into(),
        records,
        metrics,
        wrong: Semaphore::new(1),
    };
    Router::new()
        .route("/debug/pprof/profile", get(cpu))
        .route("/debug/pprof/heap", get(heap))
        .with_state(Arc::new(desk))
}

async fn cpu(State(desk): State<Arc<Desk>>, query: RawQuery, headers: HeaderMap) -> Response {
    let length = match desk.admit("cpu", MAX_CPU_TIME, query, &headers).await {
        Ok(length) => length,
        Err(refusal) => return refusal,
    };
    desk.answer("cpu", "profile.pb", profile::cpu(length).await)
}

async fn heap(State(desk): State<Arc<Desk>>, query: RawQuery, headers: HeaderMap) -> Response {
    let length = match desk.admit("heap", MAX_HEAP_TIME, query, &headers).await {
        Ok(length) => length,
        Err(refusal) => return refusal,
    };
    desk.answer("heap", "heap.pb", profile::heap(length).await)
}

/// `seconds` of a query, from 1 to `longest`.
fn length(query: Option<&str>, longest: Duration) -> Option<Duration> {
    let query = query.unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let Some((_, seconds)) = pairs.find(|(name, _)| name == "seconds") else {
        return Some(USUAL_TIME);
    };
    let length = Duration::from_secs(seconds.parse().ok()?);
    (!length.is_zero() && length <= longest).then_some(length)
}

impl Desk {
    /// How long a profile may be taken, once that is written down; the error is why none may.
    async fn admit(
        &self,
        kind: &'static str,
        longest: Duration,
        RawQuery(query): RawQuery,
        headers: &HeaderMap,
    ) -> Result<Duration, Response> {
        if !self.lets_in(headers).await {
            let why = "profiles need the admin token, in the header x-mcp-admin-token or as a \
                       bearer token";
            let status = StatusCode::UNAUTHORIZED;
            return Err(self.refuse(kind, "denied", status, "unauthenticated", why));
        }
        let Some(length) = length(query.as_deref(), longest) else {
            let longest = longest.as_secs();
            let why = format!("seconds: must be a whole number from 1 to {longest}");
            let status = StatusCode::BAD_REQUEST;
            return Err(self.refuse(kind, "denied", status, "invalid_argument", &why));
        };
        let request = ProfileRequest {
            kind,
            length,
            request_id: crate::admin::request_id(headers),
        };
        self.record(request).await.map_or(Ok(length), Err)
    }

    async fn lets_in(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = || text(AUTHORIZATION.as_str())?.strip_prefix("Bearer ");
        let Some(presented) = text(ADMIN_TOKEN).or_else(bearer) else {
            return false;
        };
        let presented: [u8; 32] = Sha256::digest(presented.trim().as_bytes()).into();
        if bool::from(self.token.ct_eq(&presented)) {
            return true;
        }
        // Guesses cost time, and many at once cost it one after the other.
        let turn = self.wrong.acquire().await;
        tokio::time::sleep(WRONG_TOKEN).await;
        drop(turn);
        false
    }

    /// The answer to a request that cannot be written down.
    async fn record(&self, request: ProfileRequest) -> Option<Response> {
        let ProfileRequest {
            kind,
            length,
            request_id,
        } = request.clone();
        if let Some(record) = self.records.0.get()
            && let Err(why) = record(request).await
        {
            let why = format!("the audit log cannot take it: {why}");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Some(self.refuse(kind, "denied", status, "unavailable", &why));
        }
        tracing::warn!(kind, ?length, %request_id, "a profile of this process is taken");
        None
    }

    fn answer(
        &self,
        kind: &'static str,
        name: &'static str,
        taken: Result<Vec<u8>, ProfileError>,
    ) -> Response {
        match taken {
            Ok(bytes) => {
                self.count(kind, "ok");
                let file = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
                let mut response = bytes.into_response();
                let headers = response.headers_mut();
                headers.insert(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/octet-stream"),
                );
                if let Ok(file) = file {
                    headers.insert(CONTENT_DISPOSITION, file);
                }
                response
            }
            Err(why @ ProfileError::Busy) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                self.refuse(kind, "busy", status, "overloaded", &why.to_string())
            }
            Err(why @ ProfileError::Failed(_)) => {
                tracing::error!(kind, %why, "a profile could not be taken");
                let status = StatusCode::SERVICE_UNAVAILABLE;
                self.refuse(kind, "failed", status, "unavailable", &why.to_string())
            }
        }
    }

    fn refuse(
        &self,
        kind: &'static str,
        outcome: &'static str,
        status: StatusCode,
        code: &'static str,
        why: &str,
    ) -> Response {
        self.count(kind, outcome);
        (status, axum::Json(json!({"code": code, "error": why}))).into_response()
    }

    fn count(&self, kind: &'static str, outcome: &'static str) {
        self.metrics
            .profiles
            .with_label_values(&[kind, outcome])
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tokio::time::Instant;
    use tower::ServiceExt as _;

    use super::*;
    use crate::config::Service;
    use crate::version::build_info;

    fn desk(records: ProfileRecords) -> Router {
        let metrics = Metrics::new(build_info(Service::Gateway)).unwrap();
        let token = Secret::new("the token of this test".to_owned());
        routes(&token, records, Arc::new(metrics))
    }

    async fn ask(router: &Router, path: &str, header: Option<(&str, &str)>) -> (u16, Vec<u8>) {
        let mut request = Request::get(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, body.to_vec())
    }

    const RIGHT: Option<(&str, &str)> = Some((ADMIN_TOKEN, "the token of this test"));

    #[tokio::test]
    async fn a_profile_needs_the_token_and_a_length_that_is_allowed() {
        let router = desk(ProfileRecords::default());
        for (path, longest) in [("/debug/pprof/profile", 60), ("/debug/pprof/heap", 600)] {
            only_so(&router, path, longest).await;
        }
    }

    async fn only_so(router: &Router, path: &str, longest: u64) {
        let began = Instant::now();
        let one = format!("{path}?seconds=1");
        for header in [
            None,
            Some((ADMIN_TOKEN, "the token of this tesT")),
            Some(("authorization", "Bearer x")),
            Some(("authorization", "the token of this test")),
        ] {
            let (status, body) = ask(router, &one, header).await;
            assert_eq!(status, 401, "{header:?}");
            assert!(!String::from_utf8_lossy(&body).contains("token of this"));
        }
        assert!(began.elapsed() >= 2 * WRONG_TOKEN, "wrong ones wait");
        let over = (longest + 1).to_string();
        for length in ["0", over.as_str(), "x", "-1", "18446744073709551616"] {
            let path = format!("{path}?seconds={length}");
            let (status, body) = ask(router, &path, RIGHT).await;
            assert_eq!(status, 400);
            let body = String::from_utf8_lossy(&body);
            assert!(body.contains(&format!("1 to {longest}")), "{body}");
        }
        let (status, body) = ask(router, &one, RIGHT).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        // The first field of the format, a message.
        assert_eq!(body.first(), Some(&0x0a));
    }

    #[tokio::test]
    async fn a_profile_that_cannot_be_recorded_is_not_taken() {
        let records = ProfileRecords::default();
        let router = desk(records.clone());
        records.record_with(|request| {
            let why = format!("no room for {} of {:?}", request.kind, request.length);
            Box::pin(async { Err(why) })
        });
        let began = Instant::now();
        for (path, why) in [
            ("/debug/pprof/profile?seconds=3", "no room for cpu of 3s"),
            ("/debug/pprof/heap?seconds=3", "no room for heap of 3s"),
        ] {
            let (status, body) = ask(&router, path, RIGHT).await;
            assert_eq!(status, 503);
            assert!(String::from_utf8_lossy(&body).contains(why));
        }
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
