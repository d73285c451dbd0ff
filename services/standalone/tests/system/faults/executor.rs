//! The executor dies and comes back; the gateway dies while the executor works for it.

use std::time::Duration;

use serde_json::json;
use testkit::mcp::Era;
use tokio::time::{Instant, timeout};

use super::{ENDLESS, SOON, make, works_within};
use crate::deployment::{Deployment, Kind};
use crate::processes::{assert_gone, below, busy};

#[tokio::test]
async fn fault_24_a_call_on_an_executor_that_dies_ends_as_unavailable() {
    let mut deployment = Deployment::start(Kind::Three, &[]).await;
    let client = deployment.client(Era::Modern);
    make(&client, "endless.tool", ENDLESS).await;
    make(&client, "short.tool", "return 'here'").await;
    let executor = deployment.inner.as_ref().unwrap().executor.id();
    let running = {
        let client = client.clone();
        async move {
            let result = client.call("endless.tool", json!({})).await;
            (result, Instant::now())
        }
    };
    let killing = async {
        busy(executor).await;
        let sandboxes = below(executor);
        let killed = Instant::now();
        deployment.kill_executor().await;
        assert_gone(&sandboxes, SOON).await;
        killed
    };
    let ((result, ended), killed) = tokio::join!(running, killing);
    assert!(ended - killed < SOON, "{:?}", ended - killed);
    let failure = &result["structuredContent"];
    assert_eq!(failure["code"], "unavailable", "{result}");
    assert_eq!(failure["mayHaveRun"], true, "{result}");

    let refused = timeout(Duration::from_secs(5), client.call("short.tool", json!({})));
    let refused = refused.await.unwrap();
    let failure = &refused["structuredContent"];
    assert_eq!(failure["code"], "unavailable", "{refused}");
    assert_eq!(failure["mayHaveRun"], false, "{refused}");
    let (status, body) = deployment.get("/readyz").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("executors"), "{body}");

    deployment.restart_executor();
    let limit = Duration::from_secs(8);
    let answer = works_within(&client, "short.tool", json!({}), limit).await;
    assert_eq!(answer["result"], "here");
    deployment.wait_ready().await;
    deployment.stop().await;
}

#[tokio::test]
async fn fault_19_a_sandbox_ends_when_the_gateway_dies() {
    let mut deployment = Deployment::start(Kind::Three, &[]).await;
    let client = deployment.client(Era::Modern);
    make(&client, "endless.tool", ENDLESS).await;
    let executor = deployment.inner.as_ref().unwrap().executor.id();
    let call = json!({"name": "endless.tool", "arguments": {}});
    let mut calls = tokio::task::JoinSet::new();
    calls.spawn(async move { client.send("tools/call", call).await });
    let sandbox = busy(executor).await;
    deployment.front.signal("KILL").await;
    deployment.front.ended(SOON).await;
    assert_gone(&[sandbox], SOON).await;
    calls.abort_all();
    let inner = deployment.inner.take().unwrap();
    inner.executor.stop().await;
    inner.registry.stop().await;
}

/// Somebody on the machine kills the sandbox itself, as the kernel does when memory runs out.
#[tokio::test]
async fn a_sandbox_that_is_killed_fails_its_call_and_no_other() {
    let deployment = Deployment::start(Kind::Three, &[]).await;
    let client = deployment.client(Era::Modern);
    make(&client, "endless.tool", ENDLESS).await;
    make(&client, "short.tool", "return 'here'").await;
    let executor = deployment.inner.as_ref().unwrap().executor.id();
    let killing = async {
        let sandbox = busy(executor).await;
        let status = std::process::Command::new("kill")
            .args(["-KILL", &sandbox.id.to_string()])
            .status();
        assert!(status.unwrap().success());
        Instant::now()
    };
    let calling = async {
        let result = client.call("endless.tool", json!({})).await;
        (result, Instant::now())
    };
    let (killed, (result, ended)) = tokio::join!(killing, calling);
    assert!(ended - killed < SOON);
    assert_eq!(
        result["structuredContent"]["code"], "tool_failed",
        "{result}"
    );
    for _ in 0..5 {
        let answer = client.ok("short.tool", json!({})).await;
        assert_eq!(answer["result"], "here");
    }
    deployment.stop().await;
}
