//! The main job: a tool made at run time runs in a sandbox, and every change shows at once.

use serde_json::{Value, json};
use testkit::mcp::{Client, Era};

use crate::deployment::{Deployment, Kind};

async fn listed(client: &Client, name: &str) -> bool {
    client.names().await.iter().any(|listed| listed == name)
}

async fn scenario(client: &Client, name: &str) {
    let tool = json!({
        "name": name, "description": "Adds two numbers.", "code": "return args.a + args.b",
        "inputSchema": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
                        "required": ["a", "b"], "additionalProperties": false}
    });
    let made = client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    assert_eq!(made["tool"]["revision"], 1);
    assert!(listed(client, name).await);
    let sum = client.ok(name, json!({"a": 2, "b": 40})).await;
    assert_eq!((&sum["ok"], &sum["result"]), (&json!(true), &json!(42)));
    assert_eq!(
        client.refusal(name, json!({"a": 2})).await,
        "invalid_argument"
    );

    let patch = json!({"code": "return args.a * args.b"});
    let change = json!({"name": name, "patch": patch, "expectedRevision": 1});
    client.ok("dynamic.tool.update", change.clone()).await;
    assert_eq!(
        client.ok(name, json!({"a": 2, "b": 40})).await["result"],
        80
    );
    assert_eq!(
        client.refusal("dynamic.tool.update", change).await,
        "revision_conflict"
    );

    client
        .ok(
            "dynamic.tool.enable",
            json!({"name": name, "enabled": false}),
        )
        .await;
    assert!(!listed(client, name).await);
    let gone = client
        .response("tools/call", json!({"name": name, "arguments": {}}))
        .await;
    assert_eq!(gone["error"]["code"], -32602, "{gone}");
    client
        .ok(
            "dynamic.tool.enable",
            json!({"name": name, "enabled": true}),
        )
        .await;
    assert!(listed(client, name).await);

    client
        .ok("dynamic.tool.delete", json!({"name": name}))
        .await;
    assert!(!listed(client, name).await);
    let gone = client
        .response("tools/call", json!({"name": name, "arguments": {}}))
        .await;
    assert_eq!(gone["error"]["code"], -32602, "{gone}");
    let again = client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    assert!(
        again["tool"]["revision"].as_u64() > Some(1),
        "numbers go on after a delete: {again}"
    );
}

async fn streams(client: &Client) {
    let code = "for (let i = 1; i <= 3; i++) { await ctx.progress(i, 3, `step ${i}`); \
                await ctx.log('warning', {i}); } console.log('printed'); return 'done'";
    let params = json!({"name": "run_js_ephemeral", "arguments": {"code": code}});
    let mut meta = json!({"progressToken": "token-1"});
    if client.era == Era::Modern {
        meta["io.modelcontextprotocol/logLevel"] = json!("info");
    }
    let messages = client
        .send_with_meta("tools/call", params, meta)
        .await
        .messages();
    let of = |method: &str| -> Vec<&Value> {
        messages
            .iter()
            .filter(|message| message["method"] == method)
            .collect()
    };
    let progress = of("notifications/progress");
    let steps: Vec<_> = progress
        .iter()
        .map(|one| one["params"]["progress"].as_f64())
        .collect();
    assert_eq!(steps, [Some(1.0), Some(2.0), Some(3.0)], "{messages:?}");
    assert!(
        progress
            .iter()
            .all(|one| one["params"]["progressToken"] == "token-1")
    );
    let logs = of("notifications/message");
    assert_eq!(logs.len(), 3, "{messages:?}");
    assert_eq!(logs[0]["params"]["level"], "warning");
    let result = &messages.last().unwrap()["result"]["structuredContent"];
    assert_eq!(result["result"], "done");
    assert_eq!(
        result["logs"],
        json!([{"level": "info", "message": "printed"}])
    );
}

async fn on(kind: Kind) {
    let deployment = Deployment::start(kind, &[]).await;
    for (era, name) in [(Era::Modern, "modern.add"), (Era::Legacy, "legacy.add")] {
        let client = deployment.client(era);
        scenario(&client, name).await;
        streams(&client).await;
    }
    deployment.stop().await;
}

#[tokio::test]
async fn main_job_direct() {
    on(Kind::Direct).await;
}

#[tokio::test]
async fn main_job_over_pipes() {
    on(Kind::Pipes).await;
}

#[tokio::test]
async fn main_job_three_processes() {
    on(Kind::Three).await;
}

#[tokio::test]
async fn main_job_docker() {
    on(Kind::Docker).await;
}

#[tokio::test]
async fn main_job_production() {
    on(Kind::Production).await;
}
