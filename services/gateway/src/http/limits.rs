//! Limits on the head of a request. hyper's own buffer bounds what is read at all; these bound what
//! is looked at.

use axum::body::Body;
use axum::middleware::Next;
use domain::ErrorCode;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};

use super::framing::Ambiguous;
use super::refuse;
use crate::mcp::Refusal;

pub(super) const MAX_URI_BYTES: usize = 8 * 1024;
pub(super) const MAX_HEADERS: usize = 64;
pub(super) const MAX_HEADER_BYTES: usize = 16 * 1024;

pub(super) async fn layer(request: Request<Body>, next: Next) -> Response<Body> {
    match check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let mut response = refuse(&refusal, &request);
            if request.extensions().get::<Ambiguous>().is_some() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            response
        }
    }
}

fn check(request: &Request<Body>) -> Result<(), Refusal> {
    if request.extensions().get::<Ambiguous>().is_some() {
        return Err(Refusal::http(
            StatusCode::BAD_REQUEST,
            ErrorCode::InvalidArgument,
            "the length of the body is named twice",
        ));
    }
    let uri = request
        .uri()
        .path_and_query()
        .map_or(0, |uri| uri.as_str().len());
    if uri > MAX_URI_BYTES {
        return Err(Refusal::http(
            StatusCode::URI_TOO_LONG,
            ErrorCode::InvalidArgument,
            "the URI is longer than 8192 bytes",
        ));
    }
    let headers = request.headers();
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(Refusal::http(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ErrorCode::InvalidArgument,
            "a request has at most 64 headers of together 16384 bytes",
        ));
    }
    Ok(())
}
