//! Who calls. Auth mode `none`: everybody is the anonymous caller, and the header
//! `x-mcp-admin-token` adds `mcp:admin` to that. Verified credentials take this place.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use domain::ErrorCode;
use domain::principal::{Principal, Scope};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use super::observe::Observed;
use super::{Edge, refuse};
use crate::mcp::{Origin, Refusal};

const ADMIN_TOKEN: HeaderName = HeaderName::from_static("x-mcp-admin-token");

pub(super) async fn layer(
    State(edge): State<Arc<Edge>>,
    mut request: Request<Body>,
    next: Next,
) -> Response<Body> {
    if request.uri().path() != edge.settings.mcp_path {
        return next.run(request).await;
    }
    let Some(principal) = edge.identify(request.headers()) else {
        edge.metrics.http_auth_denied.inc();
        let refusal = Refusal::http(
            StatusCode::UNAUTHORIZED,
            ErrorCode::Unauthenticated,
            "the x-mcp-admin-token is not the configured one",
        );
        let mut response = refuse(&refusal, &request);
        let challenge = HeaderValue::from_static("AdminToken header=\"x-mcp-admin-token\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        return response;
    };
    if let Some(Observed {
        request_id,
        trace,
        received,
    }) = request.extensions_mut().remove()
    {
        let deadline = received + edge.settings.request_timeout;
        let origin = Origin {
            principal,
            request_id,
            trace,
            deadline,
            quiet: false,
        };
        request.extensions_mut().insert(origin);
    }
    next.run(request).await
}

impl Edge {
    /// The caller; `None` for a credential that is not valid.
    fn identify(&self, headers: &HeaderMap) -> Option<Arc<Principal>> {
        let anonymous = &self.settings.anonymous;
        let mut tokens = headers.get_all(ADMIN_TOKEN).iter();
        match (tokens.next(), tokens.next()) {
            // Without a configured token everybody has what it would give.
            _ if anonymous.has(Scope::Admin) => Some(Arc::clone(anonymous)),
            (None, _) => Some(Arc::clone(anonymous)),
            (Some(token), None) => {
                let elevated = self.operations.elevate(anonymous, token.to_str().ok()?)?;
                self.metrics.http_auth_success.inc();
                Some(elevated)
            }
            (Some(_), Some(_)) => None,
        }
    }
}
