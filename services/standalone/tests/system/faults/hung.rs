//! Parts that neither answer nor die: connections stay open and silent.

use std::time::Duration;

use serde_json::json;
use testkit::mcp::Era;
use tokio::time::{Instant, timeout};

use super::{make, works_within};
use crate::deployment::{Deployment, Kind};

/// Longest wait for a refusal.
const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_registry_that_hangs_is_unavailable_for_writes_only() {
    let deployment = Deployment::start(Kind::Three, &[]).await;
    let client = deployment.client(Era::Modern);
    make(&client, "kept.tool", "return 'here'").await;
    let registry = &deployment.inner.as_ref().unwrap().registry;
    registry.signal("STOP").await;

    let started = Instant::now();
    let tool = json!({"name": "made.never", "description": "d", "code": "return 1"});
    let create = client.call("dynamic.tool.create", json!({"tool": tool}));
    let refused = timeout(PATIENCE, create).await;
    let refused = refused.expect("a write has to give up");
    let text = refused["content"][0]["text"].as_str().unwrap();
    assert_eq!(refused["isError"], true, "{refused}");
    assert!(text.contains("registry"), "{text}");
    assert!(client.names().await.contains(&"kept.tool".to_owned()));
    let answer = client.ok("kept.tool", json!({})).await;
    assert_eq!(answer["result"], "here");
    assert!(started.elapsed() < PATIENCE);

    registry.signal("CONT").await;
    let arguments = json!({"name": "kept.tool", "patch": {"title": "Still here"}});
    works_within(&client, "dynamic.tool.update", arguments, PATIENCE).await;
    deployment.stop().await;
}

#[tokio::test]
async fn fault_32_an_executor_that_hangs_ends_no_later_than_the_call() {
    let deployment = Deployment::start(Kind::Three, &[]).await;
    let client = deployment.client(Era::Modern);
    let tool = json!({
        "name": "short.tool", "description": "d", "code": "return 'here'", "timeoutMs": 2_000
    });
    client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    client.ok("short.tool", json!({})).await;
    let executor = &deployment.inner.as_ref().unwrap().executor;
    executor.signal("STOP").await;
    let refused = timeout(PATIENCE, client.call("short.tool", json!({}))).await;
    let refused = refused.expect("a call has to give up");
    let code = refused["structuredContent"]["code"].as_str().unwrap();
    assert!(["timeout", "unavailable"].contains(&code), "{refused}");
    executor.signal("CONT").await;
    let answer = works_within(&client, "short.tool", json!({}), PATIENCE).await;
    assert_eq!(answer["result"], "here");
    deployment.stop().await;
}
