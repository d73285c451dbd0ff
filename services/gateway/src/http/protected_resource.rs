//! What a client needs to know to get a token: the metadata of RFC 9728, and the challenges of
//! RFC 6750 that lead to it.

use std::fmt::Write as _;
use std::sync::Arc;

use auth::token::TokenVerifier;
use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse as _;
use domain::ErrorCode;
use domain::principal::Scope;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use serde_json::json;

use super::{Edge, refuse};
use crate::mcp::Refusal;

/// Where the metadata is; clients put the path of the endpoint behind it (RFC 9728, section 3.1).
pub(super) const PATH: &str = "/.well-known/oauth-protected-resource";

/// Access tokens of an issuer, as the edge needs them.
#[derive(Debug)]
pub struct TokenAuth {
    pub(super) verifier: Arc<TokenVerifier>,
    issuer: String,
    required: Vec<String>,
    /// The endpoint as clients know it; `None`: built from each request.
    resource: Option<Uri>,
    https: bool,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTokenAuth {
    /// RFC 6749, section 3.3.
    #[error(
        "MCP_AUTH_REQUIRED_SCOPES: {0:?} is not a scope: printable ASCII without space, \" and \\"
    )]
    Scope(String),
    /// RFC 9728, section 1.2.
    #[error(
        "MCP_AUTH_RESOURCE: {0:?} is not the URL of an endpoint: https, without query and fragment"
    )]
    Resource(String),
}

impl TokenAuth {
    /// `required`: scopes that every token needs. `resource`: the public URL of the endpoint.
    ///
    /// # Errors
    /// For a scope that is none, or a URL that is none.
    pub fn new(
        verifier: Arc<TokenVerifier>,
        issuer: String,
        required: Vec<String>,
        resource: Option<&str>,
    ) -> Result<Self, BadTokenAuth> {
        let good = |b: u8| b == 0x21 || (0x23..=0x5b).contains(&b) || (0x5d..=0x7e).contains(&b);
        let bad = required
            .iter()
            .find(|scope| scope.is_empty() || !scope.bytes().all(good));
        if let Some(bad) = bad {
            return Err(BadTokenAuth::Scope(bad.clone()));
        }
        let read = |text: &str| endpoint(text).ok_or(BadTokenAuth::Resource(text.to_owned()));
        let resource = resource.map(read).transpose()?;
        Ok(Self {
            verifier,
            issuer,
            required,
            resource,
            https: false,
        })
    }

    /// Whether the endpoint is served over TLS here, which its URL then says.
    #[must_use]
    pub fn over_https(mut self, https: bool) -> Self {
        self.https = https;
        self
    }

    /// Required scopes that a token lacks. `mcp:admin` stands for the other scopes of the product.
    pub(super) fn lacks(&self, principal: &domain::Principal) -> bool {
        let product = |name: &str| Scope::OUTSIDE.iter().find(|scope| scope.as_str() == name);
        let held = |scope: &String| {
            principal.scopes.contains(scope)
                || product(scope).is_some_and(|scope| principal.has(*scope))
        };
        !self.required.iter().all(held)
    }

    /// What a client asks the issuer for to begin with: more comes by challenge when it is needed.
    fn first_scopes(&self) -> Vec<&str> {
        self.with_required(Scope::Invoke)
    }

    fn with_required(&self, scope: Scope) -> Vec<&str> {
        let mut scopes: Vec<&str> = self.required.iter().map(String::as_str).collect();
        if !scopes.contains(&scope.as_str()) {
            scopes.push(scope.as_str());
        }
        scopes
    }

    /// The challenge of a 401.
    pub(super) fn challenge(
        &self,
        asked: &Asked<'_>,
        error: Option<(&str, &str)>,
    ) -> Option<HeaderValue> {
        self.write(asked, &self.first_scopes(), error)
    }

    /// The challenge of a 403: all that the operation needs. `None`: only what every token needs.
    pub(super) fn insufficient(
        &self,
        asked: &Asked<'_>,
        scope: Option<Scope>,
    ) -> Option<HeaderValue> {
        let scopes = match scope {
            Some(scope) => self.with_required(scope),
            None => self.required.iter().map(String::as_str).collect(),
        };
        let error = ("insufficient_scope", "the token lacks a scope");
        self.write(asked, &scopes, Some(error))
    }

