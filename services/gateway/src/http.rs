//! HTTP in front of the MCP endpoint: the routes, and the list of layers that every request passes.

pub(crate) mod addresses;
mod admit;
mod audited;
mod bearer;
mod connection;
#[cfg(test)]
mod documented;
mod files;
mod frames;
mod framing;
mod health;
mod hosts;
mod identity;
mod limits;
mod measure;
mod observe;
mod places;
mod protected_resource;
mod rest;
mod security;
mod serve;
mod stalls;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::routing::{any, get};
use axum::{Router, middleware};
use bootstrap::Health;
use domain::ErrorCode;
use domain::principal::{Principal, Scope};
use http::{Request, Response, StatusCode};
use telemetry::Metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use crate::audit::AuditLog;
use crate::keys::KeyRing;
use crate::limits::Limits;
use crate::mcp::{Endpoint, McpSettings, Operations, Origin, Refusal, json_response};

use unread::Answers;

pub use addresses::AddressRules;
pub use hosts::{BadRule, HostRules};
pub use protected_resource::{BadTokenAuth, TokenAuth};
pub use serve::{ServeSettings, serve};

/// Settings of the HTTP edge.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Path of the MCP endpoint.
    pub mcp_path: String,
    /// Path of the health page.
    pub health_path: String,
    /// Whether `/metrics` is on this port.
    pub metrics: bool,
    /// The absolute end of every request but a subscription.
    pub request_timeout: Duration,
    /// Who may come, and who brings others.
    pub addresses: AddressRules,
    /// Which `Host` and `Origin` are served.
    pub hosts: HostRules,
    /// Whether connections come over TLS here.
    pub https: bool,
    /// Limits on requests.
    pub limits: Arc<Limits>,
    /// How callers are known.
    pub auth: HttpAuth,
    /// Where decisions about credentials are recorded.
    pub audit: AuditLog,
    /// Settings of the endpoint itself.
    pub mcp: McpSettings,
}

/// How callers are known.
#[derive(Debug, Clone)]
pub enum HttpAuth {
    /// Nobody is asked: everybody is this caller.
    Anonymous(Arc<Principal>),
    /// By an API key.
    Keys(Arc<KeyRing>),
    /// By an access token or an API key.
    TokensAndKeys(Arc<TokenAuth>, Arc<KeyRing>),
    /// By an access token, which every request needs.
    Tokens(Arc<TokenAuth>),
}

impl HttpAuth {
    /// The API keys that are taken, if any are.
    pub(crate) fn ring(&self) -> Option<&Arc<KeyRing>> {
        match self {
            Self::Keys(ring) | Self::TokensAndKeys(_, ring) => Some(ring),
            Self::Anonymous(_) | Self::Tokens(_) => None,
        }
    }

    /// The issuer whose tokens are taken, if any are.
    pub(crate) fn tokens(&self) -> Option<&Arc<TokenAuth>> {
        match self {
            Self::Tokens(tokens) | Self::TokensAndKeys(tokens, _) => Some(tokens),
            Self::Anonymous(_) | Self::Keys(_) => None,
        }
    }
}

/// The caller of auth mode `none`. With an admin token configured, the scope that the token gives
/// is not given to everybody.
#[must_use]
pub fn anonymous(admin_token_configured: bool) -> Arc<Principal> {
    let scopes: Vec<Scope> = Scope::OUTSIDE
        .iter()
        .copied()
        .filter(|scope| !(admin_token_configured && *scope == Scope::Admin))
        .collect();
    Arc::new(Principal::anonymous(&scopes))
}

/// The stages of a stop, as far as the edges take part in them.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Cancelled when what is endless has to end: subscriptions.
    pub closing: CancellationToken,
    /// The event streams that are open.
    pub streams: TaskTracker,
}

/// What the handlers share.
pub(crate) struct Edge {
    settings: HttpSettings,
    operations: Arc<dyn Operations>,
    health: Health,
    metrics: Arc<Metrics>,
    endpoint: Arc<Endpoint>,
}

/// Small answers are sent as they are: compressing them costs more than it saves.
const COMPRESS_ABOVE: u64 = 1_024;

