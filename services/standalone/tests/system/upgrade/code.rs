//! U-501 to U-513: what the code of a tool can use.

use serde_json::{Value, json};
use testkit::mcp::Client;

use crate::packages;

use super::{checks, document, record, run, serve, write_store};

checks! {
    "U-501" => the_isolate_engine_has_no_node,
    "U-502" "U-503" "U-510" => the_docker_engine_runs_tools,
    "U-504" => dependencies_are_resolved_and_installed_once,
    "U-505" "U-506" "U-507" => code_is_the_body_of_a_function,
    "U-513" => sandboxes_wait,
    "U-511" => a_daemon_that_is_not_there_ends_the_start,
    "U-512" => an_image_that_is_not_there_is_said,
    "U-509" => a_container_is_narrow,
    "U-508" => limits_hold_for_every_sandbox,
}

const NODE: (&str, &str) = ("MCP_EXECUTION_ENGINE", "node");

async fn ran(client: &Client, code: &str) -> Value {
    let mut result = client.call("run_js_ephemeral", json!({"code": code})).await;
    result["structuredContent"].take()
}

async fn the_isolate_engine_has_no_node() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    for code in [
        "return process.env",
        "return Buffer.from('a')",
        "return await fetch('http://127.0.0.1/')",
        "return await import('node:fs')",
        "return require('fs')",
    ] {
        let failed = ran(&client, code).await;
        assert_eq!(failed["code"], "tool_failed", "{code}: {failed}");
        let said = failed["error"].as_str().unwrap();
        assert!(
            said.contains("must run on the Docker engine"),
            "{code}: {said}"
        );
    }
    assert_eq!(
        ran(&client, "return Intl.NumberFormat()").await["ok"],
        false
    );
    let globals = "return [typeof console, typeof URL, typeof crypto, typeof setTimeout].join()";
    assert_eq!(
        ran(&client, globals).await["result"],
        "object,function,object,function"
    );
    program.stop().await;
}

/// Docker with an image of this machine; the daemon's API alone is used.
async fn the_docker_engine_runs_tools() {
    let folder = tempfile::tempdir().unwrap();
    let image = ("MCP_SANDBOX_ALLOWED_IMAGES", "dynamic-mcp-test/node:1");
    for engine in ["docker", "auto"] {
        let env = [("MCP_EXECUTION_ENGINE", engine), image];
        let (program, client) = serve(folder.path(), &env).await;
        let log = program.log().join("\n");
        assert!(log.contains("\"engine\":\"docker\""), "{engine}: {log}");
        let code = "const fs = await import('node:fs'); return [typeof fs.readFileSync, args]";
        let arguments = json!({"code": code, "args": {"a": 1}});
        let result = client.call("run_js_ephemeral", arguments).await;
        let structured = &result["structuredContent"];
        assert_eq!(
            structured["result"],
            json!(["function", {"a": 1}]),
            "{result}"
        );
        assert_eq!(result["_meta"]["dynamic-mcp/engine"], "docker");
        let offline = ran(&client, "return await fetch('http://192.0.2.1/')").await;
        assert_eq!(offline["code"], "tool_failed", "{offline}");
        program.stop().await;
    }
    // Neither a shell nor anything else but node.
    let bare = ("MCP_SANDBOX_ALLOWED_IMAGES", "dynamic-mcp-test/node-bare:1");
    let env = [("MCP_EXECUTION_ENGINE", "docker"), bare];
    let (program, client) = serve(folder.path(), &env).await;
    assert_eq!(ran(&client, "return 1").await["result"], 1);
    program.stop().await;
    let missing = ("MCP_SANDBOX_ALLOWED_IMAGES", "127.0.0.1:9/no-such/image:1");
    let env = [("MCP_EXECUTION_ENGINE", "auto"), missing];
    let (program, client) = serve(folder.path(), &env).await;
    let log = program.log().join("\n");
    assert!(log.contains("\"engine\":\"isolate\""), "{log}");
    assert_eq!(ran(&client, "return 1").await["result"], 1);
    program.stop().await;
}

async fn sandboxes_wait() {
    let folder = tempfile::tempdir().unwrap();
    for (env, waiting) in [
        (vec![NODE], 2),
        (vec![NODE, ("MCP_SANDBOX_POOL_SIZE", "0")], 0),
    ] {
        let (program, client) = serve(folder.path(), &env).await;
        assert_eq!(ran(&client, "return 1").await["result"], 1);
        let page = testkit::http::exchange(&client.address, "GET", "/health", &[], b"").await;
        let executor = &page.json()["checks"]["executor"];
        assert_eq!(executor["poolSize"], waiting, "{executor}");
        program.stop().await;
    }
}

async fn a_daemon_that_is_not_there_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("MCP_PORT", "0"),
        ("MCP_EXECUTION_ENGINE", "docker"),
        ("DOCKER_HOST", "unix:///no/such/docker.sock"),
    ];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    let said = &document::line("U-511").said[0];
    ended.assert(
        1,
        &[
            &format!("{said} unix:///no/such/docker.sock"),
            "DOCKER_HOST",
        ],
    );
}

async fn an_image_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let image = ("MCP_SANDBOX_ALLOWED_IMAGES", "127.0.0.1:9/no/such-image:1");
    let (program, client) =
        serve(folder.path(), &[("MCP_EXECUTION_ENGINE", "docker"), image]).await;
    let began = tokio::time::Instant::now();
    let refused = ran(&client, "return 1").await;
    assert_eq!(refused["code"], "unavailable", "{refused}");
    assert_eq!(refused["mayHaveRun"], false, "{refused}");
    assert!(
        began.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    program.stop().await;
}

