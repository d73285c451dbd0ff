//! A client that goes away takes its sandbox with it.

use std::time::Duration;

use serde_json::json;
use testkit::mcp::Era;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{ENDLESS, SOON, make};
use crate::deployment::{Deployment, Kind};
use crate::processes::{assert_gone, busy};

/// The process that has the sandboxes below it.
fn sandboxes_of(deployment: &Deployment) -> u32 {
    let inner = deployment.inner.as_ref();
    inner.map_or_else(|| deployment.front.id(), |inner| inner.executor.id())
}

/// Waits for the line that says how the call of `tool` ended.
async fn assert_logged_as_cancelled(deployment: &Deployment, tool: &str) {
    let end = Instant::now() + SOON;
    loop {
        let log = deployment.front.log();
        let call = format!("\"tool\":\"{tool}\"");
        let line = log.iter().find(|line| line.contains(&call));
        if let Some(line) = line {
            assert!(line.contains("\"outcome\":\"cancelled\""), "{line}");
            return;
        }
        assert!(Instant::now() < end, "{}", log.join("\n"));
        sleep(Duration::from_millis(10)).await;
    }
}

/// Leaves before the answer has begun, and once its event stream is open (after a second).
async fn a_client_leaves(kind: Kind) {
    let deployment = Deployment::start(kind, &[("MCP_PROFILE", "enterprise")]).await;
    for (era, name) in [(Era::Modern, "modern"), (Era::Legacy, "legacy")] {
        for (stage, wait) in [("before", 0), ("streaming", 1_200)] {
            let tool = format!("left.{name}.{stage}");
            let client = deployment.client(era);
            make(&client, &tool, ENDLESS).await;
            let mut calls = JoinSet::new();
            let call = json!({"name": tool, "arguments": {}});
            calls.spawn(async move { client.send("tools/call", call).await });
            let sandbox = busy(sandboxes_of(&deployment)).await;
            sleep(Duration::from_millis(wait)).await;
            calls.shutdown().await;
            assert_gone(&[sandbox], SOON).await;
            assert_logged_as_cancelled(&deployment, &tool).await;
            let client = deployment.client(era);
            let guard = client.ok("system.guard_metrics", json!({})).await;
            assert_eq!(guard["activeExecutions"], 0, "{guard}");
        }
    }
    deployment.stop().await;
}

#[tokio::test]
async fn fault_19_a_client_leaves_direct() {
    a_client_leaves(Kind::Direct).await;
}

#[tokio::test]
async fn fault_19_a_client_leaves_three_processes() {
    a_client_leaves(Kind::Three).await;
}
