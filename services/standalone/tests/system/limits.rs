//! Limits as callers of real processes meet them: one's burst leaves the other alone, a flood of names
//! stays small, and guesses come to an end.

mod floods;

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::http::Answer;
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};
use testkit::mcp::{Client, Era};

use crate::deployment::{Deployment, Kind};

const ALL: &str = "mcp:invoke mcp:tools:read mcp:tools:write";

/// A deployment that takes the tokens of an issuer.
struct Limited {
    deployment: Deployment,
    issuer: Issuer,
}

impl Limited {
    async fn start(kind: Kind, more: &[(&str, &str)]) -> Self {
        let issuer = Issuer::default();
        let key = issuer.public_pem();
        let env = [
            ("MCP_AUTH_MODE", "jwt"),
            ("MCP_AUTH_PUBLIC_KEY", &*key),
            ("MCP_AUTH_ISSUER", ISSUER),
            ("MCP_AUTH_AUDIENCE", AUDIENCE),
            ("MCP_AUTH_TENANT_CLAIM", "org"),
        ];
        let deployment = Deployment::start(kind, &[&env, more].concat()).await;
        Self { deployment, issuer }
    }

    fn with(&self, bearer: &str) -> Client {
        let mut client = Client::new(&self.deployment.address, Era::Modern);
        let bearer = format!("Bearer {bearer}");
        client.headers.push(("authorization".to_owned(), bearer));
        client
    }

    fn client(&self, tenant: &str, subject: &str) -> Client {
        let token = self.issuer.token(subject, ALL, &json!({"org": tenant}));
        self.with(&token)
    }
}

async fn health_call(client: &Client) -> Answer {
    let call = json!({"name": "system.health", "arguments": {}});
    client.send("tools/call", call).await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|one| one.status == status).count()
}

async fn one_callers_burst_leaves_the_other_alone(kind: Kind) {
    let limited = Limited::start(kind, &[("MCP_RATE_LIMIT_PER_API_KEY", "10/1h")]).await;
    let (alice, bob) = (limited.client("a", "alice"), limited.client("a", "bob"));
    let burst = join_all((0..60).map(|_| health_call(&alice)));
    let others = async {
        let mut answers = Vec::new();
        for _ in 0..10 {
            answers.push(health_call(&bob).await);
        }
        answers
    };
    let (burst, others) = tokio::join!(burst, others);
    assert_eq!((count(&burst, 200), count(&burst, 429)), (10, 50));
    assert_eq!(count(&others, 200), 10);
    for refused in burst.iter().filter(|one| one.status == 429) {
        let seconds: u64 = refused.headers["retry-after"].parse().unwrap();
        let body = refused.json();
        let data = &body["error"]["data"];
        assert_eq!(data["code"], "rate_limited", "{body}");
        let millis = data["retryAfterMs"].as_u64().unwrap();
        assert!(
            seconds == millis.div_ceil(1_000) && millis <= 3_720_000,
            "{body}"
        );
    }
    assert_eq!(health_call(&bob).await.status, 429, "it has had its ten");
    limited.deployment.stop().await;
}

#[tokio::test]
async fn bursts_direct() {
    one_callers_burst_leaves_the_other_alone(Kind::Direct).await;
}

#[tokio::test]
async fn bursts_three_processes() {
    one_callers_burst_leaves_the_other_alone(Kind::Three).await;
}

#[tokio::test]
async fn guesses_come_to_an_end_and_a_good_token_waits_with_them() {
    let limited = Limited::start(Kind::Direct, &[]).await;
    let good = limited.client("a", "alice");
    assert_eq!(health_call(&good).await.status, 200);
    for n in 0..20 {
        let guess = limited.with(&format!("no.token.{n}"));
        assert_eq!(health_call(&guess).await.status, 401);
    }
    for client in [&good, &limited.with("no.token.more")] {
        let refused = health_call(client).await;
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert!(refused.headers.contains_key("retry-after"));
        assert!(!refused.headers.contains_key("www-authenticate"));
    }
    for page in ["/livez", "/readyz", "/health", "/metrics"] {
        assert_eq!(limited.deployment.get(page).await.0, 200, "{page}");
    }
    limited.deployment.stop().await;
}

#[tokio::test]
async fn wrong_admin_tokens_as_arguments_come_to_an_end_too() {
    let admin = "an-admin-token-of-more-than-thirty-two-characters";
    let env = [("MCP_ADMIN_TOKEN", admin)];
    let limited = Limited::start(Kind::Direct, &env).await;
    let (mallory, alice) = (limited.client("a", "mallory"), limited.client("a", "alice"));
    let list = |token: &str| json!({"adminToken": token});
    for n in 0..20 {
        let guess = list(&format!("guess-{n}"));
        let code = mallory.refusal("dynamic.tool.list", guess).await;
        assert_eq!(code, "permission_denied");
    }
    let result = mallory.call("dynamic.tool.list", list(admin)).await;
    let refused = &result["structuredContent"];
    assert_eq!(refused["code"], "rate_limited", "{result}");
    assert!(
        refused["retryAfterMs"].as_u64().unwrap() <= 62_000,
        "{result}"
    );
    alice.ok("dynamic.tool.list", list(admin)).await;
    limited.deployment.stop().await;
}

#[tokio::test]
async fn a_tenants_calls_are_limited_as_results_and_other_tenants_go_on() {
    let env = [
        ("MCP_RATE_LIMIT_PER_TENANT", "acme=4/1h"),
        ("MCP_RATE_LIMIT_PER_TOOL", "two.an.hour=2/1h"),
    ];
    let limited = Limited::start(Kind::Direct, &env).await;
    let (acme, other) = (limited.client("acme", "a"), limited.client("other", "b"));
    for client in [&acme, &other] {
        crate::faults::make(client, "two.an.hour", "return 1").await;
    }
    for _ in 0..2 {
        acme.ok("two.an.hour", json!({})).await;
        other.ok("two.an.hour", json!({})).await;
    }
    let told = |result: &Value| {
        let refused = &result["structuredContent"];
        assert_eq!(result["isError"], true, "{result}");
        assert_eq!(refused["code"], "rate_limited", "{result}");
        assert!(
            refused["retryAfterMs"].as_u64().unwrap() > 3_500_000,
            "{result}"
        );
        refused["error"].as_str().unwrap().to_owned()
    };
    let of_tool = told(&other.call("two.an.hour", json!({})).await);
    assert!(
        of_tool.contains("dynamic.exec.two.an.hour: max 2 calls"),
        "{of_tool}"
    );
    // One call to make it, two of it: one is left.
    acme.ok("run_js_ephemeral", json!({"code": "return 1"}))
        .await;
    let of_tenant = told(
        &acme
            .call("run_js_ephemeral", json!({"code": "return 1"}))
            .await,
    );
    assert!(
        of_tenant.contains("this tenant: max 4 calls"),
        "{of_tenant}"
    );
    for _ in 0..5 {
        other
            .ok("run_js_ephemeral", json!({"code": "return 1"}))
            .await;
    }
    let (_, health) = limited.deployment.get("/health").await;
    let health: Value = serde_json::from_str(&health).unwrap();
    let limits = &health["checks"]["limits"];
    assert_eq!(limits["sharedStore"], false, "{health}");
    assert_eq!(limits["scope"], "gateway", "{health}");
    limited.deployment.stop().await;
}
