//! Callers with access tokens of a real issuer: standalone and gateway, discovery to rotation.

mod forged;
pub(crate) mod issuer;
mod outage;
mod scopes;
mod sessions;
mod trust;

use serde_json::{Value, json};
use testkit::http::{Answer, exchange};
use testkit::mcp::{Client, Era};

use self::issuer::{Issuer, RESOURCE};
use crate::deployment::{Deployment, Kind};

const ALL: &str = "mcp:invoke mcp:tools:read mcp:tools:write";

/// A deployment that takes the tokens of an issuer.
struct Guarded {
    deployment: Deployment,
    issuer: Issuer,
}

impl Guarded {
    async fn start(kind: Kind, more: &[(&str, &str)]) -> Self {
        let issuer = Issuer::start().await;
        let jwks = format!("{}/jwks", issuer.url);
        // With its keys set, `auto` means tokens.
        let mode = if kind == Kind::Direct { "auto" } else { "jwt" };
        let env = [
            ("MCP_AUTH_MODE", mode),
            ("MCP_AUTH_JWKS_URL", jwks.as_str()),
            ("MCP_AUTH_ISSUER", issuer.url.as_str()),
            ("MCP_AUTH_AUDIENCE", RESOURCE),
            ("MCP_AUTH_RESOURCE", RESOURCE),
        ];
        let env = [&env, more].concat();
        let deployment = Deployment::start(kind, &env).await;
        Self { deployment, issuer }
    }

    /// A client that sends this token.
    fn with(&self, token: &str) -> Client {
        let mut client = Client::new(&self.deployment.address, Era::Modern);
        let bearer = format!("Bearer {token}");
        client.headers.push(("authorization".to_owned(), bearer));
        client
    }

    /// A client with a token of this caller and these scopes.
    async fn client(&self, caller: &str, scope: &str) -> Client {
        self.with(&self.issuer.token(caller, scope).await)
    }

    async fn get(&self, path: &str) -> Answer {
        exchange(&self.deployment.address, "GET", path, &[], b"").await
    }

    async fn metric(&self, line: &str) -> f64 {
        let text = self.get("/metrics").await.text();
        let value = text.lines().find_map(|of| of.strip_prefix(line));
        value.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    async fn stop(self) {
        self.deployment.stop().await;
    }
}

/// A `ping` of a client: nothing but the question who it is.
async fn ping(client: &Client) -> Answer {
    let client = Client {
        era: Era::Legacy,
        ..client.clone()
    };
    client.send("ping", json!({})).await
}

fn challenge(answer: &Answer) -> &str {
    answer.headers.get("www-authenticate").map_or("", |of| of)
}

/// The value of a parameter of a challenge.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let rest = challenge.split_once(&format!("{name}=\""))?.1;
    rest.split('"').next()
}

/// From nothing but the endpoint's address to a call, as RFC 9728 has it.
async fn discovery(kind: Kind) {
    let guarded = Guarded::start(kind, &[]).await;
    let stranger = Client::new(&guarded.deployment.address, Era::Modern);
    let refused = stranger.send("tools/list", json!({})).await;
    assert_eq!(refused.status, 401);
    let url = parameter(challenge(&refused), "resource_metadata").unwrap();
    let scope = parameter(challenge(&refused), "scope").unwrap();
    assert_eq!(parameter(challenge(&refused), "error"), None);
    // The name in it is the public one; here it leads to the same endpoint.
    let path = url.strip_prefix("https://tools.example").unwrap();
    let metadata = guarded.get(path).await.json();
    assert_eq!(metadata["resource"], RESOURCE);
    let issuer = metadata["authorization_servers"][0].as_str().unwrap();
    assert_eq!(issuer, guarded.issuer.url);
    let token_endpoint = guarded.issuer.token_endpoint(issuer).await;
    let resource = metadata["resource"].as_str().unwrap();
    let token = guarded
        .issuer
        .ask(&token_endpoint, "alice", scope, resource)
        .await;
    let client = guarded.with(&token);
    let names = client.names().await;
    assert!(names.contains(&"run_js_ephemeral".to_owned()), "{names:?}");
    let ran = client
        .ok("run_js_ephemeral", json!({"code": "return 6 * 7"}))
        .await;
    assert_eq!(ran["result"], 42);

    let other = guarded.client("alice", ALL).await;
    crate::faults::make(&other, "shared.tool", "return 'ran'").await;
    let called = client.ok("shared.tool", json!({})).await;
    assert_eq!(called["result"], "ran");
    let config = json!({"name": "system.health", "arguments": {}});
    assert_eq!(stranger.send("tools/call", config).await.status, 401);
    guarded.stop().await;
}

#[tokio::test]
async fn from_the_address_to_a_call_standalone() {
    discovery(Kind::Direct).await;
}

#[tokio::test]
async fn from_the_address_to_a_call_three_processes() {
    discovery(Kind::Three).await;
}

