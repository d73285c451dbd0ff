//! U-331 to U-338: sandbox sessions.

use serde_json::{Value, json};
use testkit::docker::IMAGE;

use super::{checks, serve};

checks! {
    "U-331" "U-332" "U-333" "U-334" "U-335" "U-336" "U-337" "U-338" => sessions_are_their_owners,
}

async fn sessions_are_their_owners() {
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("MCP_EXECUTION_ENGINE", "docker"),
        ("MCP_SANDBOX_ALLOWED_IMAGES", IMAGE),
        ("MCP_SANDBOX_POOL_SIZE", "1"),
        ("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", "60"),
        ("MCP_PROFILE", "enterprise"),
    ];
    let (program, client) = serve(folder.path(), &env).await;
    for (asked, got) in [
        (json!({}), 60_000),
        (json!({"timeoutMs": 5_000}), 5_000),
        (json!({"timeoutMs": 120_000}), 60_000),
    ] {
        let ready = client.ok("sandbox.initialize", asked).await;
        assert_eq!(ready["timeoutMs"], got);
    }
    let ready = client.ok("sandbox.initialize", json!({})).await;
    let id = ready["sessionId"].as_str().unwrap().to_owned();
    assert!(id.starts_with("sbx_"), "{id}");
    let with = |more: Value| {
        let mut arguments = json!({ "sessionId": id });
        for (key, value) in more.as_object().unwrap() {
            arguments[key] = value.clone();
        }
        arguments
    };
    for name in ["mcp-sbx-1", "any-container"] {
        let stop = json!({ "sessionId": name });
        assert_eq!(client.refusal("sandbox.stop", stop).await, "not_found");
    }
    let commands =
        json!({"commands": ["echo `echo a` $(echo b)", "echo told; exit 7", "echo after"]});
    let ran = client.ok("sandbox.exec", with(commands)).await;
    let results = ran["results"].as_array().unwrap();
    assert_eq!(results[0]["stdout"], "a b\n", "{ran}");
    assert_eq!(
        (&results[1]["exitCode"], &results[1]["stdout"]),
        (&json!(7), &json!("told\n"))
    );
    assert_eq!(results[2]["stdout"], "after\n");
    let network = json!({"commands": ["ls /sys/class/net"]});
    let ran = client.ok("sandbox.exec", with(network)).await;
    assert_eq!(ran["results"][0]["stdout"], "lo\n", "{ran}");
    let bridge = json!({"network": "bridge"});
    assert_eq!(
        client.refusal("sandbox.initialize", bridge).await,
        "policy_denied"
    );
    let code = "const os = await import('node:os'); console.log('told'); return typeof os.cpus";
    let ran = client
        .ok("sandbox.run_js", with(json!({ "code": code })))
        .await;
    assert_eq!(
        (&ran["result"], &ran["logs"][0]["message"]),
        (&json!("function"), &json!("told"))
    );
    let listed = client.ok("sandbox.session.list", json!({})).await;
    let own = listed["sessions"].as_array().unwrap();
    assert!(
        own.iter()
            .any(|one| one["id"] == json!(id) && one["sessionId"] == json!(id))
    );
    program.stop().await;
}
