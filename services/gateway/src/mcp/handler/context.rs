//! What every method of the handler needs around its work: errors, deadlines and `_meta`.

use domain::RawValue;
use domain::call::TraceContext;
use rmcp::RoleServer;
use rmcp::model::{ErrorCode, ErrorData, MetaObject, PaginatedRequestParams};
use rmcp::service::RequestContext;
use tokio::time::sleep_until;

use super::implementation;
use crate::mcp::call::{DEADLINE_SLACK, expired};
use crate::mcp::refusal::with_request_id;
use crate::mcp::request::Origin;
use crate::mcp::version::Version;
use crate::mcp::write::SERVER_INFO;
use crate::operations::ProtocolError;

pub(super) type Context = RequestContext<RoleServer>;

pub(super) fn declared(there: bool, method: &'static str) -> Result<(), ErrorData> {
    if there {
        return Ok(());
    }
    Err(ErrorData::new(
        ErrorCode::METHOD_NOT_FOUND,
        format!("method not found: {method}"),
        None,
    ))
}

/// A fault of ours: the cause goes to the log, the caller gets the id to look up.
pub(super) fn fault(origin: &Origin, cause: &dyn std::fmt::Display) -> ErrorData {
    tracing::error!(fault = "internal", request_id = %origin.request_id, %cause, "an answer could not be made");
    refused(ProtocolError::internal(&origin.request_id), origin)
}

pub(super) fn refused(error: ProtocolError, origin: &Origin) -> ErrorData {
    let data = with_request_id(error.data, &origin.request_id);
    ErrorData::new(ErrorCode(error.code), error.message, Some(data))
}

/// Ends what outlives its deadline.
pub(super) async fn within<T>(
    origin: &Origin,
    work: impl Future<Output = Result<T, ProtocolError>>,
) -> Result<T, ErrorData> {
    tokio::select! {
        biased;
        done = work => done.map_err(|error| refused(error, origin)),
        () = sleep_until(origin.deadline + DEADLINE_SLACK) => {
            Err(refused(expired(origin), origin))
        }
    }
}

pub(super) fn is_modern(context: &Context) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| version.as_str() >= Version::V2026_07_28.as_str())
}

/// `_meta` of a result: who answered, for clients of the stateless era.
pub(super) fn stamp(context: &Context) -> Option<MetaObject> {
    is_modern(context).then(|| {
        let mut meta = MetaObject::default();
        let server = serde_json::to_value(implementation()).unwrap_or_default();
        meta.insert(SERVER_INFO.to_owned(), server);
        meta
    })
}

pub(super) fn trace(context: &Context) -> TraceContext {
    let text = |name: &str| context.meta.get(name).and_then(serde_json::Value::as_str);
    let headers = text("traceparent")
        .and_then(|parent| telemetry::TraceHeaders::new(parent, text("tracestate")));
    headers.map_or_else(TraceContext::default, |headers| TraceContext {
        traceparent: Some(headers.traceparent().to_owned()),
        tracestate: headers.tracestate().map(str::to_owned),
    })
}

pub(super) fn cursor(request: Option<&PaginatedRequestParams>) -> Option<String> {
    request.and_then(|request| request.cursor.clone())
}

/// The raw JSON of a value that rmcp parsed.
pub(super) fn raw(
    value: &impl serde::Serialize,
    origin: &Origin,
) -> Result<Box<RawValue>, ErrorData> {
    serde_json::value::to_raw_value(value).map_err(|error| fault(origin, &error))
}