#[tokio::test]
async fn only_good_tokens_of_the_issuer_for_this_endpoint_are_accepted() {
    let guarded = Guarded::start(Kind::Three, &[]).await;
    let issuer = &guarded.issuer;
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let token = issuer.token(&format!("alice.{algorithm}"), ALL).await;
        assert_eq!(ping(&guarded.with(&token)).await.status, 200, "{algorithm}");
    }
    let own = format!("{}/token", issuer.url);
    let foreign = format!("{}/other/token", issuer.url);
    let elsewhere = "https://other.example/mcp";
    let good = issuer.token("alice", ALL).await;
    let unsigned = unsigned(&good);
    for (token, why) in [
        (
            issuer.ask(&own, "alice", ALL, elsewhere).await,
            "another audience",
        ),
        (
            issuer.ask(&foreign, "alice", ALL, RESOURCE).await,
            "another issuer",
        ),
        (issuer.token("alice.expired", ALL).await, "has expired"),
        (
            issuer.token("alice.endless", ALL).await,
            "lacks iss, aud, exp or sub",
        ),
        (
            issuer.token("alice.nobody", ALL).await,
            "lacks iss, aud, exp or sub",
        ),
        (issuer.token("alice.textual", ALL).await, "of a wrong type"),
        (issuer.token("alice.early", ALL).await, "not valid yet"),
        (unsigned, "algorithm of the token is not accepted"),
        (
            good[..good.len() - 2].to_owned(),
            "signature of the token is wrong",
        ),
        ("nonsense".to_owned(), "not a signed JWT"),
    ] {
        let refused = ping(&guarded.with(&token)).await;
        assert_eq!(refused.status, 401, "{why}");
        let challenge = challenge(&refused);
        assert_eq!(parameter(challenge, "error"), Some("invalid_token"));
        let said = parameter(challenge, "error_description").unwrap();
        assert!(said.contains(why), "{said}: {why}");
    }
    let log = guarded.deployment.front.log().join("\n");
    let signature = good.rsplit('.').next().unwrap();
    assert!(!log.contains(signature), "a token is in the log");
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        assert_eq!(guarded.get(path).await.status, 200, "{path}");
    }
    let health = guarded.get("/health").await.json();
    assert_eq!(health["checks"]["jwks"]["keys"], 4, "{health}");
    guarded.stop().await;
}

/// The same claims, with a header that says that there is no signature.
fn unsigned(token: &str) -> String {
    use base64::Engine as _;
    let header = json!({"alg": "none"}).to_string();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
    let claims = token.split('.').nth(1).unwrap();
    format!("{header}.{claims}.")
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let claim = [("MCP_AUTH_TENANT_CLAIM", "tenant")];
    let guarded = Guarded::start(Kind::Three, &claim).await;
    let bob = guarded.client("acme-bob", ALL).await;
    let carol = guarded.client("globex-carol", ALL).await;
    for (client, whose) in [(&bob, "acme"), (&carol, "globex")] {
        let code = format!("return '{whose}'");
        crate::faults::make(client, "our.tool", &code).await;
        let only = format!("{whose}.tool");
        crate::faults::make(client, &only, &code).await;
    }
    for (client, own, foreign) in [(&bob, "acme", "globex"), (&carol, "globex", "acme")] {
        assert_eq!(client.ok("our.tool", json!({})).await["result"], own);
        let names = client.names().await;
        assert!(names.contains(&format!("{own}.tool")), "{names:?}");
        let foreign = format!("{foreign}.tool");
        assert!(!names.contains(&foreign), "{names:?}");
        let call = json!({"name": foreign, "arguments": {}});
        let refused = client.response("tools/call", call).await;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
        let got = client
            .refusal("dynamic.tool.get", json!({"name": foreign}))
            .await;
        assert_eq!(got, "not_found");
        let gone = client
            .refusal("dynamic.tool.delete", json!({"name": foreign}))
            .await;
        assert_eq!(gone, "not_found");
    }
    bob.ok("dynamic.tool.delete", json!({"name": "our.tool"}))
        .await;
    assert_eq!(carol.ok("our.tool", json!({})).await["result"], "globex");
    // A token without the claim is of nobody.
    let nobody = guarded.client("alice", ALL).await;
    let refused = ping(&nobody).await;
    assert_eq!(refused.status, 401);
    assert!(challenge(&refused).contains("names no tenant"));
    guarded.stop().await;
}

#[tokio::test]
async fn the_configuration_that_clients_see_says_how_callers_are_known() {
    let more = [
        ("MCP_PROFILE", "enterprise"),
        ("MCP_REQUIRE_ADMIN_TOKEN", "false"),
        ("MCP_AUTH_REQUIRED_SCOPES", "mcp:invoke"),
    ];
    let guarded = Guarded::start(Kind::Direct, &more).await;
    let client = guarded.client("alice", ALL).await;
    let config: Value = client.ok("system.runtime_config", json!({})).await;
    assert_eq!(config["auth"]["mode"], "jwt");
    assert_eq!(config["auth"]["jwtConfigured"], true);
    assert_eq!(config["auth"]["requiredScopes"], json!(["mcp:invoke"]));
    guarded.stop().await;
}
