//! U-601 to U-608: the JSON file, and the way back.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::mcp::Client;
use testkit::process::Program;
use tokio::time::{Instant, sleep};

use super::{checks, document, record, run, serve, write_store};

checks! {
    "U-601" "U-602" => a_file_is_imported_once,
    "U-603" "U-604" => what_breaks_a_rule_is_left_out,
    "U-605" => more_than_the_limit_is_refused,
    "U-606" => two_processes_share_a_store,
    "U-607" "U-608" => rights,
}

const NODE: (&str, &str) = ("MCP_EXECUTION_ENGINE", "node");

async fn stored(client: &Client) -> Vec<String> {
    let listed = client.ok("dynamic.tool.list", json!({})).await;
    let tools = listed["tools"].as_array().unwrap().iter();
    tools
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

fn imported(program: &Program) -> bool {
    let log = program.log().join("\n");
    log.contains("imported the Node server's tools")
}

async fn a_file_is_imported_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut disabled = record("is.disabled", "return 2");
    disabled["enabled"] = json!(false);
    disabled["revision"] = json!(41);
    let path = write_store(
        folder.path(),
        &[record("is.there", "return 'as it was'"), disabled],
    );
    let before = std::fs::read(&path).unwrap();
    let env = [NODE, ("MCP_DYNAMIC_BACKEND", "file")];
    let (program, client) = serve(folder.path(), &env).await;
    assert!(imported(&program));
    assert!(folder.path().join(".dynamic-mcp/registry.db").exists());
    assert_eq!(
        client.ok("is.there", json!({})).await["result"],
        "as it was"
    );
    let got = client
        .ok("dynamic.tool.get", json!({"name": "is.disabled"}))
        .await;
    assert_eq!(
        (&got["tool"]["revision"], &got["tool"]["enabled"]),
        (&json!(41), &json!(false))
    );
    assert_eq!(got["tool"]["createdAt"], "2025-01-31T12:00:00.000Z");
    let patch = json!({"name": "is.there", "patch": {"code": "return 'new'"}});
    client.ok("dynamic.tool.update", patch).await;
    program.stop().await;
    assert_eq!(
        std::fs::read(&path).unwrap(),
        before,
        "the source is as it was"
    );

    // An edit by hand is not seen.
    write_store(
        folder.path(),
        &[
            record("is.there", "return 'by hand'"),
            record("is.late", "return 1"),
        ],
    );
    let (program, client) = serve(folder.path(), &env).await;
    assert!(!imported(&program));
    assert_eq!(stored(&client).await, ["is.disabled", "is.there"]);
    assert_eq!(client.ok("is.there", json!({})).await["result"], "new");
    program.stop().await;

    for end in ["", "-wal", "-shm"] {
        let file = folder.path().join(format!(".dynamic-mcp/registry.db{end}"));
        if file.exists() {
            std::fs::remove_file(file).unwrap();
        }
    }
    let (program, client) = serve(folder.path(), &env).await;
    assert!(imported(&program), "with the database away it imports anew");
    assert_eq!(stored(&client).await, ["is.late", "is.there"]);
    program.stop().await;
}

async fn what_breaks_a_rule_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, field: &str, value: Value| {
        let mut record = record(name, "return 1");
        record[field] = value;
        record
    };
    let depends = |version: &str| json!([{"name": "zod", "version": version}]);
    let blocked = json!([{"name": "pm2", "version": "1.0.0"}]);
    let tools = [
        record("is.good", "return 1"),
        record("is.good", "return 2"),
        record("sandbox.exec", "return 1"),
        with("has.tag", "dependencies", depends("latest")),
        with("has.no.image", "image", json!("not an image")),
        with("has.number", "code", json!(7)),
        with("is.not.allowed", "image", json!("not/allowed:1")),
        with("is.blocked", "dependencies", blocked),
    ];
    write_store(folder.path(), &tools);
    let (program, client) = serve(folder.path(), &[NODE]).await;
    assert_eq!(
        stored(&client).await,
        ["is.blocked", "is.good", "is.not.allowed"]
    );
    let log = program.log();
    let said = &document::line("U-603").said[0];
    let left_out: Vec<&String> = log.iter().filter(|line| line.contains(said)).collect();
    assert_eq!(left_out.len(), 5, "{log:#?}");
    for name in [
        "is.good",
        "sandbox.exec",
        "has.tag",
        "has.no.image",
        "has.number",
    ] {
        let named = format!("\"name\":\"{name}\"");
        assert!(
            left_out.iter().any(|line| line.contains(&named)),
            "{name}: {left_out:#?}"
        );
    }
    assert_eq!(
        client.refusal("is.blocked", json!({})).await,
        "policy_denied"
    );
    program.stop().await;
}

