//! Parts that die, clients that go, stops while something runs.

mod clients;
mod executor;
mod hung;
mod names;
mod registry;
mod stdio;
mod stops;

use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::Client;
use tokio::time::{Instant, sleep};

/// How long a sandbox may live on when nobody waits for it any more.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// Code that computes until it is killed.
pub(crate) const ENDLESS: &str = "for (;;) {}";

pub(crate) async fn make(client: &Client, name: &str, code: &str) {
    let tool = json!({"name": name, "description": "Of a test.", "code": code});
    client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
}

/// Calls again and again until it works, at most so long.
pub(crate) async fn works_within(
    client: &Client,
    tool: &str,
    arguments: Value,
    limit: Duration,
) -> Value {
    let end = Instant::now() + limit;
    loop {
        let result = client.call(tool, arguments.clone()).await;
        if result["isError"] != json!(true) {
            return result["structuredContent"].clone();
        }
        assert!(Instant::now() < end, "{tool} not after {limit:?}: {result}");
        sleep(Duration::from_millis(50)).await;
    }
}
