//! Why a request gets no result: an HTTP status and a JSON-RPC error.

use std::borrow::Cow;

use domain::principal::Scope;
use domain::{RawValue, RequestId};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::version::Version;
use crate::operations::ProtocolError;

/// Error codes of JSON-RPC and of MCP 2026-07-28. A refusal of HTTP itself (413, 415, 429, ...)
/// has its status as the code: the protocol keeps -32768..-32000 for itself.
pub(crate) mod code {
    pub(crate) const PARSE: i32 = -32700;
    pub(crate) const INVALID_REQUEST: i32 = -32600;
    pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
    pub(crate) const INVALID_PARAMS: i32 = -32602;
    pub(crate) const INTERNAL: i32 = -32603;
    pub(crate) const HEADER_MISMATCH: i32 = -32020;
    pub(crate) const UNSUPPORTED_VERSION: i32 = -32022;
}

/// Most characters of a client's text that an error repeats.
pub(crate) const MAX_ECHO_CHARS: usize = 128;

/// A refused request.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: i32,
    pub(crate) message: Cow<'static, str>,
    pub(crate) data: Option<Value>,
    /// The scope whose lack is the reason.
    pub(crate) scope: Option<Scope>,
}

impl Refusal {
    fn new(status: StatusCode, code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            data: None,
            scope: None,
        }
    }

    /// A refusal of HTTP itself, with the word of our closed list of codes.
    pub(crate) fn http(
        status: StatusCode,
        code: domain::ErrorCode,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let mut refusal = Self::new(status, i32::from(status.as_u16()), message);
        refusal.data = Some(json!({ "code": code }));
        refusal
    }

    /// The caller is known and lacks a scope.
    pub(crate) fn insufficient_scope(scope: Scope) -> Self {
        let message = format!("the scope {scope} is needed; use a credential that holds it");
        let code = domain::ErrorCode::PermissionDenied;
        let mut refusal = Self::http(StatusCode::FORBIDDEN, code, message);
        refusal.data = Some(json!({ "code": code, "field": "scope", "scope": scope.as_str() }));
        refusal.scope = Some(scope);
        refusal
    }

    /// Unreadable JSON.
    pub(crate) fn parse(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::PARSE, message)
    }

    /// JSON that is no JSON-RPC.
    pub(crate) fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, message)
    }

    /// A header that contradicts the body.
    pub(crate) fn header_mismatch(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::HEADER_MISMATCH, message)
    }

    /// What every request of the stateless era needs is missing or of the wrong type.
    pub(crate) fn malformed_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::INVALID_PARAMS, message)
    }

    /// Well-formed, but not what the method takes.
    pub(crate) fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::OK, code::INVALID_PARAMS, message)
    }

    pub(crate) fn unsupported_version(requested: &str) -> Self {
        let mut refusal = Self::new(
            StatusCode::BAD_REQUEST,
            code::UNSUPPORTED_VERSION,
            "the protocol version is not supported",
        );
        let supported: Vec<&str> = Version::ALL.map(Version::as_str).to_vec();
        refusal.data = Some(json!({ "supported": supported, "requested": echo(requested) }));
        refusal
    }

    /// 404 on the wire of the stateless era, 200 before it.
    pub(crate) fn method_not_found(method: &str, version: Version) -> Self {
        let status = if version.is_modern() {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::OK
        };
        Self::new(
            status,
            code::METHOD_NOT_FOUND,
            format!("method not found: {}", echo(method)),
        )
    }

    /// The JSON-RPC error response, which says the HTTP request's id too.
    pub(crate) fn body(&self, id: Option<&RawValue>, request_id: &RequestId) -> Vec<u8> {
        error_body(id, self.code, &self.message, self.data.clone(), request_id)
    }
}

impl From<ProtocolError> for Refusal {
    fn from(error: ProtocolError) -> Self {
        let mut refusal = Self::new(StatusCode::OK, error.code, error.message);
        refusal.data = error.data;
        refusal
    }
}

/// The first characters of a client's text, with what a terminal or a page could act on replaced.
pub(crate) fn echo(text: &str) -> String {
    text.chars()
        .take(MAX_ECHO_CHARS)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Adds the HTTP request's id to the `data` of an error.
pub(crate) fn with_request_id(data: Option<Value>, request_id: &RequestId) -> Value {
    let mut data = match data {
        Some(Value::Object(data)) => data,
        None => Map::new(),
        Some(other) => return other,
    };
    data.entry("requestId")
        .or_insert_with(|| Value::String(request_id.as_str().to_owned()));
    Value::Object(data)
}

fn error_body(
    id: Option<&RawValue>,
    code: i32,
    message: &str,
    data: Option<Value>,
    request_id: &RequestId,
) -> Vec<u8> {
    let error = json!({
        "code": code, "message": message, "data": with_request_id(data, request_id),
    });
    let id = id.map_or("null", RawValue::get);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into_bytes()
}
