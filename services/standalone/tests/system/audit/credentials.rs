//! Who came with which credential, and who was turned away.

use serde_json::{Value, json};
use testkit::audit::records;
use testkit::issuer::{AUDIENCE, ISSUER, Issuer};
use testkit::mcp::Era;

use super::{ON, log_in};
use crate::deployment::{Deployment, Kind};

/// A subject that tries to be more than one member, and to turn the line around.
const JANE: &str = "jane\",\"forged\":\"\u{202e}1";

#[tokio::test]
async fn every_decision_about_a_credential_is_recorded() {
    let issuer = Issuer::default();
    let key = issuer.public_pem();
    let admin = "an-admin-token-of-more-than-thirty-two-characters";
    let env = [
        ON,
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_PUBLIC_KEY", &*key),
        ("MCP_AUTH_ISSUER", ISSUER),
        ("MCP_AUTH_AUDIENCE", AUDIENCE),
        ("MCP_AUTH_REQUIRED_SCOPES", "mcp:invoke"),
        ("MCP_AUTH_TENANT_CLAIM", "org"),
        ("MCP_ADMIN_TOKEN", admin),
    ];
    let deployment = Deployment::start(Kind::Direct, &env).await;
    let good = issuer.token(
        JANE,
        "mcp:invoke",
        &json!({"org": "acme", "client_id": "editor"}),
    );
    let poor = issuer.token("joe", "mcp:tools:read", &json!({"org": "acme"}));
    let expired = issuer.token("joe", "mcp:invoke", &json!({"exp": 1_000_000}));
    let client = deployment.client(Era::Modern);
    let shown: &[(&[(&str, &str)], u16)] = &[
        (&[], 401),
        (&[("authorization", "Bearer no.token.atall")], 401),
        (&[("authorization", &format!("Bearer {expired}"))], 401),
        (&[("authorization", &format!("Bearer {poor}"))], 403),
        (&[("authorization", &format!("Bearer {good}"))], 200),
        (
            &[
                ("authorization", &format!("Bearer {good}")),
                ("x-mcp-admin-token", "canary-wrong-guess"),
            ],
            401,
        ),
        (
            &[
                ("authorization", &format!("Bearer {good}")),
                ("x-mcp-admin-token", admin),
            ],
            200,
        ),
    ];
    for (number, (headers, status)) in shown.iter().enumerate() {
        let mut client = client.clone();
        client.headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let id = ("x-request-id".to_owned(), format!("r{number}"));
        client.headers.push(id);
        let call = json!({"name": "system.health", "arguments": {}});
        let answer = client.send("tools/call", call).await;
        assert_eq!(answer.status, *status, "{headers:?}: {}", answer.text());
    }
    // Nobody is asked for these.
    deployment.get("/livez").await;
    deployment.get("/metrics").await;
    let folder = deployment.stop_keeping().await;
    let path = log_in(folder.path());
    let text = std::fs::read_to_string(&path).unwrap();
    for secret in [
        good.as_str(),
        &poor,
        &expired,
        "no.token.atall",
        "canary",
        admin,
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(!text.contains('\u{202e}'));
    let decisions: Vec<Value> = records(&path)
        .into_iter()
        .filter(|record| record["action"] == "http.auth")
        .collect();
    let told: Vec<Value> = decisions
        .iter()
        .map(|record| {
            assert_eq!(record["source"], "127.0.0.1");
            json!([
                record["requestId"],
                record["result"],
                record["code"],
                record["details"]["method"],
                record["actor"]["subject"],
            ])
        })
        .collect();
    let (jane, nobody) = (JANE, "unauthenticated");
    assert_eq!(
        told,
        [
            json!(["r0", "denied", "unauthenticated", "jwt", nobody]),
            json!(["r1", "denied", "unauthenticated", "jwt", nobody]),
            json!(["r2", "denied", "unauthenticated", "jwt", nobody]),
            json!(["r3", "denied", "permission_denied", "jwt", "joe"]),
            json!(["r4", "success", null, "jwt", jane]),
            json!(["r5", "denied", "unauthenticated", "admin_token", jane]),
            json!(["r6", "success", null, "admin_token", jane]),
        ]
    );
    assert_eq!(decisions[2]["details"]["reason"], "expired");
    assert_eq!(decisions[3]["details"]["reason"], "insufficient_scope");
    let actor = json!({"subject": jane, "clientId": "editor", "tenant": "acme"});
    assert_eq!(decisions[4]["actor"], actor);
    assert_eq!(decisions[4]["details"]["scopes"], json!(["mcp:invoke"]));
    assert_eq!(decisions[0]["actor"], json!({ "subject": nobody }));
}
