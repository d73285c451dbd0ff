//! A sandbox session belongs to one subject: what others with good tokens can do with its handle.

use testkit::docker::{IMAGE, daemon};

use super::*;

const SANDBOX: &str = "mcp:invoke mcp:sandbox";

#[tokio::test]
async fn docker_a_session_is_its_subjects_alone() {
    let docker = daemon();
    let mut env = vec![
        ("MCP_PROFILE", "enterprise"),
        ("MCP_REQUIRE_ADMIN_TOKEN", "false"),
        ("MCP_EXECUTION_ENGINE", "docker"),
        ("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE),
        ("MCP_SANDBOX_POOL_SIZE", "1"),
    ];
    env.extend(docker.host().map(|host| ("DOCKER_HOST", host)));
    let guarded = Guarded::start(Kind::Three, &env).await;
    let alice = guarded.client("alice", SANDBOX).await;
    let made = alice.ok("sandbox.initialize", json!({})).await;
    let id = made["sessionId"].as_str().unwrap().to_owned();
    let command = json!({"sessionId": id, "commands": ["echo secret > note.txt"]});
    alice.ok("sandbox.exec", command).await;

    let bob = guarded.client("bob", SANDBOX).await;
    // Not even somebody who may do everything for the tenant.
    let admin = guarded
        .client("carol", "mcp:invoke mcp:sandbox mcp:admin")
        .await;
    // An unknown handle of the same form, to compare what is said.
    let half = id.len() / 2;
    let turned = if id.as_bytes()[half] == b'A' {
        "B"
    } else {
        "A"
    };
    let mut unknown = id.clone();
    unknown.replace_range(half..=half, turned);
    for (who, other) in [("bob", &bob), ("an administrator", &admin)] {
        let listed = other.ok("sandbox.session.list", json!({})).await;
        assert_eq!(listed["sessions"], json!([]), "{who}");
        for (tool, more) in [
            ("sandbox.exec", json!({"commands": ["cat note.txt"]})),
            ("sandbox.run_js", json!({"code": "return 1"})),
            ("sandbox.run_python", json!({"code": "return 1"})),
            ("sandbox.files.read", json!({"path": "note.txt"})),
            ("sandbox.files.list", json!({"path": "."})),
            (
                "sandbox.files.write",
                json!({"path": "note.txt", "content": "x"}),
            ),
            ("sandbox.stop", json!({})),
        ] {
            let mut said = Vec::new();
            for id in [&id, &unknown] {
                let mut arguments = more.clone();
                arguments["sessionId"] = json!(id);
                let answer = other.call(tool, arguments).await;
                let told = &answer["structuredContent"];
                assert_eq!(told["code"], "not_found", "{who} {tool}: {answer}");
                said.push(told["error"].to_string());
            }
            assert_eq!(said[0], said[1], "{who} {tool}: foreign is as unknown");
        }
    }
    // A new token of the same subject is the same subject.
    let again = guarded.client("alice", SANDBOX).await;
    let read = json!({"sessionId": id, "path": "note.txt"});
    let read = again.ok("sandbox.files.read", read).await;
    assert_eq!(read["content"], "secret\n");
    again.ok("sandbox.stop", json!({ "sessionId": id })).await;
    guarded.stop().await;
}
