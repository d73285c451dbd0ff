//! Keys that change, floods of unknown ones, and an issuer that is gone.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;

#[tokio::test]
async fn new_keys_are_taken_without_a_restart() {
    let guarded = Guarded::start(Kind::Three, &[]).await;
    let old = guarded.client("alice", ALL).await;
    assert_eq!(ping(&old).await.status, 200);
    assert_eq!(guarded.issuer.fetches().await, 1);
    guarded.issuer.rotate().await;
    assert_eq!(ping(&old).await.status, 200, "not known to be gone yet");
    let new = guarded.client("alice.ES256", ALL).await;
    assert_eq!(ping(&new).await.status, 200);
    assert_eq!(guarded.issuer.fetches().await, 2);
    let refused = ping(&old).await;
    assert_eq!(refused.status, 401);
    assert!(challenge(&refused).contains("a key that the issuer does not have"));
    guarded.stop().await;
}

/// The token with another name of its key: the signature is of no matter then.
fn renamed(token: &str, kid: &str) -> String {
    let header = json!({"alg": "RS256", "typ": "at+jwt", "kid": kid}).to_string();
    let rest = token.split_once('.').unwrap().1;
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
}

/// A thousand tokens with unknown keys, at most 16 at once, while a good caller goes on. Returns
/// the slowest of its answers.
async fn flood(guarded: &Guarded, token: &str) -> Duration {
    let good = guarded.with(token);
    let mut senders = JoinSet::new();
    for sender in 0..16 {
        let tokens: Vec<Client> = (sender..1_000)
            .step_by(16)
            .map(|number| guarded.with(&renamed(token, &format!("unknown-{number}"))))
            .collect();
        senders.spawn(async move {
            for client in &tokens {
                assert_eq!(ping(client).await.status, 401);
            }
            tokens.len()
        });
    }
    let mut slowest = Duration::ZERO;
    let mut sent = 0;
    loop {
        let asked = Instant::now();
        assert_eq!(ping(&good).await.status, 200);
        slowest = slowest.max(asked.elapsed());
        while let Some(done) = senders.try_join_next() {
            sent += done.unwrap();
        }
        if senders.is_empty() {
            assert_eq!(sent, 1_000);
            return slowest;
        }
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn alone_a_flood_of_unknown_keys_is_one_fetch_and_a_dead_issuer_is_no_outage() {
    // The limit on wrong credentials would end the flood before the keys are asked for.
    let endless = ("MCP_AUTH_MAX_FAILURES_PER_MINUTE", "0");
    let mut guarded = Guarded::start(Kind::Direct, &[endless]).await;
    let token = guarded.issuer.token("alice", ALL).await;
    let another = guarded.issuer.token("alice.EdDSA", ALL).await;
    assert_eq!(ping(&guarded.with(&token)).await.status, 200);
    let before = guarded.issuer.fetches().await;
    let slowest = flood(&guarded, &token).await;
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(guarded.issuer.fetches().await, before + 1);

    guarded.issuer.kill().await;
    let slowest = flood(&guarded, &token).await;
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let fetches = "mcp_jwks_fetches_total{outcome=\"unreachable\"}";
    assert!(guarded.metric(fetches).await <= 1.0);
    // One that was never seen is verified with the keys that are known.
    let other = guarded.with(&another);
    assert_eq!(ping(&other).await.status, 200);
    other
        .ok("run_js_ephemeral", json!({"code": "return 1"}))
        .await;
    assert_eq!(guarded.get("/readyz").await.status, 200);
    guarded.stop().await;
}

#[tokio::test]
async fn an_issuer_that_is_away_at_the_start_is_said_by_readyz() {
    let issuer = Issuer::start().await;
    let jwks = format!("{}/nothing", issuer.url);
    let env = [
        ("MCP_PORT", "0"),
        ("MCP_AUTH_MODE", "jwt"),
        ("MCP_AUTH_JWKS_URL", jwks.as_str()),
        ("MCP_AUTH_ISSUER", issuer.url.as_str()),
        ("MCP_AUTH_AUDIENCE", RESOURCE),
        ("MCP_EXECUTION_ENGINE", "isolate"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let binary = crate::deployment::binary("dynamic-mcp");
    let mut program = testkit::process::Program::start(&binary, folder.path(), &[], &env);
    let address = program
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    program
        .field_of_line("keys of the token issuer could not be fetched", "level")
        .await;
    let ready = exchange(&address, "GET", "/readyz", &[], b"").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["failing"], json!(["jwks"]));
    let live = exchange(&address, "GET", "/livez", &[], b"").await;
    assert_eq!(live.status, 200);
    let mut client = Client::new(&address, Era::Modern);
    let bearer = format!("Bearer {}", issuer.token("alice", ALL).await);
    client.headers.push(("authorization".to_owned(), bearer));
    let refused = ping(&client).await;
    assert_eq!(refused.status, 401);
    assert!(challenge(&refused).contains("cannot be checked now"));
    program.stop().await;
}
