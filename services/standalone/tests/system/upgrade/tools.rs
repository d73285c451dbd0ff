//! U-301 to U-318: managing tools.

use serde_json::{Value, json};
use testkit::mcp::{Client, Era};

use super::{checks, record, serve, write_store};

checks! {
    "U-301" "U-302" "U-312" => refusals_have_a_code,
    "U-303" => unknown_members_are_named,
    "U-304" => names_of_built_ins_are_taken,
    "U-305" "U-306" "U-307" "U-317" => images_and_dependencies_are_checked_early,
    "U-318" => long_lists_come_in_pages,
    "U-308" => a_time_limit_over_the_maximum,
    "U-309" "U-310" "U-311" => numbers_and_order,
    "U-313" => the_configuration_has_the_old_sections,
    "U-314" "U-315" => the_guard_counts_for_all_clients,
    "U-316" => the_admin_token_has_a_header,
}

const NODE: (&str, &str) = ("MCP_EXECUTION_ENGINE", "node");
const ENTERPRISE: (&str, &str) = ("MCP_PROFILE", "enterprise");

fn tool(name: &str, more: Value) -> Value {
    let mut tool = json!({"name": name, "description": "d", "code": "return 1"});
    for (key, value) in more.as_object().unwrap() {
        tool[key] = value.clone();
    }
    json!({"tool": tool})
}

async fn create(client: &Client, name: &str, more: Value) -> Result<Value, String> {
    let mut made = client.call("dynamic.tool.create", tool(name, more)).await;
    if made["isError"] == true {
        return Err(made["structuredContent"]["code"]
            .as_str()
            .unwrap()
            .to_owned());
    }
    Ok(made["structuredContent"]["tool"].take())
}

async fn refusals_have_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[ENTERPRISE]).await;
    let missing = json!({"name": "not.there"});
    let refused = client.call("dynamic.tool.get", missing).await;
    let text = refused["content"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("Dynamic tool not found: not.there"),
        "{text}"
    );
    assert!(text.ends_with("\n\nCode: not_found"), "{text}");
    let structured = &refused["structuredContent"];
    assert_eq!(
        (&structured["ok"], &structured["code"]),
        (&json!(false), &json!("not_found"))
    );
    let later = ["upstream.mcp.attach", "upstream.mcp.detach"];
    for name in ["not.there"].iter().chain(&later) {
        let error = client.response("tools/call", json!({"name": name})).await["error"].clone();
        assert_eq!(error["code"], -32_602, "{error}");
        assert_eq!(error["message"], format!("Unknown tool: {name}"));
    }
    let listed = client.names().await;
    assert!(
        later
            .iter()
            .all(|name| !listed.contains(&(*name).to_owned())),
        "{listed:?}"
    );
    program.stop().await;
}

async fn unknown_members_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    assert_eq!(
        create(&client, "with.colour", json!({"colour": "red"})).await,
        Err("invalid_argument".to_owned())
    );
    create(&client, "takes.args", json!({})).await.unwrap();
    for (name, arguments, member) in [
        ("takes.args", json!({"a": 1}), "a"),
        (
            "run_js_ephemeral",
            json!({"code": "return 1", "adminToken": "x"}),
            "adminToken",
        ),
        ("system.health", json!({"verbose": true}), "verbose"),
    ] {
        let refused = client.call(name, arguments).await;
        assert_eq!(
            refused["structuredContent"]["code"], "invalid_argument",
            "{refused}"
        );
        let said = refused["structuredContent"]["error"].as_str().unwrap();
        assert!(said.contains(member), "{said}");
    }
    // Where the Node server takes an admin token, it is taken also when none is configured.
    client
        .ok("dynamic.tool.list", json!({"adminToken": "x"}))
        .await;
    program.stop().await;
}

async fn names_of_built_ins_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    for name in [
        "run_js_ephemeral",
        "run_python_ephemeral",
        "system.health",
        "System.Health",
        "sandbox.exec",
        "dynamic.tool.mine",
        "Dynamic.Tool.mine",
        "upstream.mcp.attach",
    ] {
        let made = create(&client, name, json!({})).await;
        assert_eq!(made, Err("policy_denied".to_owned()), "{name}");
    }
    create(&client, "sandbox.mine", json!({})).await.unwrap();
    program.stop().await;
}

