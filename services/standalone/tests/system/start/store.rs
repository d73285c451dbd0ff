//! Stores that cannot be used, and rows that cannot be read.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{run, serve};
use crate::faults::make;

#[tokio::test]
async fn a_store_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "no folder").unwrap();
    let env = [("MCP_PORT", "0"), ("MCP_DYNAMIC_STORE", "file/registry.db")];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(1, &["file/registry.db", "MCP_DYNAMIC_STORE"]);
    let env = [("MCP_PORT", "0"), ("MCP_DYNAMIC_STORE", "file")];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(1, &["file", "MCP_DYNAMIC_STORE"]);
    let kept = std::fs::read_to_string(folder.path().join("file")).unwrap();
    assert_eq!(kept, "no folder", "what is not ours stays as it is");
}

/// Does to the store what none of our programs would.
fn poison(folder: &Path, statements: &str) {
    let script = format!(
        "import sqlite3; c = sqlite3.connect('.dynamic-mcp/registry.db'); \
         c.execute('PRAGMA foreign_keys = OFF'); c.execute('PRAGMA ignore_check_constraints = ON'); \
         c.executescript({statements:?})"
    );
    let output = Command::new("python3")
        .args(["-c", &script])
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[tokio::test]
async fn a_poisoned_row_takes_nothing_else_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    for name in ["good.one", "poisoned.spec", "poisoned.code", "good.two"] {
        make(&client, name, &format!("return '{name}'")).await;
    }
    program.stop().await;
    poison(
        folder.path(),
        "UPDATE revisions SET spec = '{\"description\": 7}' WHERE name = 'poisoned.spec'; \
         UPDATE codes SET code = x'ff00fe' WHERE digest = \
         (SELECT code_digest FROM revisions WHERE name = 'poisoned.code');",
    );

    let (program, client) = serve(folder.path(), &[]).await;
    let names = client.names().await;
    for name in ["good.one", "good.two"] {
        assert!(names.iter().any(|listed| listed == name), "{names:?}");
        assert_eq!(client.ok(name, json!({})).await["result"], name);
    }
    let answer = client.call("poisoned.code", json!({})).await;
    assert_eq!(answer["isError"], true, "{answer}");
    let log = program.log().join("\n");
    assert!(log.contains("poisoned.spec"), "{log}");
    // Both can be put right with the tools that there are.
    for name in ["poisoned.code", "poisoned.spec"] {
        client
            .ok("dynamic.tool.delete", json!({"name": name}))
            .await;
        make(&client, name, "return 'repaired'").await;
        assert_eq!(client.ok(name, json!({})).await["result"], "repaired");
    }
    program.stop().await;
}
