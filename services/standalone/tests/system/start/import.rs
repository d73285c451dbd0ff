//! The store of the Node server is taken over once and stays as it is.

use serde_json::{Value, json};
use testkit::mcp::{Client, Era};

use super::serve;
use crate::deployment::{Deployment, Kind};

fn record(name: &str, revision: u64, code: &str) -> Value {
    json!({
        "name": name, "title": "From Node", "description": "Made by the Node server.",
        "image": "node:lts-slim", "timeoutMs": 30_000, "dependencies": [], "code": code,
        "enabled": true, "revision": revision,
        "createdAt": "2025-01-31T12:00:00.000Z", "updatedAt": "2025-02-01T12:00:00.000Z"
    })
}

fn store() -> String {
    let mut dependent = record("node.dependent", 2, "return 1");
    dependent["dependencies"] = json!([{"name": "left-pad", "version": "1.3.0"}]);
    let mut disabled = record("node.disabled", 3, "return 1");
    disabled["enabled"] = json!(false);
    let tools = [
        record("node.greets", 7, "return `hello ${args.who} \u{1F600}`"),
        dependent,
        disabled,
        record("dynamic.tool.mine", 1, "return 1"),
        record("node.greets", 8, "return 'twice'"),
        record("7bad", 1, "return 1"),
    ];
    serde_json::to_string_pretty(&json!({"version": 1, "tools": tools})).unwrap()
}

async fn assert_imported(client: &Client) {
    let names = client.names().await;
    let listed: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("node."))
        .collect();
    assert_eq!(listed, ["node.dependent", "node.greets"]);
    let answer = client
        .ok("node.greets", json!({"args": {"who": "you"}}))
        .await;
    assert_eq!(answer["result"], "hello you \u{1F600}");
    let got = client
        .ok("dynamic.tool.get", json!({"name": "node.greets"}))
        .await;
    let tool = &got["tool"];
    assert_eq!(tool["revision"], 7, "{got}");
    assert_eq!(tool["createdAt"], "2025-01-31T12:00:00.000Z");
    assert_eq!(tool["updatedAt"], "2025-02-01T12:00:00.000Z");
}

fn assert_invalid_named(log: &str) {
    for name in ["dynamic.tool.mine", "7bad"] {
        assert!(log.contains(name), "no {name} in {log}");
    }
    assert!(log.contains("an earlier record has the same name"), "{log}");
}

/// The store lies at `file`; `env` says so.
async fn once_and_untouched(file: &str, env: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, store()).unwrap();

    let (program, client) = serve(folder.path(), env).await;
    assert_imported(&client).await;
    assert_invalid_named(&program.log().join("\n"));
    let change =
        json!({"name": "node.greets", "patch": {"code": "return 'new'"}, "expectedRevision": 7});
    let made = client.ok("dynamic.tool.update", change).await;
    assert_eq!(made["tool"]["revision"], 8);
    let gone = json!({"name": "node.dependent"});
    client.ok("dynamic.tool.delete", gone).await;
    program.stop().await;

    let (program, client) = serve(folder.path(), env).await;
    let names = client.names().await;
    assert!(!names.contains(&"node.dependent".to_owned()), "{names:?}");
    assert_eq!(client.ok("node.greets", json!({})).await["result"], "new");
    let log = program.log().join("\n");
    assert!(
        !log.contains("import"),
        "a second start imports nothing: {log}"
    );
    program.stop().await;
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        store(),
        "untouched"
    );
}

#[tokio::test]
async fn a_store_that_is_named() {
    once_and_untouched("old/tools.json", &[("MCP_DYNAMIC_STORE", "old/tools.json")]).await;
}

#[tokio::test]
async fn a_store_that_is_named_with_the_backend_file() {
    let env = [
        ("MCP_DYNAMIC_BACKEND", "file"),
        ("MCP_DYNAMIC_STORE", "old/tools.json"),
    ];
    once_and_untouched("old/tools.json", &env).await;
}

#[tokio::test]
async fn the_store_at_its_usual_place() {
    once_and_untouched(".dynamic-mcp/tools.json", &[]).await;
}

#[tokio::test]
async fn the_registry_imports_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".dynamic-mcp/tools.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, store()).unwrap();
    let deployment = Deployment::start_in(Kind::Three, folder, &[]).await;
    assert_imported(&deployment.client(Era::Legacy)).await;
    let log = deployment.inner.as_ref().unwrap().registry.log();
    assert_invalid_named(&log.join("\n"));
    deployment.stop().await;
}

#[tokio::test]
async fn a_file_that_is_no_store_is_named_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("tools.json"),
        "{\"version\": 2, \"tools\": []}",
    )
    .unwrap();
    let env = [("MCP_PORT", "0"), ("MCP_DYNAMIC_STORE", "tools.json")];
    let ended = super::run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(1, &["tools.json", "version"]);
}
