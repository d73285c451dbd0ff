//! Callers with access tokens: who gets in, and what the others are told.

mod challenge;
mod metadata;

use std::sync::Arc;

use auth::token::{KeySource, TokenSettings, TokenVerifier};
use axum::body::Body;
use gateway::http::{HttpAuth, TokenAuth};
use http::{HeaderValue, Request};
use serde_json::{Value, json};
use telemetry::{BuildInfo, Metrics};
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};
use tokio::time::Instant;

use super::fake::ADMIN_TOKEN;
use super::rig::{Answer, Pieces, Rig, legacy, modern, post, settings};

/// An edge that takes tokens, and who makes them.
struct Guarded {
    rig: Rig,
    issuer: Issuer,
}

impl Guarded {
    fn new() -> Self {
        Self::with(&[], None)
    }

    fn with(required: &[&str], resource: Option<&str>) -> Self {
        let issuer = Issuer::default();
        let keys = TokenSettings {
            keys: KeySource::PublicKeys(issuer.public_pem()),
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            tenant_claim: Some("tenant".to_owned()),
            role_claim: None,
            roles: domain::principal::Roles::default(),
        };
        let build = BuildInfo {
            service: "gateway",
            version: "0",
            commit: "test",
        };
        let metrics = Arc::new(Metrics::new(build).unwrap());
        let verifier = Arc::new(TokenVerifier::new(keys, metrics).unwrap());
        let required = required.iter().map(|scope| (*scope).to_owned()).collect();
        let tokens = TokenAuth::new(verifier, ISSUER.to_owned(), required, resource).unwrap();
        let mut settings = settings(true);
        settings.auth = HttpAuth::Tokens(Arc::new(tokens));
        Self {
            rig: Rig::with(settings),
            issuer,
        }
    }

    fn token(&self, scope: &str, mut claims: Value) -> String {
        if claims["tenant"].is_null() {
            claims["tenant"] = json!("acme");
        }
        self.issuer.token("alice", scope, &claims)
    }

    /// Sends a request with a token of these scopes.
    async fn send(&self, scope: &str, request: Request<Body>) -> Answer {
        let token = self.token(scope, json!({}));
        self.rig
            .answer(with(request, &format!("Bearer {token}")))
            .await
    }
}

/// The request with this header `Authorization` besides those that it has.
fn with(mut request: Request<Body>, credential: &str) -> Request<Body> {
    let value = HeaderValue::from_bytes(credential.as_bytes()).unwrap();
    request.headers_mut().append("authorization", value);
    request
}

fn ping() -> Request<Body> {
    legacy("ping", json!({}))
}

