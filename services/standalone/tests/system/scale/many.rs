//! Thousands of tools: listed in pages, called, and there again after a restart.

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::mcp::{Client, Era};

use crate::deployment::{Deployment, Kind};

const ENV: &[(&str, &str)] = &[
    ("MCP_DYNAMIC_MAX_TOOLS", "100000"),
    ("MCP_TOOL_MAX_CONCURRENCY", "1000"),
    ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000"),
];
/// Clients that create at the same time.
const CLIENTS: usize = 8;
/// Resident memory of the one process with 10,000 tools.
const MOST_KIB: u64 = 150 * 1_024;

fn name(number: usize) -> String {
    format!("many.tool-{number:05}")
}

/// 2 KiB of code and 1 KiB of schema, different for each.
fn draft(number: usize) -> Value {
    let mut code = format!("return {{number: {number}, given: args.given}} // ");
    code.push_str(&"c".repeat(2_048 - code.len()));
    let mut schema = json!({
        "type": "object", "description": "",
        "properties": {"given": {"type": "integer", "minimum": number}},
    });
    let rest = 1_024 - schema.to_string().len();
    schema["description"] = json!("s".repeat(rest));
    json!({"tool": {
        "name": name(number), "description": "One of many.", "code": code, "inputSchema": schema
    }})
}

async fn create_all(deployment: &Deployment, count: usize) {
    let writers = (0..CLIENTS).map(|writer| {
        let client = deployment.client([Era::Modern, Era::Legacy][writer % 2]);
        async move {
            for number in (writer..count).step_by(CLIENTS) {
                client.ok("dynamic.tool.create", draft(number)).await;
            }
        }
    });
    join_all(writers).await;
}

/// Every page is full but the last; all names are there once and in order, built-ins first or last.
async fn assert_all_listed(client: &Client, count: usize) {
    let names = client.names().await;
    let ours: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("many."))
        .collect();
    assert_eq!(ours.len(), count);
    let wrong = ours
        .iter()
        .enumerate()
        .find(|(at, one)| ***one != name(*at));
    assert_eq!(wrong, None);
    assert_eq!(client.names().await, names, "the order is stable");
    let page = client.result("tools/list", json!({})).await;
    let on_page = page["tools"].as_array().unwrap().len();
    assert_eq!(on_page, names.len().min(1_000));
}

async fn assert_sample_works(client: &Client, count: usize) {
    for number in (0..count).step_by(count / 12) {
        let given = number + 3;
        let answer = client.ok(&name(number), json!({"given": given})).await;
        assert_eq!(answer["result"], json!({"number": number, "given": given}));
        let low = json!({"given": number as i64 - 1});
        assert_eq!(client.refusal(&name(number), low).await, "invalid_argument");
    }
}

async fn many(kind: Kind, count: usize) {
    let deployment = Deployment::start(kind, ENV).await;
    create_all(&deployment, count).await;
    for era in [Era::Modern, Era::Legacy] {
        let client = deployment.client(era);
        assert_all_listed(&client, count).await;
        assert_sample_works(&client, count).await;
    }
    let used = deployment.front.resident_kib();
    assert!(used < MOST_KIB, "{used} KiB");
    let folder = deployment.stop_keeping().await;

    let deployment = Deployment::start_in(kind, folder, ENV).await;
    let client = deployment.client(Era::Modern);
    assert_all_listed(&client, count).await;
    assert_sample_works(&client, count).await;
    deployment.stop().await;
}

/// 10,000 with `MCP_TEST_SOAK=1`; else so few that two cores and an unoptimised build take no
/// longer than the other tests.
#[allow(
    clippy::disallowed_methods,
    reason = "a switch of the test run, not a setting of the product"
)]
fn count(quick: usize) -> usize {
    let soak = std::env::var("MCP_TEST_SOAK").is_ok_and(|value| value == "1");
    if soak { 10_000 } else { quick }
}

#[tokio::test]
async fn thousands_direct() {
    many(Kind::Direct, count(10_000)).await;
}

#[tokio::test]
async fn thousands_three_processes() {
    many(Kind::Three, count(3_000)).await;
}
