//! The rules about request headers: content negotiation, and the headers of the stateless era
//! that repeat parts of the body.

use std::borrow::Cow;

use base64::Engine as _;
use domain::ErrorCode;
use http::header::{ACCEPT, AsHeaderName, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, StatusCode};

use super::message::{Message, text};
use super::refusal::{Refusal, echo};

pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The client has to take both forms of an answer.
pub(crate) fn accept(headers: &HeaderMap) -> Result<(), Refusal> {
    let (mut json, mut stream) = (false, false);
    for range in headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
    {
        // What every client of MCP sends.
        for range in range.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let essence = parts.next().unwrap_or_default();
            if parts.any(is_zero_quality) {
                continue;
            }
            json |= matches_type(essence, "application/json");
            stream |= matches_type(essence, "text/event-stream");
        }
    }
    if json && stream {
        return Ok(());
    }
    Err(Refusal::http(
        StatusCode::NOT_ACCEPTABLE,
        ErrorCode::InvalidArgument,
        "Accept must list application/json and text/event-stream",
    ))
}

fn matches_type(range: &str, wanted: &str) -> bool {
    range.eq_ignore_ascii_case(wanted)
        || range == "*/*"
        || range.strip_suffix("/*").is_some_and(|main| {
            wanted
                .split_once('/')
                .is_some_and(|(type_, _)| main.eq_ignore_ascii_case(type_))
        })
}

fn is_zero_quality(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("q")
            && value
                .trim()
                .parse::<f32>()
                .is_ok_and(|quality| quality == 0.0)
    })
}

/// The body has to be plain JSON.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let is_json = types
        .next()
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        });
    let unsupported = |message: &'static str| {
        Refusal::http(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorCode::InvalidArgument,
            message,
        )
    };
    if !is_json || types.next().is_some() {
        return Err(unsupported("Content-Type must be application/json"));
    }
    let encoded = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(unsupported("the body must not be compressed"));
    }
    Ok(())
}

/// The one value of a header. Two are refused: a proxy could route on the other one.
pub(crate) fn single(
    headers: &HeaderMap,
    name: impl AsHeaderName + std::fmt::Display,
) -> Result<Option<&str>, Refusal> {
    let label = name.to_string();
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::header_mismatch(format!("{label} is there twice")));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(Refusal::header_mismatch(format!(
            "{label} has invalid characters"
        ))),
    }
}

/// Undoes the encoding of header values that are no plain ASCII; `None` for bad base64 or UTF-8.
pub(crate) fn decode(value: &str) -> Option<Cow<'_, str>> {
    let inner = value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    let Some(inner) = inner else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(inner)
        .ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// `Mcp-Method` equals the method.
pub(crate) fn method(headers: &HeaderMap, message: &Message<'_>) -> Result<(), Refusal> {
    match single(headers, METHOD)? {
        Some(said) if said == message.method => Ok(()),
        Some(said) => Err(Refusal::header_mismatch(format!(
            "Mcp-Method says {} and the body says {}",
            echo(said),
            echo(&message.method)
        ))),
        None => Err(Refusal::header_mismatch("the header Mcp-Method is missing")),
    }
}

/// `Mcp-Name` equals the name, URI or task id that the method is about. A body without one is for
/// the method itself to refuse.
pub(crate) fn name(headers: &HeaderMap, message: &Message<'_>) -> Result<(), Refusal> {
    let params = &message.params;
    let subject = match &*message.method {
        "tools/call" | "prompts/get" => params.name,
        "resources/read" => params.uri,
        "tasks/get" | "tasks/update" | "tasks/cancel" => params.task_id,
        _ => return Ok(()),
    };
    let Some(subject) = subject.and_then(text) else {
        return Ok(());
    };
    let Some(said) = single(headers, NAME)? else {
        return Err(Refusal::header_mismatch("the header Mcp-Name is missing"));
    };
    match decode(said) {
        Some(said) if said == subject => Ok(()),
        Some(said) => Err(Refusal::header_mismatch(format!(
            "Mcp-Name says {} and the body says {}",
            echo(&said),
            echo(&subject)
        ))),
        None => Err(Refusal::header_mismatch("Mcp-Name is not valid base64")),
    }
}
