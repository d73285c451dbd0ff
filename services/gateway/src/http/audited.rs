//! Decisions about credentials, in the audit log.

use std::net::IpAddr;

use axum::body::Body;
use domain::audit::{Action, Actor, Outcome, Record};
use domain::principal::Principal;
use domain::{ErrorCode, RequestId};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::addresses::ClientAddress;
use super::observe;
use crate::audit::AuditLog;

/// The address that a request came from.
pub(super) fn source(request: &Request<Body>) -> Option<IpAddr> {
    let client = request.extensions().get::<ClientAddress>();
    client.map(|ClientAddress(address)| *address)
}

/// Records what is decided about one request. Made only where the log is on.
pub(super) struct Audited {
    log: AuditLog,
    request_id: RequestId,
    source: Option<IpAddr>,
}

impl Audited {
    /// `None` when the log is off.
    pub(super) fn of(log: &AuditLog, request: &Request<Body>) -> Option<Self> {
        log.is_on().then(|| Self {
            log: log.clone(),
            request_id: observe::request_id(request),
            source: source(request),
        })
    }

    /// A valid credential of this kind was shown.
    pub(super) fn accepted(&self, method: &'static str, principal: &Principal) {
        let scopes: Vec<Value> = principal.scopes.iter().map(|scope| json!(scope)).collect();
        let record = self.decision(method, Actor::from(principal), Outcome::Success);
        self.log.record(record.with("scopes", scopes));
    }

    /// The request ends for want of a valid credential of this kind. `principal`: who it is all the
    /// same.
    pub(super) fn denied(
        &self,
        (method, reason): (&'static str, &'static str),
        status: StatusCode,
        principal: Option<&Principal>,
    ) {
        let actor = principal.map_or_else(Actor::unauthenticated, Actor::from);
        let mut record = self.decision(method, actor, Outcome::Denied);
        record.code = Some(match status {
            StatusCode::UNAUTHORIZED => ErrorCode::Unauthenticated,
            StatusCode::FORBIDDEN => ErrorCode::PermissionDenied,
            _ => ErrorCode::InvalidArgument,
        });
        self.log.record(record.with("reason", reason));
    }

    fn decision(&self, method: &'static str, actor: Actor, outcome: Outcome) -> Record {
        Record {
            request_id: Some(self.request_id.clone()),
            actor,
            source: self.source,
            ..Record::of_system(Action::HttpAuth, outcome)
        }
        .with("method", method)
    }
}
