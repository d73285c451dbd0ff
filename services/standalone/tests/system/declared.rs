//! Tools of the configuration file: at the start, on SIGHUP, and for `--check-config`.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::mcp::{Client, Era};
use tokio::time::{Instant, sleep};

use crate::deployment::{Deployment, Kind};
use crate::faults::make;
use crate::start::run;

const ENV: &[(&str, &str)] = &[("CONFIG_PATH", "config.toml")];
/// How long a change may take to be served.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

const ONE: &str =
    "[[tools]]\nname = \"one.tool\"\ndescription = \"One\"\nhandler = \"tools/one.js\"\n";
const TWO: &str = "[[tools]]\nname = \"two.tool\"\ndescription = \"Two\"\nhandler = \"tools/two.js\"\n\
     cache = { ttlSeconds = 60, scope = \"tenant\" }\n";

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tools")).unwrap();
    write(folder.path(), "tools/one.js", "return 'first'");
    write(folder.path(), "tools/two.js", "return Math.random()");
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

async fn revision(client: &Client, tool: &str) -> Value {
    let found = client.ok("dynamic.tool.get", json!({"name": tool})).await;
    found["tool"]["revision"].clone()
}

/// Waits until a call answers this; `None`: until there is no such tool.
async fn answers(client: &Client, tool: &str, wanted: Option<&str>) {
    let end = Instant::now() + SEEN_WITHIN;
    loop {
        let call = json!({"name": tool, "arguments": {}});
        let response = client.response("tools/call", call).await;
        if response["result"]["structuredContent"]["result"].as_str() == wanted {
            return;
        }
        assert!(Instant::now() < end, "{tool} is not {wanted:?}: {response}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until this many lines of the log hold these words.
async fn said(deployment: &Deployment, words: &str, times: usize) -> Vec<String> {
    let end = Instant::now() + SEEN_WITHIN;
    loop {
        let log = deployment.front.log();
        let found: Vec<String> = log
            .iter()
            .filter(|line| line.contains(words))
            .cloned()
            .collect();
        if found.len() >= times {
            return found;
        }
        assert!(
            Instant::now() < end,
            "not said {times} times: {words}\n{}",
            log.join("\n")
        );
        sleep(Duration::from_millis(20)).await;
    }
}

async fn check(
    program: &str,
    folder: &Path,
    env: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let ended = run(program, folder, &["--check-config"], env).await;
    (ended.code, ended.out, ended.err)
}

#[tokio::test]
async fn the_file_makes_changes_and_deletes_tools() {
    let folder = folder();
    write(folder.path(), "config.toml", ONE);
    let (code, text, _) = check("dynamic-mcp", folder.path(), ENV).await;
    assert_eq!(code, Some(0));
    assert_eq!(
        text,
        "dynamic-mcp: the configuration is valid\n\
         declared tools: 1; a start would leave 1 created, 0 as declared\n  + one.tool (created)\n"
    );
    assert!(
        !folder.path().join(".dynamic-mcp").exists(),
        "a look makes nothing"
    );

    let deployment = Deployment::start_in(Kind::Direct, folder, ENV).await;
    let client = deployment.client(Era::Modern);
    let folder = deployment.folder();
    answers(&client, "one.tool", Some("first")).await;
    said(&deployment, "declared tools: 1 created, 0 as declared", 1).await;
    for (tool, arguments) in [
        (
            "dynamic.tool.update",
            json!({"name": "one.tool", "patch": {"code": "return 0"}}),
        ),
        (
            "dynamic.tool.enable",
            json!({"name": "one.tool", "enabled": false}),
        ),
        ("dynamic.tool.delete", json!({"name": "one.tool"})),
    ] {
        let refused = client.call(tool, arguments).await;
        assert_eq!(refused["isError"], true, "{refused}");
        let text = refused.to_string();
        assert!(
            text.contains("policy_denied") && text.contains("SIGHUP"),
            "{text}"
        );
    }
    make(&client, "by.hand", "return 'hand'").await;

    // A changed handler and another tool, as `--check-config` says beforehand.
    write(folder, "tools/one.js", "return 'second'");
    write(folder, "config.toml", &format!("{ONE}{TWO}"));
    let (_, text, _) = check("dynamic-mcp", folder, ENV).await;
    assert!(
        text.ends_with("  ~ one.tool (changed: code)\n  + two.tool (created)\n"),
        "{text}"
    );
    deployment.front.signal("HUP").await;
    answers(&client, "one.tool", Some("second")).await;
    said(&deployment, "1 created, 1 changed, 0 as declared", 1).await;
    assert_eq!(revision(&client, "one.tool").await, 2);
    let first = client.ok("two.tool", json!({})).await;
    assert_eq!(
        client.ok("two.tool", json!({})).await,
        first,
        "its field cache is heeded"
    );

    // Nothing is different: nothing is written.
    deployment.front.signal("HUP").await;
    said(&deployment, "declared tools: 2 as declared", 1).await;
    assert_eq!(revision(&client, "one.tool").await, 2);

    // One that is wrong, and everything stays as it is; the log names every mistake.
    write(folder, "tools/one.js", "return 'third'");
    let wrong = "[[tools]]\nname = \"three.tool\"\nhandler = \"tools/none.js\"\n";
    write(folder, "config.toml", &format!("{ONE}{wrong}"));
    let (code, _, complaint) = check("dynamic-mcp", folder, ENV).await;
    assert_eq!(code, Some(78));
    assert!(
        complaint.contains("tools/none.js cannot be read"),
        "{complaint}"
    );
    assert!(
        complaint.contains("missing field `description`"),
        "{complaint}"
    );
    deployment.front.signal("HUP").await;
    let line = said(&deployment, "nothing was changed", 1).await.remove(0);
    assert!(
        line.contains("none.js") && line.contains("description"),
        "{line}"
    );
    answers(&client, "one.tool", Some("second")).await;
    client.ok("two.tool", json!({})).await;
    let page: Value = serde_json::from_str(&deployment.get("/health").await.1).unwrap();
    let told = &page["checks"]["declaredTools"];
    assert_eq!(
        (&told["tools"], &told["last"]),
        (&json!(2), &json!("refused: see the log"))
    );

    // What is taken out is deleted, what is named is taken over.
    let hand = "[[tools]]\nname = \"by.hand\"\ndescription = \"Of a test.\"\nhandler = \"tools/hand.js\"\n";
    write(folder, "tools/hand.js", "return 'file'");
    write(folder, "config.toml", &format!("{ONE}{hand}"));
    deployment.front.signal("HUP").await;
    answers(&client, "one.tool", Some("third")).await;
    answers(&client, "two.tool", None).await;
    answers(&client, "by.hand", Some("file")).await;
    said(&deployment, "taken over from MCP: code", 1).await;

    // A start with the same file writes nothing; one without a word leaves everything.
    let folder = deployment.stop_keeping().await;
    let deployment = Deployment::start_in(Kind::Direct, folder, ENV).await;
    said(&deployment, "declared tools: 2 as declared", 1).await;
    let client = deployment.client(Era::Modern);
    assert_eq!(revision(&client, "one.tool").await, 3);
    write(deployment.folder(), "config.toml", "");
    deployment.front.signal("HUP").await;
    said(
        &deployment,
        "they stay as they are and cannot be changed",
        1,
    )
    .await;
    answers(&client, "one.tool", Some("third")).await;
    write(deployment.folder(), "config.toml", "tools = []\n");
    deployment.front.signal("HUP").await;
    answers(&client, "one.tool", None).await;
    assert!(!client.names().await.iter().any(|name| name == "by.hand"));
    deployment.stop().await;
}

#[tokio::test]
async fn in_three_services_the_registry_declares() {
    let folder = folder();
    let list = json!([{"name": "one.tool", "description": "One", "handler": "tools/one.js"}]);
    let list = list.to_string();
    let env = [("MCP_DECLARED_TOOLS", list.as_str())];
    let deployment = Deployment::start_in(Kind::Three, folder, &env).await;
    let client = deployment.client(Era::Modern);
    answers(&client, "one.tool", Some("first")).await;
    let refused = client
        .call("dynamic.tool.delete", json!({"name": "one.tool"}))
        .await;
    assert!(refused.to_string().contains("policy_denied"), "{refused}");
    write(deployment.folder(), "tools/one.js", "return 'second'");
    let inner = deployment.inner.as_ref().unwrap();
    inner.registry.signal("HUP").await;
    answers(&client, "one.tool", Some("second")).await;
    deployment.stop().await;
}

/// A store that does not answer is no mistake of the configuration.
#[tokio::test]
async fn the_check_does_not_need_the_database() {
    let folder = folder();
    write(folder.path(), "config.toml", ONE);
    let keys = testkit::keys::write_pair(folder.path());
    let env = [
        ("CONFIG_PATH", "config.toml"),
        ("MCP_INTERNAL_VERIFY_KEYS_FILE", keys.public.as_str()),
        ("MCP_DYNAMIC_BACKEND", "postgres"),
        ("MCP_DYNAMIC_PG_URL", "postgres://nobody@127.0.0.1:1/none"),
    ];
    let (code, text, complaint) = check("registry", folder.path(), &env).await;
    assert_eq!(code, Some(0), "{complaint}");
    assert!(
        text.contains("what a start would change is not known"),
        "{text}"
    );
}
