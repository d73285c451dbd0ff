//! Two registries and two gateways over one database, which loses its connections, its listeners and
//! itself while tools are made on both sides.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::{Client, Era};
use testkit::postgres::Stop;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::soak;
use crate::deployment::{Deployment, Kind};

/// Longest time until both gateways list the same again.
const CONVERGED_WITHIN: Duration = Duration::from_secs(10);

fn create(name: &str) -> Value {
    json!({"tool": {"name": name, "description": "Of a test.", "code": "return 'made'"}})
}

/// Makes tools until it is told to stop. What was acknowledged, in order.
async fn write(client: Client, writer: usize, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for at in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("writer{writer}.tool{at}");
        let result = client.call("dynamic.tool.create", create(&name)).await;
        if result["isError"] == json!(true) {
            let code = &result["structuredContent"]["code"];
            assert_eq!(code, "unavailable", "{result}");
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        // Read-your-writes: on the gateway that answered it is there at once.
        let own = client.call(&name, json!({})).await;
        let served = own["structuredContent"]["code"] != "not_found";
        assert!(served, "{name}: {own}");
        acknowledged.push(name);
    }
    acknowledged
}

async fn names(client: &Client) -> BTreeSet<String> {
    client.names().await.into_iter().collect()
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_and_all_gateways_converge() {
    let env = [
        ("MCP_DYNAMIC_MAX_TOOLS", "100000"),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
        ("MCP_TOOL_MAX_CONCURRENCY", "1000"),
        // What is called here is answered without Docker: the database is the subject.
        ("MCP_EXECUTION_ENGINE", "isolate"),
    ];
    let mut deployment = Deployment::start(Kind::Production, &env).await;
    let second = deployment.second_side().await;
    let here = deployment.client(Era::Modern);
    let there = Client {
        address: second.address.clone(),
        ..deployment.client(Era::Legacy)
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let client = if writer % 2 == 0 { &here } else { &there };
        writers.spawn(write(client.clone(), writer, Arc::clone(&stop)));
    }
    let rounds = if soak() { 20 } else { 1 };
    for _ in 0..rounds {
        sleep(Duration::from_millis(300)).await;
        let listeners = deployment.postgres().terminate("%listener").await;
        assert!(listeners >= 1, "no registry listens");
        sleep(Duration::from_millis(300)).await;
        deployment.postgres().terminate("dynamic-mcp%").await;
        sleep(Duration::from_millis(300)).await;
        for way in [Stop::Fast, Stop::Immediate] {
            deployment.postgres().restart(way).await;
            sleep(Duration::from_millis(700)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged: Vec<Vec<String>> = writers.join_all().await;
    assert!(
        acknowledged.iter().all(|made| made.len() > 3),
        "every writer gets on: {:?}",
        acknowledged.iter().map(Vec::len).collect::<Vec<_>>()
    );
    let acknowledged: BTreeSet<String> = acknowledged.into_iter().flatten().collect();
    let end = Instant::now() + CONVERGED_WITHIN;
    loop {
        let (left, right) = (names(&here).await, names(&there).await);
        let lost: Vec<_> = acknowledged.difference(&left).collect();
        if left == right && lost.is_empty() {
            break;
        }
        let differ: Vec<_> = left.symmetric_difference(&right).collect();
        assert!(Instant::now() < end, "lost {lost:?}; differ in {differ:?}");
        sleep(Duration::from_millis(20)).await;
    }
    // And in the database itself.
    let count = deployment
        .postgres()
        .sql(
            "postgres",
            "SELECT count(*) FROM dynamic_mcp.mcp_tools WHERE name LIKE 'writer%'",
        )
        .await;
    let count: usize = count.parse().unwrap();
    assert!(
        count >= acknowledged.len(),
        "{count} of {}",
        acknowledged.len()
    );
    second.stop().await;
    deployment.stop().await;
}
