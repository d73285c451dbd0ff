//! A flood of names: what is kept of them is bounded, in the metrics and in memory.

use futures::future::join_all;
use serde_json::json;
use testkit::http::exchange;
use testkit::mcp::{Client, Era};

use super::{Limited, health_call};
use crate::deployment::Kind;
use crate::production::soak;

/// Growth of memory that a flood may leave.
const SPARE_KIB: u64 = 20 << 10;
/// Requests at once.
const AT_ONCE: usize = 50;

impl Limited {
    /// The names and labels of all series.
    async fn series(&self) -> Vec<String> {
        let (_, text) = self.deployment.get("/metrics").await;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
            .collect()
    }

    /// One request of each kind with a name of its own: of a caller, a tool, a path, and the handshake
    /// of the older versions.
    async fn strangers(&self, from: usize, to: usize) {
        for first in (from..to).step_by(AT_ONCE) {
            let numbers = first..(first + AT_ONCE).min(to);
            join_all(numbers.map(|number| async move {
                let client =
                    self.client(&format!("t{}", number % 100), &format!("caller-{number}"));
                let called = health_call(&client).await;
                assert_eq!(called.status, 200, "{}", called.text());
                let call = json!({"name": format!("no.such.{number}"), "arguments": {}});
                let unknown = client.send("tools/call", call).await;
                assert_eq!(unknown.json()["error"]["code"], -32602);
                let old = Client {
                    era: Era::Legacy,
                    ..client.clone()
                };
                let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {},
                    "clientInfo": {"name": format!("client-{number}"), "version": "1"}});
                let greeted = old.send("initialize", hello).await;
                assert_eq!(greeted.status, 200, "{}", greeted.text());
                assert!(!greeted.headers.contains_key("mcp-session-id"));
                let path = format!("/no/such/{number}");
                let address = &self.deployment.address;
                let missing = exchange(address, "GET", &path, &[], b"").await;
                assert_eq!(missing.status, 404);
            }))
            .await;
        }
    }
}

/// Rows 88 and 89 of the threats: 100,000 names with `MCP_TEST_SOAK=1`, else 2,000.
#[tokio::test]
async fn names_without_end_leave_neither_series_nor_memory() {
    let env = [
        // Callers beyond those that are told apart within a minute share one count, which must not end
        // the flood on a fast machine.
        ("MCP_RATE_LIMIT_PER_API_KEY", "1000000/1m"),
        ("MCP_RATE_LIMIT_PER_ADDRESS", "1000000000/1m"),
    ];
    let limited = Limited::start(Kind::Direct, &env).await;
    let count = if soak() { 100_000 } else { 2_000 };
    let warm = count / 10;
    limited.strangers(0, warm).await;
    let (series, memory) = (
        limited.series().await,
        limited.deployment.front.resident_kib(),
    );
    limited.strangers(warm, count).await;
    let after = limited.series().await;
    let new: Vec<&String> = after.iter().filter(|one| !series.contains(one)).collect();
    // Buckets of rare latencies may show up late; none may hold a name.
    assert!(
        new.iter().all(|one| !["no.such", "caller-", "client-"]
            .iter()
            .any(|name| one.contains(name))),
        "{new:?}"
    );
    // What the store does on its own, such as looking for changes, shows up when it first does it; its
    // labels are the statements of a closed list.
    let of_the_flood = new
        .iter()
        .filter(|one| !one.starts_with("mcp_registry_query_duration_seconds"));
    assert!(of_the_flood.count() < 50, "{new:?}");
    let grown = limited
        .deployment
        .front
        .resident_kib()
        .saturating_sub(memory);
    assert!(grown < SPARE_KIB, "{grown} KiB for {count} names");
    let known = after
        .iter()
        .filter(|one| one.starts_with("mcp_limit_tracked"));
    assert_eq!(known.count(), 6);
    limited.deployment.stop().await;
}
