//! Names of tools: those that look alike stay apart, and those that are tricks are refused.

use std::collections::BTreeSet;

use serde_json::json;
use testkit::mcp::Era;

use super::make;
use crate::deployment::{Deployment, Kind};

/// 77: names that a careless mapping to identifiers would make one are different tools, in the store,
/// in the list and in the sandbox that runs them.
#[tokio::test]
async fn fault_77_names_that_look_alike_stay_apart() {
    let alike = [
        "foo-bar", "foo_bar", "foo.bar", "foo:bar", "Foo-bar", "FOO-BAR", "foo--bar", "foobar",
    ];
    let deployment = Deployment::start(Kind::Three, &[]).await;
    for era in [Era::Modern, Era::Legacy] {
        let client = deployment.client(era);
        if era == Era::Modern {
            for name in alike {
                let code = format!("return ['{name}', ctx.tool.name]");
                make(&client, name, &code).await;
            }
        }
        for name in alike {
            let answer = client.ok(name, json!({})).await;
            assert_eq!(answer["result"], json!([name, name]));
        }
        let listed: BTreeSet<String> = client.names().await.into_iter().collect();
        assert!(
            alike.iter().all(|name| listed.contains(*name)),
            "{listed:?}"
        );
    }
    let client = deployment.client(Era::Modern);
    client
        .ok("dynamic.tool.delete", json!({"name": "foo-bar"}))
        .await;
    for name in &alike[1..] {
        let answer = client.ok(name, json!({})).await;
        assert_eq!(answer["result"][0], *name, "one of them alone is gone");
    }
    deployment.stop().await;
}

/// 61: names that are paths, options or nothing that a person could type are refused before anything is
/// stored, and unknown when they are called.
#[tokio::test]
async fn fault_61_tricks_in_tool_names_are_refused() {
    let deployment = Deployment::start(Kind::Direct, &[]).await;
    let client = deployment.client(Era::Modern);
    let before = client.names().await;
    let long = "x".repeat(65);
    let tricks = [
        "",
        "..",
        "../etc",
        "a/b/c",
        "abc\0",
        "abc\n",
        "abc d",
        "-abc",
        "--rm",
        "äbc",
        "ab\u{202e}c",
        "ab%00",
        "ab\\c",
        "'; DROP",
        "con$PATH",
        "dynamic.tool.mine",
        "system.health",
        &long,
    ];
    for name in tricks {
        let tool = json!({"tool": {"name": name, "description": "Of a test.", "code": "return 1"}});
        let code = client.refusal("dynamic.tool.create", tool).await;
        let right = ["invalid_argument", "policy_denied", "already_exists"];
        assert!(right.contains(&&*code), "{name:?}: {code}");
    }
    assert_eq!(client.names().await, before);
    deployment.stop().await;
}