/// The public port. `health` says whether the process wants requests, `operations` whether the core
/// can serve them.
pub fn router(
    settings: HttpSettings,
    operations: Arc<dyn Operations>,
    health: Health,
    metrics: Arc<Metrics>,
    lifecycle: Lifecycle,
) -> Router {
    let endpoint = Endpoint::new(
        Arc::clone(&operations),
        settings.mcp.clone(),
        lifecycle.streams,
        lifecycle.closing,
    );
    let seen = Arc::downgrade(&settings.limits);
    metrics.on_scrape(move |metrics| {
        if let Some(limits) = seen.upgrade() {
            limits.show(metrics);
        }
    });
    let edge = Arc::new(Edge {
        settings,
        operations,
        health,
        metrics,
        endpoint,
    });
    let compression = CompressionLayer::new()
        .quality(tower_http::CompressionLevel::Fastest)
        .compress_when(
            SizeAbove::new(COMPRESS_ABOVE).and(NotForContentType::const_new("text/event-stream")),
        );

    let mut routes = Router::new()
        .route(&edge.settings.mcp_path, any(mcp))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz));
    if edge.settings.health_path != "/livez" && edge.settings.health_path != "/readyz" {
        routes = routes.route(&edge.settings.health_path, get(health::page));
    }
    if edge.settings.metrics {
        routes = routes.route("/metrics", get(health::metrics));
    }
    for path in edge.metadata_paths() {
        routes = routes.route(&path, get(protected_resource::metadata));
    }

    // Read from the bottom up: the last one sees a request first.
    routes
        .fallback(not_found)
        // A web page must not reach a local server through a name of its own (DNS rebinding).
        .layer(middleware::from_fn_with_state(
            Arc::clone(&edge),
            hosts::layer,
        ))
        // How often this caller asks.
        .layer(middleware::from_fn_with_state(
            Arc::clone(&edge),
            admit::callers,
        ))
        // Who calls: the one place where a request without a valid credential ends, before any
        // other reason to refuse it is told.
        .layer(middleware::from_fn_with_state(
            Arc::clone(&edge),
            identity::layer,
        ))
        // How often this address asks, and how much is going on: before anything costly.
        .layer(middleware::from_fn_with_state(
            Arc::clone(&edge),
            admit::layer,
        ))
        // Where a request comes from: everything that counts or records by address is inside.
        .layer(middleware::from_fn_with_state(
            Arc::clone(&edge),
            addresses::layer,
        ))
        // Heads that are too large are refused before anything looks into them.
        .layer(middleware::from_fn(limits::layer))
        // A connection outlives a refusal that did not need the body.
        .layer(middleware::from_fn(rest::layer))
        // Lists of many tools shrink tenfold; event streams must not wait for a full block.
        .layer(compression)
        // The request's id, span, metric and last defence against a panic, around all of it.
        .layer(middleware::from_fn_with_state(
            Arc::clone(&edge),
            observe::layer,
        ))
        // What browsers may do with an answer, refusals included.
        .layer(middleware::map_response_with_state(
            Arc::clone(&edge),
            security::layer,
        ))
        .with_state(edge)
}

async fn mcp(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let Some(origin) = parts.extensions.remove::<Origin>() else {
        tracing::error!("a request came past the layer that says who calls");
        let refusal = StatusCode::INTERNAL_SERVER_ERROR;
        return json_response(refusal, b"{\"error\":{\"code\":\"internal\"}}".to_vec());
    };
    let answers = parts.extensions.remove::<Answers>();
    if answers.as_ref().is_some_and(Answers::is_full) {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let why = "too many answers wait for clients that do not read them; try again in a second";
        let refusal = Refusal::http(status, ErrorCode::Overloaded, why);
        return json_response(status, refusal.body(None, &origin.request_id));
    }
    let response = edge.endpoint.handle(&parts, body, &origin).await;
    match answers {
        Some(answers) => answers.count(response),
        None => response,
    }
}

async fn not_found(request: Request<Body>) -> Response<Body> {
    refuse(
        &Refusal::http(
            StatusCode::NOT_FOUND,
            ErrorCode::NotFound,
            "there is nothing at this path",
        ),
        &request,
    )
}

/// A refusal of a layer: the body has not been read, so no JSON-RPC id is known.
fn refuse(refusal: &Refusal, request: &Request<Body>) -> Response<Body> {
    let id = observe::request_id(request);
    json_response(refusal.status, refusal.body(None, &id))
}
