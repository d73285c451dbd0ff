//! Headers of every answer, for browsers: answers are data, never pages, and never kept.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use http::header::{
    CACHE_CONTROL, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response};

use super::Edge;

/// What came over TLS once comes over TLS for a year (RFC 6797).
const A_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

pub(super) async fn layer(
    State(edge): State<Arc<Edge>>,
    mut response: Response<Body>,
) -> Response<Body> {
    let https = edge.settings.https;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if https {
        headers.insert(STRICT_TRANSPORT_SECURITY, A_YEAR);
    }
    response
}
