//! Reads a request's body: once, bounded in size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use domain::ErrorCode;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::refusal::Refusal;

/// Largest buffer that is made before a byte has come, whatever Content-Length says.
const TRUSTED_BYTES: usize = 64 * 1024;

/// The body. A length over the limit is refused before anything is read, so that the client gets
/// no `100 Continue` and nothing is buffered.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    within: Duration,
) -> Result<Bytes, Refusal> {
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    match timeout(within, collect(body, announced.unwrap_or(0), limit)).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::http(
            StatusCode::REQUEST_TIMEOUT,
            ErrorCode::Timeout,
            format!("the body did not come within {} seconds", within.as_secs()),
        )),
    }
}

async fn collect(mut body: Body, announced: usize, limit: usize) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::parse("the body ended before it was complete"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + buffer.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        // Nearly every body is one piece, which then is not copied.
        if first.is_empty() && buffer.is_empty() {
            first = data;
            continue;
        }
        if buffer.is_empty() {
            buffer.reserve(announced.min(TRUSTED_BYTES).max(first.len() + data.len()));
            buffer.extend_from_slice(&first);
            first = Bytes::new();
        }
        buffer.extend_from_slice(&data);
    }
    Ok(if buffer.is_empty() {
        first
    } else {
        buffer.freeze()
    })
}

fn too_large(limit: usize) -> Refusal {
    Refusal::http(
        StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::InvalidArgument,
        format!("the body is larger than {limit} bytes (MCP_HTTP_MAX_REQUEST_BYTES)"),
    )
}