    fn write(
        &self,
        asked: &Asked<'_>,
        scopes: &[&str],
        error: Option<(&str, &str)>,
    ) -> Option<HeaderValue> {
        let mut text = "Bearer ".to_owned();
        if let Some(metadata) = self.metadata_url(asked) {
            write!(text, "resource_metadata=\"{metadata}\", ").ok()?;
        }
        write!(text, "scope=\"{}\"", scopes.join(" ")).ok()?;
        if let Some((error, description)) = error {
            write!(
                text,
                ", error=\"{error}\", error_description=\"{description}\""
            )
            .ok()?;
        }
        HeaderValue::try_from(text).ok()
    }

    fn metadata_url(&self, asked: &Asked<'_>) -> Option<String> {
        let resource = self.resource(asked)?;
        let uri: Uri = resource.parse().ok()?;
        let path = uri.path().trim_end_matches('/');
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        Some(format!("{scheme}://{authority}{PATH}{path}"))
    }

    /// The URL of the endpoint, as this client reached it unless one is configured.
    fn resource(&self, asked: &Asked<'_>) -> Option<String> {
        match &self.resource {
            Some(resource) => Some(resource.to_string().trim_end_matches('/').to_owned()),
            None => {
                let scheme = if self.https { "https" } else { "http" };
                let host = asked.host.as_ref()?;
                Some(format!("{scheme}://{host}{}", asked.path))
            }
        }
    }

    /// The path under which clients look for the metadata of the configured resource.
    fn configured_path(&self) -> Option<String> {
        let path = self.resource.as_ref()?.path().trim_end_matches('/');
        Some(format!("{PATH}{path}"))
    }
}

/// Reads the URL of an endpoint.
fn endpoint(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("https" | "http"));
    let plain = uri.query().is_none() && !text.contains(['#', '"', '\\', '@']);
    (known && plain && uri.authority().is_some()).then_some(uri)
}

/// Under which name the endpoint was asked.
pub(super) struct Asked<'a> {
    host: Option<Authority>,
    path: &'a str,
}

impl<'a> Asked<'a> {
    /// `path`: that of the MCP endpoint.
    pub(super) fn of(headers: &HeaderMap, uri: &Uri, path: &'a str) -> Self {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.map_or_else(
            || uri.authority().cloned(),
            |host| host.parse::<Authority>().ok(),
        );
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        Self {
            host: host.filter(|host| host.as_str().chars().all(plain)),
            path,
        }
    }
}

impl Edge {
    /// Where the metadata is served; nowhere when no tokens are.
    pub(super) fn metadata_paths(&self) -> Vec<String> {
        let Some(tokens) = self.settings.auth.tokens() else {
            return Vec::new();
        };
        let mut paths = vec![PATH.to_owned(), format!("{PATH}{}", self.settings.mcp_path)];
        paths.extend(tokens.configured_path());
        paths.sort();
        paths.dedup();
        paths
    }
}

/// The metadata: a token is not needed to learn where tokens come from.
pub(super) async fn metadata(
    State(edge): State<Arc<Edge>>,
    request: Request<Body>,
) -> Response<Body> {
    let asked = Asked::of(request.headers(), request.uri(), &edge.settings.mcp_path);
    let tokens = edge.settings.auth.tokens();
    let resource = tokens.and_then(|tokens| Some((tokens, tokens.resource(&asked)?)));
    let Some((tokens, resource)) = resource else {
        let why = "there is nothing at this path";
        let refusal = Refusal::http(StatusCode::NOT_FOUND, ErrorCode::NotFound, why);
        return refuse(&refusal, &request);
    };
    let body = json!({
        "resource": resource,
        "authorization_servers": [tokens.issuer],
        "scopes_supported": tokens.first_scopes(),
        "bearer_methods_supported": ["header"],
        "resource_name": "dynamic-mcp",
    });
    let json = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, json)], body.to_string()).into_response()
}
