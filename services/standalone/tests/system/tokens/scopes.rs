//! What a token's scopes open, and what is asked for when one is missing.

use super::*;

/// A request that ends in 403; gives back the scopes that the challenge names.
async fn lacks(client: &Client, tool: &str, arguments: Value) -> String {
    let call = json!({"name": tool, "arguments": arguments});
    let answer = client.send("tools/call", call).await;
    assert_eq!(answer.status, 403, "{tool}: {}", answer.text());
    assert_eq!(answer.json()["error"]["data"]["code"], "permission_denied");
    let challenge = challenge(&answer);
    assert_eq!(parameter(challenge, "error"), Some("insufficient_scope"));
    assert!(challenge.contains("resource_metadata="), "{challenge}");
    parameter(challenge, "scope").unwrap().to_owned()
}

async fn steps(kind: Kind) {
    let guarded = Guarded::start(
        kind,
        &[
            ("MCP_PROFILE", "enterprise"),
            ("MCP_REQUIRE_ADMIN_TOKEN", "false"),
        ],
    )
    .await;
    let writer = guarded.client("alice", ALL).await;
    let spec = json!({
        "name": "blue.tool", "description": "for the blue team", "code": "return 'blue'",
        "requiredScopes": ["team:blue"],
    });
    writer
        .ok("dynamic.tool.create", json!({ "tool": spec }))
        .await;
    crate::faults::make(&writer, "open.tool", "return 'open'").await;

    let reader = guarded.client("alice", "mcp:tools:read").await;
    let names = reader.names().await;
    assert_eq!(names, ["dynamic.tool.list", "dynamic.tool.get"]);
    reader
        .ok("dynamic.tool.get", json!({"name": "open.tool"}))
        .await;
    for tool in [
        "open.tool",
        "blue.tool",
        "no.such.tool",
        "run_js_ephemeral",
        "time.now",
    ] {
        assert_eq!(
            lacks(&reader, tool, json!({})).await,
            "mcp:invoke",
            "{tool}"
        );
    }
    let delete = json!({"name": "open.tool"});
    let needed = lacks(&reader, "dynamic.tool.delete", delete.clone()).await;
    assert_eq!(needed, "mcp:tools:write");
    let read = reader
        .send("resources/read", json!({"uri": "dynamic://service/meta"}))
        .await;
    assert_eq!(read.status, 403);

    let caller = guarded.client("alice", "mcp:invoke").await;
    assert_eq!(caller.ok("open.tool", json!({})).await["result"], "open");
    let hidden = caller
        .response("tools/call", json!({"name": "blue.tool"}))
        .await;
    assert_eq!(hidden["error"]["code"], -32602, "{hidden}");
    assert_eq!(
        lacks(&caller, "dynamic.tool.delete", delete).await,
        "mcp:tools:write"
    );
    assert!(!caller.names().await.contains(&"blue.tool".to_owned()));

    for scope in ["mcp:invoke team:blue", "mcp:admin"] {
        let member = guarded.client("alice", scope).await;
        assert_eq!(member.ok("blue.tool", json!({})).await["result"], "blue");
        assert!(member.names().await.contains(&"blue.tool".to_owned()));
    }
    // A step up: the same caller asks for what was named, and goes on.
    let more = guarded.client("alice", "mcp:tools:write").await;
    more.ok("dynamic.tool.delete", json!({"name": "open.tool"}))
        .await;
    guarded.stop().await;
}

#[tokio::test]
async fn a_missing_scope_is_named_standalone() {
    steps(Kind::Direct).await;
}

#[tokio::test]
async fn a_missing_scope_is_named_three_processes() {
    steps(Kind::Three).await;
}

#[tokio::test]
async fn scopes_that_every_token_needs_and_the_admin_token_on_top() {
    let secret = "0123456789abcdef0123456789abcdef";
    let more = [
        ("MCP_AUTH_REQUIRED_SCOPES", "team:blue"),
        ("MCP_ADMIN_TOKEN", secret),
    ];
    let guarded = Guarded::start(Kind::Direct, &more).await;
    let outsider = guarded.client("alice", ALL).await;
    let refused = ping(&outsider).await;
    assert_eq!(refused.status, 403);
    assert_eq!(parameter(challenge(&refused), "scope"), Some("team:blue"));

    let scopes = format!("{ALL} team:blue");
    let member = guarded.client("alice", &scopes).await;
    let tool = json!({"tool": {"name": "a.tool", "description": "x", "code": "return 1"}});
    assert_eq!(
        member.refusal("dynamic.tool.create", tool.clone()).await,
        "permission_denied"
    );
    let mut admin = member.clone();
    let header = ("x-mcp-admin-token".to_owned(), secret.to_owned());
    admin.headers.push(header);
    admin.ok("dynamic.tool.create", tool).await;

    // As an argument too, also for a token that holds no scope for it.
    let plain = guarded.client("alice", "team:blue mcp:invoke").await;
    let delete = json!({"name": "a.tool"});
    assert_eq!(
        lacks(&plain, "dynamic.tool.delete", delete).await,
        "team:blue mcp:tools:write"
    );
    let delete = json!({"name": "a.tool", "adminToken": secret});
    plain.ok("dynamic.tool.delete", delete).await;
    guarded.stop().await;
}