async fn images_and_dependencies_are_checked_early() {
    let folder = tempfile::tempdir().unwrap();
    let env = [("MCP_SANDBOX_MAX_DEPENDENCIES", "1")];
    let (program, client) = serve(folder.path(), &env).await;
    let one = |name: &str, version: &str| json!({"name": name, "version": version});
    let cases = [
        (json!({"image": "evil/image:1"}), "policy_denied"),
        (json!({"image": "not an image"}), "invalid_argument"),
        (
            json!({"dependencies": [one("pm2", "1.0.0")]}),
            "policy_denied",
        ),
        (
            json!({"dependencies": [one("a", "1.0.0"), one("b", "1.0.0")]}),
            "policy_denied",
        ),
        (
            json!({"dependencies": [one("zod", "latest")]}),
            "invalid_argument",
        ),
        (
            json!({"dependencies": [one("zod", "https://x.example/z.tgz")]}),
            "invalid_argument",
        ),
        (
            json!({"dependencies": [one("zod", "git+ssh://x.example/z")]}),
            "invalid_argument",
        ),
    ];
    let good = json!({"image": "node:lts-slim", "dependencies": [one("zod", "^3.0.0")]});
    create(&client, "is.good", good).await.unwrap();
    for (more, code) in cases {
        let made = create(&client, "is.bad", more.clone()).await;
        assert_eq!(made, Err(code.to_owned()), "{more}");
        let patch = json!({"name": "is.good", "patch": more});
        assert_eq!(
            client.refusal("dynamic.tool.update", patch).await,
            code,
            "{more}"
        );
    }
    program.stop().await;
    let twice = json!({"dependencies": [one("zod", "1.0.0"), one("zod", "2.0.0")]});
    let images = ("MCP_SANDBOX_ALLOWED_IMAGES", "mine:1,node:lts-slim");
    let (program, client) = serve(folder.path(), &[images]).await;
    let made = create(&client, "by.default", json!({})).await.unwrap();
    assert_eq!(made["image"], "mine:1");
    let made = create(&client, "by.name", json!({"image": "node:lts-slim"})).await;
    assert_eq!(made.unwrap()["image"], "node:lts-slim");
    let mut named = twice;
    named["image"] = json!("mine:1");
    assert_eq!(
        create(&client, "is.twice", named).await,
        Err("invalid_argument".to_owned())
    );
    program.stop().await;
}

async fn a_time_limit_over_the_maximum() {
    let folder = tempfile::tempdir().unwrap();
    let mut stored = record("was.stored", "return ctx.deadline - Date.now()");
    stored["timeoutMs"] = json!(120_000);
    write_store(folder.path(), &[stored]);
    let env = [NODE, ("MCP_SANDBOX_MAX_TIMEOUT_MS", "10000")];
    let (program, client) = serve(folder.path(), &env).await;
    let left = client.ok("was.stored", json!({})).await["result"]
        .as_f64()
        .unwrap();
    assert!(left <= 10_000.0 && left > 5_000.0, "{left} ms are left");
    for (name, more, good) in [
        ("is.long", json!({"timeoutMs": 10_001}), false),
        ("is.new", json!({"timeoutMs": 10_000}), true),
        ("is.silent", json!({}), true),
    ] {
        let made = create(&client, name, more).await;
        assert_eq!(made.is_ok(), good, "{made:?}");
        assert!(made.is_err() || made.unwrap()["timeoutMs"] == 10_000);
    }
    program.stop().await;
}

async fn long_lists_come_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let tools: Vec<Value> = (0..1_100)
        .map(|at| record(&format!("tool.{at}"), "return 1"))
        .collect();
    write_store(folder.path(), &tools);
    let (program, client) = serve(folder.path(), &[("MCP_DYNAMIC_MAX_TOOLS", "1100")]).await;
    let page = client.result("tools/list", json!({})).await;
    assert_eq!(page["tools"].as_array().unwrap().len(), 1_000);
    assert!(page["nextCursor"].is_string());
    let names = client.names().await;
    assert_eq!(
        names
            .iter()
            .filter(|name| name.starts_with("tool."))
            .count(),
        1_100
    );
    let managed = client.ok("dynamic.tool.list", json!({})).await;
    assert_eq!(
        managed["tools"].as_array().unwrap().len(),
        1_100,
        "pages only where asked for"
    );
    program.stop().await;
}

