//! What accompanies every call from hop to hop.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{CallId, RequestId};
use crate::idempotency::IdempotencyKey;
use crate::principal::Principal;

/// W3C trace context, kept as text and validated where it comes in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`, 55 characters.
    pub traceparent: Option<String>,
    /// `tracestate`, at most 512 bytes.
    pub tracestate: Option<String>,
}

/// Who calls, under which ids, and how long it may take. Built once where the request comes in
/// and handed down explicitly.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// Names this execution.
    pub call_id: CallId,
    /// Names the request it belongs to.
    pub request_id: RequestId,
    /// The verified caller.
    pub principal: Arc<Principal>,
    /// How much time is left at the moment this value was made. Each hop takes its own monotonic
    /// clock from there, so that clocks of different machines never meet.
    pub budget: Duration,
    /// The trace to go on with.
    pub trace: TraceContext,
    /// The address that the request came from, for the audit log; `None` for a local pipe, and
    /// behind the gateway.
    pub source: Option<IpAddr>,
    /// The key by which a write of the catalogue that is sent twice happens once; `None` where the
    /// caller gave none, and for everything that is no such write.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl CallContext {
    /// A context of one of our own services, acting for itself.
    #[must_use]
    pub fn service(name: &str, budget: Duration) -> Self {
        Self::new(
            Arc::new(Principal::service(name)),
            RequestId::random(),
            budget,
        )
    }

    /// A context for a new call.
    #[must_use]
    pub fn new(principal: Arc<Principal>, request_id: RequestId, budget: Duration) -> Self {
        Self {
            call_id: CallId::random(),
            request_id,
            principal,
            budget,
            trace: TraceContext::default(),
            source: None,
            idempotency_key: None,
        }
    }
}