async fn a_container_is_narrow() {
    let folder = tempfile::tempdir().unwrap();
    let image = ("MCP_SANDBOX_ALLOWED_IMAGES", "dynamic-mcp-test/node:1");
    let (program, client) =
        serve(folder.path(), &[("MCP_EXECUTION_ENGINE", "docker"), image]).await;
    let code = "const fs = await import('node:fs');
        fs.writeFileSync('/workspace/a', 'a');
        fs.writeFileSync('/tmp/b', 'b');
        const denied = (path) => { try { fs.writeFileSync(path, 'x'); } catch (e) { return e.code; } };
        const size = (path) => { const at = fs.statfsSync(path); return at.blocks * at.bsize; };
        return {
          user: [process.getuid(), process.getgid()], root: denied('/c'), home: denied('/home/c'),
          sizes: [size('/workspace'), size('/tmp')], at: process.cwd(),
          pids: fs.readFileSync('/sys/fs/cgroup/pids/pids.max', 'utf8').trim(),
        };";
    let result = ran(&client, code).await;
    let found = &result["result"];
    assert_eq!(found["user"], json!([65_532, 65_532]), "{result}");
    assert_eq!(found["at"], "/workspace", "{result}");
    assert_eq!(
        (&found["root"], &found["home"]),
        (&json!("EROFS"), &json!("EROFS")),
        "{result}"
    );
    assert_eq!(found["sizes"], json!([64 << 20, 64 << 20]), "{result}");
    assert_eq!(found["pids"], "64", "{result}");
    program.stop().await;
}

async fn dependencies_are_resolved_and_installed_once() {
    let mut dependent = record("has.some", "return require('ms')('2 days')");
    dependent["dependencies"] = json!([{"name": "ms", "version": "^2.1.0"}]);
    let mine = json!({
        "code": "return require('ms')('1s')",
        "dependencies": [{"name": "ms", "version": "2.1.3"}],
    });

    let folder = tempfile::tempdir().unwrap();
    write_store(
        folder.path(),
        &[dependent.clone(), record("has.none", "return 2")],
    );
    let (program, client) = serve(folder.path(), &[NODE]).await;
    let refused = client.refusal("has.some", json!({})).await;
    assert_eq!(refused, "policy_denied");
    let refused = client.refusal("run_js_ephemeral", mine.clone()).await;
    assert_eq!(refused, "policy_denied");
    let log = program.log().join("\n");
    assert!(log.contains("\"tools\":\"has.some\""), "{log}");
    program.stop().await;

    // The same store on Docker: the tool that was taken over gets its lockfile with the first call.
    let trusted = packages::trusted();
    let mut env = vec![
        ("MCP_EXECUTION_ENGINE", "docker"),
        (
            "MCP_SANDBOX_ALLOWED_IMAGES",
            "dynamic-mcp-test/node:1,node:lts-slim",
        ),
    ];
    env.extend(trusted.iter().map(|(name, file)| (*name, file.as_str())));
    dependent["image"] = json!("dynamic-mcp-test/node:1");
    let folder = tempfile::tempdir().unwrap();
    write_store(folder.path(), &[dependent]);
    let (program, client) = serve(folder.path(), &env).await;
    let answer = client.ok("has.some", json!({})).await;
    assert_eq!(answer["result"], json!(172_800_000));
    let got = client
        .ok("dynamic.tool.get", json!({"name": "has.some"}))
        .await;
    let locked = &got["tool"]["lockfile"]["packages"][0];
    assert_eq!(locked["name"], "ms", "{got}");
    let answer = client.ok("run_js_ephemeral", mine).await;
    assert_eq!(answer["result"], json!(1_000));
    let log = program.log().join("\n");
    assert!(!log.contains("\"tools\":\"has.some\""), "{log}");
    program.stop().await;
    packages::remove(folder.path()).await;
}

async fn code_is_the_body_of_a_function() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    for (code, result) in [
        ("undeclared = 1; return undeclared", json!(1)),
        ("'use strict'; return this === undefined", json!(true)),
        ("return arguments.length", json!(2)),
        ("return new Date(0).getTimezoneOffset()", json!(0)),
        ("return 1 // a last comment", json!(1)),
    ] {
        assert_eq!(ran(&client, code).await["result"], result, "{code}");
    }
    for code in [
        "return import.meta.url",
        "return more();\n}\nfunction more() {\nreturn 1;",
    ] {
        assert_eq!(ran(&client, code).await["code"], "tool_failed", "{code}");
    }
    program.stop().await;
    let (program, client) = serve(folder.path(), &[NODE, ("TZ", "Asia/Tokyo")]).await;
    let offset = ran(&client, "return new Date(0).getTimezoneOffset()").await;
    assert_eq!(offset["result"], 0, "{offset}");
    program.stop().await;
}

async fn limits_hold_for_every_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let env = [
        NODE,
        ("MCP_SANDBOX_MEMORY_LIMIT", "64m"),
        ("MCP_SANDBOX_CPU_LIMIT", "0.05"),
    ];
    let (program, client) = serve(folder.path(), &env).await;
    // Beside the heap of JavaScript, where the Node server's limit does not reach.
    let code = "const all = []; for (;;) all.push(new ArrayBuffer(8 << 20))";
    assert_eq!(ran(&client, code).await["code"], "out_of_memory");
    let arguments = json!({"code": "for (;;) {}", "timeoutMs": 30_000});
    let result = client.call("run_js_ephemeral", arguments).await;
    let structured = &result["structuredContent"];
    assert_eq!(structured["code"], "timeout", "{result}");
    assert!(
        structured["error"].as_str().unwrap().contains("CPU"),
        "{result}"
    );
    program.stop().await;
}