async fn more_than_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tools: Vec<Value> = (0..3)
        .map(|at| record(&format!("tool.{at}"), "return 1"))
        .collect();
    let path = write_store(folder.path(), &tools);
    let before = std::fs::read(&path).unwrap();
    let env = [("MCP_PORT", "0"), ("MCP_DYNAMIC_MAX_TOOLS", "2")];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    let said = format!("{} 3", document::line("U-605").said[0]);
    ended.assert(1, &[&said, "tools.json"]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let (program, client) = serve(folder.path(), &[("MCP_DYNAMIC_MAX_TOOLS", "3")]).await;
    assert_eq!(stored(&client).await.len(), 3);
    program.stop().await;
}

async fn two_processes_share_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let (first, one) = serve(folder.path(), &[NODE]).await;
    let (second, two) = serve(folder.path(), &[NODE]).await;
    for (at, client) in [&one, &two, &one, &two].into_iter().enumerate() {
        let tool = json!({"name": format!("made.{at}"), "description": "d", "code": "return 1"});
        client
            .ok("dynamic.tool.create", json!({"tool": tool}))
            .await;
    }
    let end = Instant::now() + Duration::from_secs(10);
    for client in [&one, &two] {
        loop {
            let names = client.names().await;
            if (0..4).all(|at| names.contains(&format!("made.{at}"))) {
                break;
            }
            assert!(Instant::now() < end, "{names:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
    first.stop().await;
    second.stop().await;
}

async fn rights() {
    let folder = tempfile::tempdir().unwrap();
    let (program, _) = serve(folder.path(), &[]).await;
    let mode = |path: &str| {
        let file = std::fs::metadata(folder.path().join(path)).unwrap();
        file.permissions().mode() & 0o777
    };
    assert_eq!(mode(".dynamic-mcp"), 0o700);
    assert_eq!(mode(".dynamic-mcp/registry.db"), 0o600);
    program.stop().await;
    // What nobody can write to, also not the superuser that may run this test.
    std::fs::write(folder.path().join("file"), "").unwrap();
    let env = [("MCP_PORT", "0"), ("MCP_DYNAMIC_STORE", "file/tools.json")];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(1, &["MCP_DYNAMIC_STORE", "file"]);
}

/// The document's own commands: how to check, and the way back, whose file a server reads as the Node
/// server does.
#[tokio::test]
async fn the_way_back_makes_a_store_of_the_node_server() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    for (name, title) in [("was.new", json!("Title")), ("has.no.title", Value::Null)] {
        let mut tool = json!({"name": name, "description": "d", "code": "return '\u{1F600}'"});
        if !title.is_null() {
            tool["title"] = title;
        }
        client
            .ok("dynamic.tool.create", json!({"tool": tool}))
            .await;
    }
    let checked = typed(folder.path(), &client.address, "/readyz").await;
    assert!(checked.contains("{\"status\":\"ready\"}"), "{checked}");
    assert!(checked.contains("was.new"), "the list of tools: {checked}");
    typed(folder.path(), &client.address, "back.json").await;
    program.stop().await;
    let text = std::fs::read_to_string(folder.path().join("back.json")).unwrap();
    let store: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(store["version"], 1);
    let tools = store["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 2);
    tools.iter().for_each(assert_is_a_record);
    back_again(folder.path()).await;
}

/// Runs the commands of the document's block that holds `needle`, and returns what they print.
async fn typed(folder: &Path, address: &str, needle: &str) -> String {
    let commands = document::block(needle).replace("127.0.0.1:8788", address);
    assert!(commands.contains(address), "{commands}");
    let script = format!("set -euo pipefail\nMCP_ADMIN_TOKEN=\n{commands}");
    let ended = tokio::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder)
        .output()
        .await
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    String::from_utf8(ended.stdout).unwrap()
}

/// By the schema of the Node server: unknown members are dropped there, a title is a text or absent.
fn assert_is_a_record(tool: &Value) {
    for member in [
        "name",
        "description",
        "image",
        "code",
        "createdAt",
        "updatedAt",
    ] {
        assert!(tool[member].is_string(), "{member}: {tool}");
    }
    for member in ["timeoutMs", "revision"] {
        assert!(tool[member].is_u64(), "{member}: {tool}");
    }
    assert!(
        tool["dependencies"].is_array() && tool["enabled"].is_boolean(),
        "{tool}"
    );
    assert!(tool.get("title").is_none_or(Value::is_string), "{tool}");
    for member in ["createdAt", "updatedAt"] {
        assert!(tool[member].as_str().unwrap().ends_with('Z'), "{tool}");
    }
}

async fn back_again(folder: &Path) {
    let anew = tempfile::tempdir().unwrap();
    std::fs::copy(folder.join("back.json"), anew.path().join("back.json")).unwrap();
    let (program, client) = serve(anew.path(), &[NODE, ("MCP_DYNAMIC_STORE", "back.json")]).await;
    assert_eq!(stored(&client).await, ["has.no.title", "was.new"]);
    assert_eq!(client.ok("was.new", json!({})).await["result"], "\u{1F600}");
    program.stop().await;
}