async fn count(rig: &Rig, line: &str) -> u64 {
    let metrics = Request::get("/metrics").body(Body::empty()).unwrap();
    let answer = rig.answer(metrics).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let value = text.lines().find_map(|of| of.strip_prefix(line));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn the_caller_is_whom_the_token_names() {
    let guarded = Guarded::new();
    let call = modern("tools/call", json!({"name": "whoami"}));
    let answer = guarded.send("mcp:invoke", call).await;
    assert_eq!(answer.result()["structuredContent"]["admin"], false);
    let principal = guarded.rig.fake.last.lock().clone().unwrap().principal;
    assert_eq!(principal.subject, "alice");
    assert_eq!(principal.tenant.as_str(), "acme");
    assert_eq!(Vec::from_iter(&principal.scopes), ["mcp:invoke"]);

    let boasting = json!({
        "name": "whoami", "arguments": {"scopes": ["mcp:admin"]},
        "_meta": {"role": "admin", "scope": "mcp:admin", "clientInfo": {"name": "admin"}},
    });
    let mut call = modern("tools/call", boasting);
    for name in ["x-role", "x-scopes", "baggage"] {
        let value = HeaderValue::from_static("scope=mcp:admin");
        call.headers_mut().insert(name, value);
    }
    let answer = guarded.send("mcp:invoke", call).await;
    assert_eq!(answer.result()["structuredContent"]["admin"], false);

    let mut call = modern("tools/call", json!({"name": "whoami"}));
    let admin = HeaderValue::from_static(ADMIN_TOKEN);
    call.headers_mut().insert("x-mcp-admin-token", admin);
    let answer = guarded.send("mcp:invoke", call).await;
    assert_eq!(answer.result()["structuredContent"]["admin"], true);
}

#[tokio::test]
async fn what_others_say_of_the_caller_is_no_credential() {
    let guarded = Guarded::new();
    for name in [
        "x-user",
        "x-forwarded-user",
        "x-forwarded-client-cert",
        "x-dmcp-ctx",
        "dynamic-mcp-identity",
        "grpc-metadata-authorization",
        "proxy-authorization",
        "cookie",
    ] {
        let token = guarded.token("mcp:admin", json!({}));
        let mut request = ping();
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        request
            .headers_mut()
            .insert(http::HeaderName::from_static(name), value);
        assert_eq!(guarded.rig.answer(request).await.status, 401, "{name}");
    }
    let mut request = ping();
    let admin = HeaderValue::from_static(ADMIN_TOKEN);
    request.headers_mut().insert("x-mcp-admin-token", admin);
    let answer = guarded.rig.answer(request).await;
    assert_eq!(answer.status, 401, "the admin token is no caller");
}

#[tokio::test]
async fn a_wrong_admin_token_is_refused_beside_a_good_token() {
    let guarded = Guarded::new();
    let mut request = ping();
    let wrong = HeaderValue::from_static("wrong");
    request.headers_mut().insert("x-mcp-admin-token", wrong);
    let answer = guarded.send("mcp:invoke", request).await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").starts_with("AdminToken "));
}

#[tokio::test]
async fn probes_and_metrics_need_no_token() {
    let guarded = Guarded::new();
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(guarded.rig.answer(request).await.status, 200, "{path}");
    }
    for path in [
        "//mcp",
        "/mcp/",
        "/%6dcp",
        "/mcp/..;/",
        "/livez/../mcp",
        "/MCP",
    ] {
        let mut request = ping();
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(guarded.rig.answer(request).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn decisions_are_counted_with_their_reason() {
    let guarded = Guarded::new();
    guarded.send("mcp:invoke", ping()).await;
    guarded.rig.answer(ping()).await;
    guarded.rig.answer(with(ping(), "Basic YTpi")).await;
    guarded.rig.answer(with(ping(), "Bearer a.b")).await;
    let call = modern("tools/call", json!({"name": "writes"}));
    guarded.send("mcp:invoke", call).await;
    for (decision, times) in [
        ("accepted", 2),
        ("missing", 1),
        ("scheme", 1),
        ("malformed", 1),
        ("insufficient_scope", 1),
    ] {
        let line = format!(r#"mcp_auth_decisions_total{{decision="{decision}",method="jwt"}}"#);
        assert_eq!(count(&guarded.rig, &line).await, times, "{decision}");
    }
    let (good, bad) = (
        "dynamic_mcp_http_auth_success_total",
        "dynamic_mcp_http_auth_denied_total",
    );
    assert_eq!(count(&guarded.rig, good).await, 2);
    assert_eq!(count(&guarded.rig, bad).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_ends_with_the_token() {
    let guarded = Guarded::new();
    let listen = || modern("subscriptions/listen", json!({"notifications": {}}));
    let started = Instant::now();
    let exp = jiff::Timestamp::now().as_second() + 100;
    let token = guarded.token("mcp:invoke", json!({ "exp": exp }));
    let bearer = format!("Bearer {token}");
    let response = guarded.rig.send(with(listen(), &bearer)).await;
    assert_eq!(response.status(), 200);
    let mut pieces = Pieces::of(response);
    while pieces.next().await.is_some() {}
    // 30 s of leeway come on top.
    let took = started.elapsed();
    assert!((128..=131).contains(&took.as_secs()), "{took:?}");
}

/// A stream of a call, too: what outlives its credential is nobody's any more.
#[tokio::test(start_paused = true)]
async fn the_stream_of_a_call_ends_with_the_token() {
    let guarded = Guarded::new();
    let exp = jiff::Timestamp::now().as_second() - 25;
    let token = guarded.token("mcp:invoke", json!({ "exp": exp }));
    let call = modern("tools/call", json!({"name": "slow"}));
    let started = Instant::now();
    let answer = guarded
        .rig
        .answer(with(call, &format!("Bearer {token}")))
        .await;
    let error = &answer.json()["error"];
    assert_eq!(error["data"]["code"], "unauthenticated");
    assert_eq!(error["data"]["requestId"], answer.header("x-request-id"));
    let took = started.elapsed().as_secs();
    assert!((3..=6).contains(&took), "{took} s");
    assert_eq!(guarded.rig.fake.running(), 0);
}
