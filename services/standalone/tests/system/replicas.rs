//! More than one of a kind: any gateway serves any request, any executor any call.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::{Client, Era};
use testkit::process::Program;
use tokio::time::{Instant, sleep};

use crate::deployment::{Deployment, Kind, binary};
use crate::faults::make;

/// How long a change may take to reach another gateway.
const SEEN_WITHIN: Duration = Duration::from_millis(1_000);

fn place(deployment: &Deployment, name: &str) -> String {
    format!("unix:{}", deployment.folder().join(name).display())
}

/// A gateway beside that of the deployment.
async fn second_gateway(deployment: &Deployment, executors: &str) -> (Program, Client) {
    let key = deployment.folder().join("service.pem");
    let env = [
        ("MCP_PORT", "0"),
        ("MCP_REGISTRY_URL", &place(deployment, "registry.sock")),
        ("MCP_EXECUTOR_URLS", executors),
        ("MCP_INTERNAL_SIGNING_KEY_FILE", &key.display().to_string()),
        ("MCP_GATEWAY_ALLOW_DOCKER_SOCKET", "true"),
    ];
    let mut gateway = Program::start(&binary("gateway"), deployment.folder(), &[], &env);
    let address = gateway
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    gateway
        .field_of_line("\"message\":\"ready\"", "program")
        .await;
    (gateway, Client::new(&address, Era::Legacy))
}

async fn second_executor(deployment: &Deployment) -> Program {
    let keys = deployment.folder().join("service.pub.pem");
    let env = [
        ("MCP_EXECUTOR_LISTEN", &*place(deployment, "executor2.sock")),
        ("MCP_ADMIN_LISTEN", "127.0.0.1:0"),
        ("MCP_INTERNAL_VERIFY_KEYS_FILE", &keys.display().to_string()),
    ];
    let mut executor = Program::start(&binary("executor"), deployment.folder(), &[], &env);
    executor
        .field_of_line("\"message\":\"ready\"", "program")
        .await;
    executor
}

/// Calls until the answer is this one; a tool that is not there yet or any more answers `None`.
async fn answers(client: &Client, tool: &str, wanted: Option<&str>) {
    let end = Instant::now() + SEEN_WITHIN;
    let call = json!({"name": tool, "arguments": {}});
    loop {
        let response = client.response("tools/call", call.clone()).await;
        let result = &response["result"]["structuredContent"]["result"];
        let listed = client.names().await.iter().any(|name| name == tool);
        if result.as_str() == wanted && listed == wanted.is_some() {
            return;
        }
        assert!(
            Instant::now() < end,
            "{tool} is not {wanted:?}: {response}, listed: {listed}"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_change_at_one_gateway_is_seen_at_the_other() {
    let deployment = Deployment::start(Kind::Three, &[]).await;
    let executors = place(&deployment, "executor.sock");
    let (gateway, there) = second_gateway(&deployment, &executors).await;
    let here = deployment.client(Era::Modern);
    make(&here, "shared.tool", "return 'first'").await;
    answers(&there, "shared.tool", Some("first")).await;
    let patch = json!({"code": "return 'second'"});
    let change = json!({"name": "shared.tool", "patch": patch, "expectedRevision": 1});
    there.ok("dynamic.tool.update", change.clone()).await;
    answers(&here, "shared.tool", Some("second")).await;
    assert_eq!(
        here.refusal("dynamic.tool.update", change).await,
        "revision_conflict"
    );
    let off = json!({"name": "shared.tool", "enabled": false});
    here.ok("dynamic.tool.enable", off).await;
    answers(&there, "shared.tool", None).await;
    let on = json!({"name": "shared.tool", "enabled": true});
    there.ok("dynamic.tool.enable", on).await;
    answers(&here, "shared.tool", Some("second")).await;
    there
        .ok("dynamic.tool.delete", json!({"name": "shared.tool"}))
        .await;
    answers(&here, "shared.tool", None).await;
    gateway.stop().await;
    deployment.stop().await;
}

/// The results of so many calls, one after the other.
async fn called(client: &Client, count: usize) -> Vec<Value> {
    let mut results = Vec::new();
    for _ in 0..count {
        results.push(client.call("shared.tool", json!({})).await);
    }
    results
}

/// A call that is sent in the very moment in which the connection breaks may have reached the
/// executor: the gateway says so and does not run it a second time. That can be one of these calls,
/// which go one after the other; later ones find the connection gone.
async fn until_noticed(client: &Client) {
    let mut refused = 0;
    for _ in 0..20 {
        let result = client.call("shared.tool", json!({})).await;
        let said = &result["structuredContent"];
        if said["result"] != "ran" {
            refused += 1;
            assert_eq!(said["code"], "unavailable", "{result}");
            assert_eq!(said["mayHaveRun"], true, "{result}");
        }
    }
    assert!(
        refused <= 1,
        "{refused} calls were sent into a broken connection"
    );
}

#[tokio::test]
async fn calls_go_on_at_the_other_executor() {
    let mut deployment = Deployment::start(Kind::Three, &[]).await;
    let executor = second_executor(&deployment).await;
    let [first, second] = ["executor.sock", "executor2.sock"].map(|name| place(&deployment, name));
    let both = format!("{first},{second}");
    let (gateway, client) = second_gateway(&deployment, &both).await;
    make(&client, "shared.tool", "return 'ran'").await;
    for stage in ["both", "one", "both again"] {
        match stage {
            "one" => deployment.kill_executor().await,
            "both again" => deployment.restart_executor(),
            _ => {}
        }
        if stage == "one" {
            until_noticed(&client).await;
        }
        for result in called(&client, 20).await {
            let answer = &result["structuredContent"]["result"];
            assert_eq!(answer, "ran", "{stage}: {result}");
        }
    }
    deployment.kill_executor().await;
    drop(executor);
    let refused = client.refusal("shared.tool", json!({})).await;
    assert_eq!(refused, "unavailable");
    gateway.stop().await;
    deployment.front.stop().await;
    deployment.inner.take().unwrap().registry.stop().await;
}
