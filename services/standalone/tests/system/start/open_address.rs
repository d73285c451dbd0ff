//! An address that others reach, and nothing configured: an API key, made once.

use std::fs;

use serde_json::json;
use testkit::mcp::Client;

use super::serve;

const OPEN: &[(&str, &str)] = &[
    ("MCP_HOST", "0.0.0.0"),
    ("MCP_EXECUTION_ENGINE", "isolate"),
    ("MCP_PROFILE", "enterprise"),
];

/// The key as the program shows it, which is not a line of its log.
fn shown(lines: &[String]) -> Vec<String> {
    let keys = lines
        .iter()
        .map(|line| line.trim())
        .filter(|line| line.starts_with("dmcp_"));
    keys.map(str::to_owned).collect()
}

fn with(client: &Client, name: &str, value: &str) -> Client {
    let mut client = client.clone();
    client.address = client.address.replace("0.0.0.0", "127.0.0.1");
    client.headers = vec![(name.to_owned(), value.to_owned())];
    client
}

async fn status(client: &Client) -> u16 {
    client.send("tools/list", json!({})).await.status
}

#[tokio::test]
async fn the_first_start_makes_a_key_and_shows_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), OPEN).await;
    let log = program.log();
    let keys = shown(&log);
    let [key] = keys.as_slice() else {
        panic!("one key is shown: {log:#?}");
    };
    let bearer = format!("Bearer {key}");
    let known = with(&client, "authorization", &bearer);
    let code = json!({"code": "return 6 * 7"});
    assert_eq!(known.ok("run_js_ephemeral", code).await["result"], 42);
    assert_eq!(status(&with(&client, "x-api-key", key)).await, 200);
    for (name, value) in [
        ("x-nothing", ""),
        ("authorization", "Bearer dmcp_00000000_wrong"),
        ("authorization", key.as_str()),
        ("x-api-key", &bearer),
        ("x-api-key", ""),
    ] {
        assert_eq!(
            status(&with(&client, name, value)).await,
            401,
            "{name}: {value}"
        );
    }
    let settings = known.ok("system.runtime_config", json!({})).await;
    assert_eq!(settings["auth"]["mode"], "apikey", "{settings}");
    program.stop().await;

    let file = folder.path().join(".dynamic-mcp/api-key.json");
    assert!(!file.exists(), "it is in the store");
    let store = fs::read(folder.path().join(".dynamic-mcp/registry.db")).unwrap();
    let secret = &key.as_bytes()[14..];
    let holds = store.windows(secret.len()).any(|some| some == secret);
    assert!(!holds, "only its hash is kept");

    let (program, client) = serve(folder.path(), OPEN).await;
    assert_eq!(shown(&program.log()), [""; 0], "it is shown once");
    assert_eq!(status(&with(&client, "authorization", &bearer)).await, 200);
    program.stop().await;

    fs::write(&file, "{}").unwrap();
    let ended = super::run("dynamic-mcp", folder.path(), &[], OPEN).await;
    ended.assert(1, &["api-key.json", "delete the file for a new key"]);
}
