//! The registry dies and comes back.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::{Client, Era};
use testkit::process::Program;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{make, works_within};
use crate::deployment::{Deployment, Kind, binary};

/// Longest wait for a refusal, and for everything to work again.
const LIMIT: Duration = Duration::from_secs(5);
const ENV: &[(&str, &str)] = &[("MCP_PROFILE", "enterprise")];

/// The code of a call that has to be refused in time.
async fn refusal(client: &Client, tool: &str, arguments: Value) -> String {
    let refused = client.call(tool, arguments);
    let refused = timeout(LIMIT, refused)
        .await
        .unwrap_or_else(|_| panic!("{tool} hangs"));
    assert_eq!(refused["isError"], json!(true), "{tool}: {refused}");
    let text = refused["content"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("registry"), "{tool}: {refused}");
    let code = refused["structuredContent"]["code"].as_str();
    code.unwrap_or_else(|| panic!("{tool}: no code in {refused}"))
        .to_owned()
}

fn create(name: &str) -> Value {
    json!({"tool": {"name": name, "description": "Of a test.", "code": "return 'made'"}})
}

/// A gateway that knows two tools and has the code of one.
async fn with_warm_and_cold() -> Deployment {
    let deployment = Deployment::start(Kind::Three, ENV).await;
    let client = deployment.client(Era::Modern);
    make(&client, "kept.warm", "return 'warm'").await;
    make(&client, "kept.cold", "return 'cold'").await;
    let folder = deployment.stop_keeping().await;
    let deployment = Deployment::start_in(Kind::Three, folder, ENV).await;
    let client = deployment.client(Era::Modern);
    client.ok("kept.warm", json!({})).await;
    deployment
}

#[tokio::test]
async fn without_the_registry_lists_and_calls_go_on_and_writes_are_unavailable() {
    let mut deployment = with_warm_and_cold().await;
    let client = deployment.client(Era::Modern);
    let code = "await new Promise(done => setTimeout(done, 1500)); return 'survived'";
    let running = {
        let client = client.clone();
        async move { client.ok("run_js_ephemeral", json!({"code": code})).await }
    };
    let killing = async {
        sleep(Duration::from_millis(500)).await;
        deployment.kill_registry().await;
    };
    let (survived, ()) = tokio::join!(running, killing);
    assert_eq!(survived["result"], "survived");

    for era in [Era::Modern, Era::Legacy] {
        let client = deployment.client(era);
        let names = client.names().await;
        assert!(
            ["kept.cold", "kept.warm"]
                .iter()
                .all(|name| names.contains(&(*name).to_owned()))
        );
        assert_eq!(client.ok("kept.warm", json!({})).await["result"], "warm");
        assert_eq!(
            refusal(&client, "kept.cold", json!({})).await,
            "unavailable"
        );
        writes_are_refused(&client).await;
    }
    let (status, health) = deployment.get("/health").await;
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!(status, 503, "{health}");
    assert_eq!(
        health["checks"]["registry"]["status"], "unhealthy",
        "{health}"
    );
    let (status, ready) = deployment.get("/readyz").await;
    assert_eq!(status, 200, "what is known is served: {ready}");

    deployment.restart_registry();
    works_within(&client, "dynamic.tool.create", create("made.after"), LIMIT).await;
    assert_eq!(client.ok("made.after", json!({})).await["result"], "made");
    assert_eq!(client.ok("kept.cold", json!({})).await["result"], "cold");
    let end = Instant::now() + LIMIT;
    while deployment.get("/health").await.0 != 200 {
        assert!(
            Instant::now() < end,
            "{}",
            deployment.get("/health").await.1
        );
        sleep(Duration::from_millis(50)).await;
    }
    deployment.stop().await;
}

async fn writes_are_refused(client: &Client) {
    let change = json!({"name": "kept.warm", "patch": {"title": "New"}});
    let enable = json!({"name": "kept.warm", "enabled": false});
    for (tool, arguments) in [
        ("dynamic.tool.create", create("made.never")),
        ("dynamic.tool.update", change),
        ("dynamic.tool.enable", enable),
        ("dynamic.tool.delete", json!({"name": "kept.warm"})),
    ] {
        assert_eq!(refusal(client, tool, arguments).await, "unavailable");
    }
}

/// Creates tools one after the other until one is refused; the names that were acknowledged.
async fn write_until_refused(client: Client, writer: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        let name = format!("writer.{writer}.{}", acknowledged.len());
        let result = client.call("dynamic.tool.create", create(&name)).await;
        if result["isError"] == json!(true) {
            return acknowledged;
        }
        acknowledged.push(name);
    }
}

#[tokio::test]
async fn every_acknowledged_write_is_there_after_a_kill() {
    let env = [
        ("MCP_PROFILE", "enterprise"),
        ("MCP_DYNAMIC_MAX_TOOLS", "100000"),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
    ];
    let mut deployment = Deployment::start(Kind::Three, &env).await;
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let era = [Era::Modern, Era::Legacy][writer % 2];
        writers.spawn(write_until_refused(deployment.client(era), writer));
    }
    sleep(Duration::from_millis(700)).await;
    deployment.kill_registry().await;
    let acknowledged: Vec<String> = writers.join_all().await.concat();
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());
    deployment.restart_registry();
    let client = deployment.client(Era::Modern);
    works_within(&client, "dynamic.tool.create", create("made.after"), LIMIT).await;
    let names = client.names().await;
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|name| !names.contains(name))
        .collect();
    assert!(lost.is_empty(), "of {}: {lost:?}", acknowledged.len());
    // The store itself, not what this gateway remembers.
    let folder = deployment.stop_keeping().await;
    let deployment = Deployment::start_in(Kind::Three, folder, &env).await;
    let client = deployment.client(Era::Modern);
    let names = client.names().await;
    assert!(acknowledged.iter().all(|name| names.contains(name)));
    let last = acknowledged.last().unwrap();
    assert_eq!(client.ok(last, json!({})).await["result"], "made");
    deployment.stop().await;
}

/// Another program changes the store while the registry is away.
async fn change_meanwhile(deployment: &Deployment) {
    let env = [("MCP_PORT", "0")];
    let mut other = Program::start(&binary("dynamic-mcp"), deployment.folder(), &[], &env);
    let address = other
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    other.field_of_line("\"ready\"", "program").await;
    let client = Client::new(&address, Era::Modern);
    make(&client, "made.meanwhile", "return 'other'").await;
    let change = json!({"name": "kept.warm", "patch": {"code": "return 'changed'"}});
    client.ok("dynamic.tool.update", change).await;
    client
        .ok("dynamic.tool.delete", json!({"name": "kept.cold"}))
        .await;
    other.stop().await;
}

#[tokio::test]
async fn what_changed_while_the_registry_was_away_is_seen() {
    let mut deployment = with_warm_and_cold().await;
    let client = deployment.client(Era::Modern);
    deployment.kill_registry().await;
    change_meanwhile(&deployment).await;
    assert_eq!(client.ok("kept.warm", json!({})).await["result"], "warm");
    deployment.restart_registry();
    let end = Instant::now() + LIMIT;
    loop {
        let names = client.names().await;
        let has = |name: &str| names.iter().any(|listed| listed == name);
        if has("made.meanwhile") && !has("kept.cold") {
            break;
        }
        assert!(Instant::now() < end, "{names:?}");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.ok("kept.warm", json!({})).await["result"], "changed");
    assert_eq!(
        client.ok("made.meanwhile", json!({})).await["result"],
        "other"
    );
    deployment.stop().await;
}
