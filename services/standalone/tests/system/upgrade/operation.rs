//! U-701 to U-712: metrics, logs, the audit log, stopping, health checks.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::http::exchange;
use testkit::process::Program;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::http::{post, request};
use super::{checks, run, serve};
use crate::deployment::binary;

checks! {
    "U-701" => metrics_keep_their_names,
    "U-702" => logs_are_lines_on_stderr,
    "U-703" "U-704" => the_audit_log_goes_on_in_its_file,
    "U-705" => calls_that_cannot_be_recorded_are_refused,
    "U-707" => the_audit_file_is_for_its_owner_alone,
    "U-706" => a_stop_waits_for_calls,
    "U-711" => the_arguments_of_the_image,
    "U-712" => a_health_check_without_node,
}

const NODE: (&str, &str) = ("MCP_EXECUTION_ENGINE", "node");

async fn metrics_keep_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    client.ok("system.health", json!({})).await;
    let page = exchange(&client.address, "GET", "/metrics", &[], b"").await;
    assert_eq!(
        page.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = page.text();
    for (name, kind) in [
        ("dynamic_mcp_process_uptime_seconds", "gauge"),
        ("dynamic_mcp_http_sessions_active", "gauge"),
        ("dynamic_mcp_http_sessions_created_total", "counter"),
        ("dynamic_mcp_http_sessions_expired_total", "counter"),
        ("dynamic_mcp_http_auth_success_total", "counter"),
        ("dynamic_mcp_http_auth_denied_total", "counter"),
    ] {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap();
        if name.contains("sessions") {
            assert!(line.ends_with(" 0"), "{line}");
        }
    }
    assert!(
        text.contains("mcp_request_duration_seconds_count"),
        "{text}"
    );
    program.stop().await;
}

async fn logs_are_lines_on_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    client.ok("system.health", json!({})).await;
    for line in program.log() {
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
    program.stop().await;
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What the Node server has written stays, and its readers find its members in the new lines.
async fn the_audit_log_goes_on_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".dynamic-mcp/audit.log");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let old = json!({
        "timestamp": "2025-01-31T12:00:00.000Z", "service": "dynamic-mcp", "serviceVersion": "0.1.0",
        "action": "dynamic.tool.create", "actor": "admin", "target": "was.made", "result": "success"
    });
    std::fs::write(&path, format!("{old}\n")).unwrap();
    let (program, client) = serve(folder.path(), &[NODE, ("MCP_PROFILE", "enterprise")]).await;
    let tool = json!({"name": "is.made", "description": "d", "code": "return 1"});
    client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    client
        .ok(
            "is.made",
            json!({"args": {"password": "secret-in-arguments"}}),
        )
        .await;
    program.stop().await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(&format!("{old}\n")), "{text}");
    assert!(!text.contains("secret-in-arguments"), "{text}");
    let lines = lines(&path);
    let ended = |action: &str| {
        let found = lines[1..]
            .iter()
            .find(|l| l["action"] == action && l["result"] == "success");
        found.unwrap_or_else(|| panic!("no {action} in {text}"))
    };
    for (action, target) in [
        ("dynamic.tool.create", "is.made"),
        ("dynamic.exec", "is.made"),
    ] {
        let line = ended(action);
        assert_eq!(line["target"], target, "{line}");
        for member in ["timestamp", "service", "serviceVersion"] {
            assert!(line[member].is_string(), "{member}: {line}");
        }
        assert!(
            line["actor"].is_object() && line["prev"].is_string(),
            "{line}"
        );
    }
    ended("service.start");
    ended("service.stop");
    // Profile mvp has none unless it is told to, as before.
    let folder = tempfile::tempdir().unwrap();
    let (program, _) = serve(folder.path(), &[]).await;
    program.stop().await;
    assert!(!folder.path().join(".dynamic-mcp/audit.log").exists());
}

async fn calls_that_cannot_be_recorded_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let env = [
        ("MCP_PORT", "0"),
        ("MCP_AUDIT_ENABLED", "true"),
        ("MCP_AUDIT_FILE", "file/audit.log"),
    ];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(1, &["file/audit.log", "MCP_AUDIT_FILE"]);
}

async fn the_audit_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    std::fs::write(&path, "").unwrap();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&path, open).unwrap();
    let env = [
        ("MCP_AUDIT_ENABLED", "true"),
        ("MCP_AUDIT_FILE", "audit.log"),
    ];
    let (program, _) = serve(folder.path(), &env).await;
    program.stop().await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::os::unix::fs::symlink(&path, folder.path().join("link.log")).unwrap();
    let env = [("MCP_PORT", "0"), env[0], ("MCP_AUDIT_FILE", "link.log")];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(1, &["link.log", "MCP_AUDIT_FILE"]);
}

async fn a_stop_waits_for_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[NODE]).await;
    let address = client.address.clone();
    let code = "await new Promise((done) => setTimeout(done, 2000)); return 'done'";
    let mut call = JoinSet::new();
    call.spawn(async move {
        let params = json!({"name": "run_js_ephemeral", "arguments": {"code": code}});
        post(&address, "/mcp", &[], &request("tools/call", params)).await
    });
    sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    program.stop().await;
    assert!(began.elapsed() < Duration::from_secs(15));
    let last = call
        .join_next()
        .await
        .unwrap()
        .unwrap()
        .messages()
        .pop()
        .unwrap();
    assert_eq!(
        last["result"]["structuredContent"]["result"], "done",
        "{last}"
    );
}

async fn the_arguments_of_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--transport", "http", "--host", "127.0.0.1", "--port", "0"];
    let env = [
        ("NODE_ENV", "production"),
        ("MCP_HOST", "0.0.0.0"),
        ("MCP_PATH", "/mcp"),
    ];
    let mut program = Program::start(&binary("dynamic-mcp"), folder.path(), &arguments, &env);
    let address = program
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    program
        .field_of_line("\"message\":\"ready\"", "program")
        .await;
    assert_eq!(
        exchange(&address, "GET", "/readyz", &[], b"").await.status,
        200
    );
    program.stop().await;
}

async fn a_health_check_without_node() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = serve(folder.path(), &[]).await;
    let port = client.address.rsplit(':').next().unwrap();
    let env = [("MCP_PORT", port)];
    run("dynamic-mcp", folder.path(), &["health"], &env)
        .await
        .assert(0, &[]);
    program.stop().await;
    run("dynamic-mcp", folder.path(), &["health"], &env)
        .await
        .assert(1, &[]);
}
