//! Promises that hold over the whole product and that no part can keep alone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use testkit::mcp::Era;
use testkit::process::Program;
use tokio::time::{Instant, sleep};

use crate::deployment::{Deployment, Kind};
use crate::start::serve;

const KINDS: [Kind; 3] = [Kind::Direct, Kind::Pipes, Kind::Three];

/// The samples of a page of metrics, by name with labels.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().unwrap()))
        })
        .collect()
}

/// The sum of a metric over all its labels.
fn total(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    let of = |sample: &&String| sample.split('{').next() == Some(name);
    samples.keys().filter(of).map(|key| samples[key]).sum()
}

/// The metrics of all processes of a deployment, added up.
async fn metrics(deployment: &mut Deployment) -> BTreeMap<String, f64> {
    let mut all = samples(&deployment.get("/metrics").await.1);
    if let Some(inner) = &mut deployment.inner {
        for program in [&mut inner.registry, &mut inner.executor] {
            let line = "\"listener\":\"admin\"";
            let address = program.field_of_line(line, "address").await;
            let page = testkit::http::exchange(&address, "GET", "/metrics", &[], b"").await;
            for (name, value) in samples(&page.text()) {
                *all.entry(name).or_default() += value;
            }
        }
    }
    all
}

async fn logged(program: &Program, texts: &[&str]) {
    let end = Instant::now() + Duration::from_secs(10);
    let found = |line: &String| texts.iter().all(|text| line.contains(text));
    while !program.log().iter().any(found) {
        let log = program.log().join("\n");
        assert!(Instant::now() < end, "no line with {texts:?}:\n{log}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_this_version_feeds_moves() {
    for kind in KINDS {
        let env = [
            ("MCP_PROFILE", "enterprise"),
            ("MCP_ADMIN_TOKEN", "correct horse battery staple for a test"),
            ("MCP_SANDBOX_POOL_SIZE", "1"),
        ];
        let mut deployment = Deployment::start(kind, &env).await;
        let before = metrics(&mut deployment).await;
        let mut client = deployment.client(Era::Modern);
        let admin = ("x-mcp-admin-token".to_owned(), env[1].1.to_owned());
        client.headers = vec![("x-mcp-admin-token".to_owned(), "wrong".to_owned())];
        assert_eq!(client.send("tools/list", json!({})).await.status, 401);
        client.headers = vec![admin];
        let rate = json!({"maxCalls": 1, "windowMs": 60_000});
        let tool = json!({
            "name": "moves", "description": "d", "code": "return 1", "rateLimit": rate
        });
        client
            .ok("dynamic.tool.create", json!({"tool": tool}))
            .await;
        client.ok("moves", json!({})).await;
        assert_eq!(client.refusal("moves", json!({})).await, "rate_limited");
        // More at once than there are sandboxes waiting; on a busy machine they may come one by one.
        for _ in 0..20 {
            let code = json!({"code": "return 1"});
            let calls = (0..4).map(|_| client.ok("run_js_ephemeral", code.clone()));
            futures::future::join_all(calls).await;
            if total(
                &metrics(&mut deployment).await,
                "mcp_sandbox_pool_misses_total",
            ) > 0.0
            {
                break;
            }
        }
        let after = metrics(&mut deployment).await;
        let grows = |name: &str, by: f64| {
            let (before, after) = (total(&before, name), total(&after, name));
            assert!(after >= before + by, "{kind:?} {name}: {before} to {after}");
        };
        grows("dynamic_mcp_process_uptime_seconds", 0.001);
        grows("dynamic_mcp_http_auth_success_total", 5.0);
        grows("dynamic_mcp_http_auth_denied_total", 1.0);
        grows("mcp_request_duration_seconds_count", 6.0);
        grows("mcp_tool_executions_total", 5.0);
        grows("mcp_tool_execution_duration_seconds_count", 3.0);
        grows("mcp_tool_queue_wait_seconds_count", 3.0);
        grows("mcp_guard_rejections_total", 1.0);
        grows("mcp_sandbox_pool_hits_total", 1.0);
        grows("mcp_sandbox_pool_misses_total", 1.0);
        grows("mcp_sandbox_create_duration_seconds_count", 2.0);
        grows("mcp_registry_query_duration_seconds_count", 1.0);
        grows("mcp_catalogue_version", 1.0);
        grows("mcp_catalogue_tools", 1.0);
        if kind != Kind::Direct {
            grows("mcp_grpc_client_duration_seconds_count", 4.0);
            grows("mcp_grpc_server_duration_seconds_count", 4.0);
        }
        for gauge in [
            "mcp_requests_in_flight",
            "mcp_executor_capacity",
            "mcp_catalogue_age_seconds",
            "mcp_sandbox_pool_size",
            "mcp_build_info",
            "process_resident_memory_bytes",
            "process_open_fds",
        ] {
            assert!(total(&after, gauge) > 0.0, "{kind:?} {gauge}");
        }
        // None of these is to move here, but each has to be there.
        for kept in [
            "dynamic_mcp_http_sessions_active",
            "dynamic_mcp_http_sessions_created_total",
            "dynamic_mcp_http_sessions_expired_total",
            "mcp_panics_total",
            "mcp_registry_unreadable_records_total",
        ] {
            assert_eq!(after.get(kept), Some(&0.0), "{kind:?} {kept}");
        }
        deployment.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_in_the_answer_the_code_and_every_log() {
    let env = [("LOG_LEVEL", "info,rpc=debug")];
    let deployment = Deployment::start(Kind::Three, &env).await;
    let mut client = deployment.client(Era::Modern);
    client.headers = vec![("x-request-id".to_owned(), "seen-everywhere-1".to_owned())];
    let tool = json!({"name": "who", "description": "d", "code": "return ctx.requestId"});
    client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    let said = client.ok("who", json!({})).await;
    assert_eq!(said["result"], "seen-everywhere-1");
    let answer = client.send("tools/call", json!({"name": "nobody"})).await;
    assert_eq!(answer.headers["x-request-id"], "seen-everywhere-1");
    let error = answer.json()["error"].clone();
    assert_eq!(error["data"]["requestId"], "seen-everywhere-1", "{error}");
    let inner = deployment.inner.as_ref().unwrap();
    for (program, method) in [
        (&deployment.front, "\"tool\":\"who\""),
        (&inner.registry, "\"method\":\"Create\""),
        (&inner.executor, "\"method\":\"Run\""),
    ] {
        logged(program, &["seen-everywhere-1", method]).await;
    }
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_told_as_clients_of_the_node_server_know_it() {
    for kind in KINDS {
        let deployment = Deployment::start(kind, &[("MCP_PROFILE", "enterprise")]).await;
        let client = deployment.client(Era::Modern);
        let told = client.ok("system.runtime_config", json!({})).await;
        let uri = json!({"uri": "dynamic://service/runtime-config"});
        let read = client.result("resources/read", uri).await;
        let text = read["contents"][0]["text"].as_str().unwrap();
        let resource: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(resource, told, "{kind:?}");
        for (section, members) in [
            (
                "dynamic",
                &["requireAdminToken", "adminTokenConfigured"][..],
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
                    "maxDependencies",
                    "maxTimeoutMs",
                    "allowedImagesCount",
                    "blockedPackagesCount",
                ],
            ),
            ("audit", &["enabled"]),
            ("experimental", &["upstreamMcpAttach", "absentTools"]),
        ] {
            for member in members {
                assert!(
                    !told[section][member].is_null(),
                    "{kind:?} {section}.{member}: {told}"
                );
            }
        }
        assert_eq!(told["auth"]["mode"], "none");
        assert_eq!(told["sandbox"]["allowedImagesCount"], 2);
        let absent = json!(["upstream.mcp.attach", "upstream.mcp.detach"]);
        assert_eq!(told["experimental"]["absentTools"], absent);
        let listed = client.names().await;
        assert!(
            !listed.iter().any(|name| name.starts_with("upstream.")),
            "{listed:?}"
        );
        deployment.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_tools_that_the_engine_cannot_run_are_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    let dependencies = json!([{"name": "left-pad", "version": "1.3.0"}]);
    for (name, dependencies) in [("needs.npm", dependencies), ("needs.nothing", json!([]))] {
        let tool = json!({
            "name": name, "description": "d", "code": "return 1", "dependencies": dependencies
        });
        client
            .ok("dynamic.tool.create", json!({"tool": tool}))
            .await;
    }
    assert_eq!(
        client.refusal("needs.npm", json!({})).await,
        "policy_denied"
    );
    program.stop().await;
    let (program, _) = serve(folder.path(), &[("MCP_EXECUTION_ENGINE", "node")]).await;
    logged(
        &program,
        &["WARN", "\"tools\":\"needs.npm\"", "policy_denied"],
    )
    .await;
    program.stop().await;
}
