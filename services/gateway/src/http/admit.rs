//! The limits that a request meets before its body is read: of its address before anybody knows who
//! it is, of the requests in progress, and then of its caller.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use domain::ErrorCode;
use domain::audit::{Action, Actor, Outcome, Record};
use domain::principal::Principal;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response, StatusCode};

use super::audited::source;
use super::{Edge, HttpAuth, observe, refuse};
use crate::limits::{Denied, Limit};
use crate::mcp::{Origin, Refusal};

/// On the answer to a credential that was shown and is wrong: it counts for its address.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailedCredential;

/// Whether a request that was turned away for this showed a wrong credential. Who shows none, or one
/// that was good once, does not guess; where our own keys are away nobody can tell.
pub(super) fn is_guess(reason: &str) -> bool {
    !matches!(
        reason,
        "missing" | "in_query" | "several" | "expired" | "keys_unavailable" | "insufficient_scope"
    )
}

/// Before the credential is looked at.
pub(super) async fn layer(
    State(edge): State<Arc<Edge>>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    if request.uri().path() != edge.settings.mcp_path {
        return next.run(request).await;
    }
    let limits = &edge.settings.limits;
    let address = source(&request);
    if let Some(address) = address
        && let Err(denied) = limits.address(address)
    {
        return edge.deny(denied, &request, None);
    }
    let _slot = match limits.flow.enter().await {
        Ok(slot) => slot,
        Err(denied) => return edge.deny(denied, &request, None),
    };
    let response = next.run(request).await;
    if let Some(address) = address
        && response.extensions().get::<FailedCredential>().is_some()
    {
        limits.failed(address);
    }
    response
}

/// Once the caller is known.
pub(super) async fn callers(
    State(edge): State<Arc<Edge>>,
    request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let Some(origin) = request.extensions().get::<Origin>() else {
        return next.run(request).await;
    };
    let known = !matches!(edge.settings.auth, HttpAuth::Anonymous(_));
    let _in_flight = match edge.settings.limits.caller(&origin.principal, known) {
        Ok(in_flight) => in_flight,
        Err(denied) => return edge.deny(denied, &request, Some(&origin.principal)),
    };
    next.run(request).await
}

impl Edge {
    /// Whether a request that was turned away for this leaves a record. Each wrong credential does:
    /// there are few from one address. Requests without one could be any number.
    pub(super) fn is_recorded(&self, reason: &str, request: &Request<Body>) -> bool {
        reason != "missing" || self.settings.limits.notes.one_without(source(request))
    }

    /// Answers, counts and, now and then, records a request beyond a limit.
    fn deny(
        &self,
        denied: Denied,
        request: &Request<Body>,
        caller: Option<&Principal>,
    ) -> Response<Body> {
        let Denied { limit, retry_after } = denied;
        let rejections = &self.metrics.limit_rejections;
        rejections.with_label_values(&[limit.as_str()]).inc();
        self.record_denied(limit, request, caller);
        let (status, code, why) = match limit {
            Limit::AddressFailures => (
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::RateLimited,
                "too many wrong credentials came from this address",
            ),
            Limit::Address => (
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::RateLimited,
                "too many requests came from this address",
            ),
            Limit::Caller => (
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::RateLimited,
                "too many requests of this caller",
            ),
            Limit::CallerInFlight => (
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::RateLimited,
                "too many requests of this caller are in progress",
            ),
            Limit::Global => (
                StatusCode::TOO_MANY_REQUESTS,
                ErrorCode::RateLimited,
                "too many requests of all callers",
            ),
            Limit::InFlight | Limit::Load => (
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::Overloaded,
                "too many requests are in progress",
            ),
        };
        let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
        let message = format!("{why}; try again in {millis} ms");
        let mut refusal = Refusal::http(status, code, message);
        refusal.data = Some(serde_json::json!({ "code": code, "retryAfterMs": millis }));
        let mut response = refuse(&refusal, request);
        let seconds = HeaderValue::from(whole_seconds(retry_after));
        response.headers_mut().insert(RETRY_AFTER, seconds);
        response
    }

    /// Not for load: that is nobody's doing in particular, and the metrics tell it.
    fn record_denied(&self, limit: Limit, request: &Request<Body>, caller: Option<&Principal>) {
        let log = &self.settings.audit;
        if limit.is_load() || !log.is_on() {
            return;
        }
        let address: Option<IpAddr> = source(request);
        let notes = &self.settings.limits.notes;
        let due = match caller {
            Some(caller) => notes.due(limit.as_str(), (&caller.tenant, &caller.subject)),
            None => notes.due(limit.as_str(), address),
        };
        let Some(suppressed) = due else { return };
        let record = Record {
            request_id: Some(observe::request_id(request)),
            actor: caller.map_or_else(Actor::unauthenticated, Actor::from),
            code: Some(ErrorCode::RateLimited),
            source: address,
            ..Record::of_system(Action::LimitDenied, Outcome::Denied)
        };
        log.record(
            record
                .with("limit", limit.as_str())
                .with("suppressed", suppressed),
        );
    }
}

/// `Retry-After` counts in seconds: the next whole one.
fn whole_seconds(wait: Duration) -> u64 {
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    millis.div_ceil(1_000).max(1)
}
