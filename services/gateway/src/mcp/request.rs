//! From a message to a request of ours: which era it is of, and whether its headers agree with it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::call::{CallContext, TraceContext};
use domain::principal::Principal;
use domain::runner::LogLevel;
use domain::{CallId, RawValue, RequestId};
use http::HeaderMap;
use telemetry::TraceHeaders;
use tokio::time::Instant;

use super::headers;
use super::message::{Message, Meta, is_object, text};
use super::refusal::Refusal;
use super::validity::Validity;
use super::version::Version;

/// Who sent a request and when: made by the layers in front of the endpoint, or once by stdio.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) principal: Arc<Principal>,
    pub(crate) request_id: RequestId,
    pub(crate) trace: TraceContext,
    pub(crate) deadline: Instant,
    /// How long the caller's credential is good, and with it what is endless.
    pub(crate) validity: Validity,
    /// The address that it came from; `None` for a pipe.
    pub(crate) source: Option<IpAddr>,
    /// An element of a batch: its answer is one message, so nothing is sent before it.
    pub(crate) quiet: bool,
}

impl Origin {
    /// The context of a call that belongs to this request.
    pub(crate) fn context(&self) -> CallContext {
        CallContext {
            call_id: CallId::random(),
            request_id: self.request_id.clone(),
            principal: Arc::clone(&self.principal),
            budget: self
                .deadline
                .saturating_duration_since(Instant::now())
                .max(MIN_BUDGET),
            trace: self.trace.clone(),
            source: self.source,
            idempotency_key: None,
        }
    }
}

const MIN_BUDGET: Duration = Duration::from_millis(1);

/// Every method we know, with whether it exists before and since the stateless era.
const METHODS: &[(&str, bool, bool)] = &[
    ("tools/call", true, true),
    ("tools/list", true, true),
    ("initialize", true, false),
    ("ping", true, false),
    ("server/discover", false, true),
    ("subscriptions/listen", false, true),
    ("logging/setLevel", true, false),
    ("resources/list", true, true),
    ("resources/templates/list", true, true),
    ("resources/read", true, true),
    ("prompts/list", true, true),
    ("prompts/get", true, true),
    ("completion/complete", true, true),
];

/// A request whose era, method and headers are all right.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) meta: Meta<'a>,
    pub(crate) version: Version,
}

impl<'a> Request<'a> {
    /// Applies the rules of the wire in the order in which a client can repair them: version,
    /// metadata, method, name.
    pub(crate) fn check(message: Message<'a>, headers: &HeaderMap) -> Result<Self, Refusal> {
        let meta = message.meta()?;
        let version = version(&message, &meta, headers)?;
        if version.is_modern() {
            if meta.client_capabilities.is_none_or(|raw| !is_object(raw)) {
                return Err(Refusal::malformed_params(
                    "params._meta needs io.modelcontextprotocol/clientCapabilities, an object",
                ));
            }
            headers::method(headers, &message)?;
        }
        let known = METHODS.iter().find(|(name, ..)| *name == message.method);
        let exists = known.is_some_and(|(_, legacy, modern)| {
            if version.is_modern() {
                *modern
            } else {
                *legacy
            }
        });
        if !exists {
            return Err(Refusal::method_not_found(&message.method, version));
        }
        if version.is_modern() {
            headers::name(headers, &message)?;
        }
        Ok(Self {
            message,
            meta,
            version,
        })
    }

    /// The id, which every request has.
    pub(crate) fn id(&self) -> Option<&'a RawValue> {
        self.message.id
    }

    /// The least severe log message to send. Before the stateless era there is no memory of
    /// `logging/setLevel`, so every call gets `info` and above.
    pub(crate) fn log_level(&self) -> Result<Option<LogLevel>, Refusal> {
        if !self.version.is_modern() {
            return Ok(Some(LogLevel::Info));
        }
        let Some(raw) = self.meta.log_level else {
            return Ok(None);
        };
        match text(raw).as_deref().and_then(LogLevel::parse) {
            Some(level) => Ok(Some(level)),
            None => Err(Refusal::invalid_params(
                "params._meta io.modelcontextprotocol/logLevel must be one of debug, info, \
                 notice, warning, error, critical, alert, emergency",
            )),
        }
    }

    /// The trace that `_meta` names, if it is a valid one: it is nearer to the caller than the
    /// headers are.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        let parent = self.meta.traceparent.and_then(text)?;
        let state = self.meta.tracestate.and_then(text);
        let trace = TraceHeaders::new(&parent, state.as_deref())?;
        Some(TraceContext {
            traceparent: Some(trace.traceparent().to_owned()),
            tracestate: trace.tracestate().map(str::to_owned),
        })
    }
}

/// Which version a message is of.
fn version(
    message: &Message<'_>,
    meta: &Meta<'_>,
    headers: &HeaderMap,
) -> Result<Version, Refusal> {
    let header = headers::single(headers, headers::PROTOCOL_VERSION)?;
    let Some(said) = meta.protocol_version else {
        let named = header
            .map(|text| Version::parse(text).ok_or(text))
            .transpose();
        return match named.map_err(Refusal::unsupported_version)? {
            // Metadata-free requests of the stateless era: the removed ones get their own error.
            Some(version) if version.is_modern() => match &*message.method {
                "initialize" => Err(Refusal::method_not_found("initialize", version)),
                _ => Err(Refusal::malformed_params(
                    "params._meta needs io.modelcontextprotocol/protocolVersion",
                )),
            },
            Some(version) => Ok(version),
            None if message.method == "server/discover" => Err(Refusal::malformed_params(
                "params._meta needs io.modelcontextprotocol/protocolVersion",
            )),
            None => Ok(Version::UNNAMED),
        };
    };
    let said = text(said).ok_or_else(|| {
        Refusal::malformed_params(
            "params._meta io.modelcontextprotocol/protocolVersion must be a string",
        )
    })?;
    match header {
        None => {
            return Err(Refusal::header_mismatch(
                "the header MCP-Protocol-Version is missing",
            ));
        }
        Some(header) if header != said => {
            return Err(Refusal::header_mismatch(
                "MCP-Protocol-Version and params._meta name different versions",
            ));
        }
        Some(_) => {}
    }
    Version::parse(&said).ok_or_else(|| Refusal::unsupported_version(&said))
}

/// Whether a method takes part in requests only: without an id nobody would see its answer.
pub(crate) fn needs_id(method: &str) -> bool {
    METHODS.iter().any(|(name, ..)| *name == method)
}