async fn numbers_and_order() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    for name in ["a.one", "a.Two", "a.two"] {
        assert_eq!(
            create(&client, name, json!({})).await.unwrap()["revision"],
            1
        );
    }
    let listed = client.ok("dynamic.tool.list", json!({})).await;
    let names: Vec<_> = listed["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["name"])
        .collect();
    assert_eq!(names, ["a.Two", "a.one", "a.two"]);
    let deleted = client
        .call("dynamic.tool.delete", json!({"name": "a.one"}))
        .await;
    assert_eq!(
        deleted["structuredContent"],
        json!({"name": "a.one", "deleted": true})
    );
    assert_eq!(deleted["content"][0]["text"], "Deleted dynamic tool: a.one");
    let again = create(&client, "a.one", json!({})).await.unwrap();
    assert!(again["revision"].as_u64().unwrap() > 1, "{again}");
    program.stop().await;
}

async fn the_configuration_has_the_old_sections() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[ENTERPRISE]).await;
    let told = client.ok("system.runtime_config", json!({})).await;
    for (section, members) in [
        (
            "dynamic",
            &[
                "backend",
                "maxTools",
                "readOnly",
                "requireAdminToken",
                "adminTokenConfigured",
            ][..],
        ),
        ("auth", &["mode", "jwtConfigured", "requiredScopes"]),
        (
            "security",
            &[
                "toolMaxConcurrency",
                "toolMaxCallsPerWindow",
                "toolRateWindowMs",
            ],
        ),
        (
            "sandbox",
            &[
                "executionEngine",
                "memoryLimit",
                "cpuLimit",
                "maxDependencies",
                "maxOutputBytes",
                "maxTimeoutMs",
                "allowedImagesCount",
                "blockedPackagesCount",
                "sessionTimeoutSeconds",
                "maxSessions",
            ],
        ),
        ("audit", &["enabled"]),
        ("experimental", &["upstreamMcpAttach", "absentTools"]),
    ] {
        for member in members {
            assert!(
                !told[section][member].is_null(),
                "{section}.{member}: {told}"
            );
        }
    }
    assert_eq!(told["transports"], json!(["stdio", "http"]));
    assert_eq!(told["dynamic"]["backend"], "sqlite");
    assert!(told["sandbox"]["cpuLimit"].is_number(), "{told}");
    program.stop().await;
}

async fn the_guard_counts_for_all_clients() {
    let folder = tempfile::tempdir().unwrap();
    let env = [NODE, ENTERPRISE, ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "2")];
    let (program, client) = serve(folder.path(), &env).await;
    let other = Client::new(&client.address, Era::Legacy);
    let throws = json!({"code": "throw new Error('x')"});
    assert_eq!(
        client.refusal("run_js_ephemeral", throws.clone()).await,
        "tool_failed"
    );
    assert_eq!(
        other.refusal("run_js_ephemeral", throws.clone()).await,
        "tool_failed"
    );
    assert_eq!(
        other.refusal("run_js_ephemeral", throws).await,
        "rate_limited"
    );
    let metrics = client.ok("system.guard_metrics", json!({})).await;
    let scopes = metrics["scopes"].as_array().unwrap();
    let scope = scopes
        .iter()
        .find(|scope| scope["scope"] == "run_js_ephemeral")
        .unwrap();
    assert_eq!(
        (&scope["total"], &scope["rejectedRate"]),
        (&json!(3), &json!(1)),
        "{scope}"
    );
    assert_eq!(
        scope["failed"], 2,
        "a result with isError is a failed call: {scope}"
    );
    program.stop().await;
}

async fn the_admin_token_has_a_header() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    let (program, mut client) = serve(folder.path(), &[NODE, ("MCP_ADMIN_TOKEN", secret)]).await;
    assert_eq!(
        client.refusal("dynamic.tool.list", json!({})).await,
        "permission_denied"
    );
    let wrong = json!({"adminToken": "wrong"});
    assert_eq!(
        client.refusal("dynamic.tool.list", wrong).await,
        "permission_denied"
    );
    client
        .ok("dynamic.tool.list", json!({"adminToken": secret}))
        .await;
    client
        .ok("run_js_ephemeral", json!({"code": "return 1"}))
        .await;
    client.headers = vec![("x-mcp-admin-token".to_owned(), secret.to_owned())];
    client.ok("dynamic.tool.list", json!({})).await;
    client.headers[0].1 = "wrong".to_owned();
    assert_eq!(client.send("tools/list", json!({})).await.status, 401);
    program.stop().await;
}
