//! The audit log of real processes: what is in it, where it goes on, and what happens without it.

mod copy;
mod credentials;
mod disk;
mod forged;
mod kills;
mod verified;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::audit::records;
use testkit::mcp::{Client, Era};

use crate::deployment::{Deployment, Kind};
use crate::start::{run, serve};

const ON: (&str, &str) = ("MCP_AUDIT_ENABLED", "true");

fn log_in(folder: &Path) -> PathBuf {
    folder.join(".dynamic-mcp/audit.log")
}

/// `action target result code`, with `-` for what is not there.
fn line(record: &Value) -> String {
    let member = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
    ["action", "target", "result", "code"].map(member).join(" ")
}

fn lines(records: &[Value]) -> Vec<String> {
    records.iter().map(line).collect()
}

fn tool(name: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"clientSecret": {"type": "string"}}});
    json!({"tool": {"name": name, "description": "d", "code": "return args.n === 3 ? boom() : args.n",
                    "inputSchema": schema}})
}

#[test]
fn every_action_is_in_the_document() {
    let document = include_str!("../../../../docs/audit.md");
    for action in domain::audit::Action::ALL {
        let row = format!("\n| `{}` | ", action.as_str());
        assert!(
            document.contains(&row),
            "docs/audit.md has no row of {row:?}"
        );
    }
}

async fn events(kind: Kind) {
    let admin = "an-admin-token-of-more-than-thirty-two-characters";
    let env = [
        ON,
        ("MCP_ADMIN_TOKEN", admin),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "3"),
    ];
    let deployment = Deployment::start(kind, &env).await;
    let client = deployment.client(Era::Modern);
    let mut operator = client.clone();
    operator.headers = vec![
        ("x-mcp-admin-token".to_owned(), admin.to_owned()),
        ("x-request-id".to_owned(), "request-7".to_owned()),
    ];
    let create = tool("audit.one");
    let refused = client.refusal("dynamic.tool.create", create.clone()).await;
    assert_eq!(refused, "permission_denied");
    operator.ok("dynamic.tool.create", create).await;
    operator
        .ok(
            "dynamic.tool.update",
            json!({"name": "audit.one", "patch": {"title": "T"}}),
        )
        .await;
    for enabled in [false, true] {
        let arguments = json!({"name": "audit.one", "enabled": enabled});
        operator.ok("dynamic.tool.enable", arguments).await;
    }
    client
        .ok("audit.one", json!({"n": 1, "clientSecret": "canary-1"}))
        .await;
    assert_eq!(
        client.refusal("audit.one", json!({"n": 3})).await,
        "tool_failed"
    );
    client.ok("audit.one", json!({"n": 2})).await;
    assert_eq!(client.refusal("audit.one", json!({})).await, "rate_limited");
    client
        .ok("run_js_ephemeral", json!({"code": "return 'canary-2'"}))
        .await;
    client.ok("system.health", json!({})).await;
    operator
        .ok("dynamic.tool.delete", json!({"name": "audit.one"}))
        .await;
    let (_, metrics) = deployment.get("/metrics").await;
    assert!(
        metrics.contains("mcp_audit_records_lost_total 0"),
        "{metrics}"
    );
    let (_, health) = deployment.get("/health").await;
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!(health["checks"]["audit"]["status"], "healthy", "{health}");

    let folder = deployment.stop_keeping().await;
    let path = log_in(folder.path());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("canary") && !text.contains(admin), "{text}");
    let all = records(&path);
    let calls: Vec<Value> = all
        .iter()
        .filter(|record| record["action"] != "http.auth")
        .cloned()
        .collect();
    let mut expected = vec!["service.start - success -".to_owned()];
    let mut pair = |of: &str, ended: &str| {
        expected.push(format!("{of} begun -"));
        expected.push(format!("{of} {ended}"));
    };
    pair("dynamic.tool.create audit.one", "denied permission_denied");
    pair("dynamic.tool.create audit.one", "success -");
    pair("dynamic.tool.update audit.one", "success -");
    pair("dynamic.tool.disable audit.one", "success -");
    pair("dynamic.tool.enable audit.one", "success -");
    pair("dynamic.exec audit.one", "success -");
    pair("dynamic.exec audit.one", "error tool_failed");
    pair("dynamic.exec audit.one", "success -");
    expected.push("dynamic.exec audit.one denied rate_limited".to_owned());
    let mut pair = |of: &str, ended: &str| {
        expected.push(format!("{of} begun -"));
        expected.push(format!("{of} {ended}"));
    };
    pair("run_js_ephemeral -", "success -");
    pair("dynamic.tool.delete audit.one", "success -");
    expected.push("service.stop - success -".to_owned());
    assert_eq!(lines(&calls), expected);
    let made = &calls[3];
    assert_eq!(made["requestId"], "request-7");
    assert_eq!(made["source"], "127.0.0.1");
    assert_eq!(made["serviceVersion"], env!("CARGO_PKG_VERSION"));
    let asked = &made["details"];
    let schema = &asked["inputSchema"]["properties"];
    assert_eq!(schema["clientSecret"], "[REDACTED]", "{asked}");
}

#[tokio::test]
async fn every_event_direct() {
    events(Kind::Direct).await;
}

#[tokio::test]
async fn every_event_three_processes() {
    events(Kind::Three).await;
}

#[tokio::test]
async fn the_profile_says_whether_there_is_a_log() {
    for (profile, enabled, there) in [
        ("mvp", None, false),
        ("enterprise", None, true),
        ("enterprise", Some("false"), false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut env = vec![("MCP_PROFILE", profile)];
        env.extend(enabled.map(|enabled| ("MCP_AUDIT_ENABLED", enabled)));
        let (program, client) = serve(folder.path(), &env).await;
        client.ok("system.health", json!({})).await;
        if profile == "enterprise" {
            let config = client.ok("system.runtime_config", json!({})).await;
            assert_eq!(config["audit"]["enabled"], there, "{config}");
        }
        program.stop().await;
        let path = log_in(folder.path());
        assert_eq!(path.exists(), there, "{profile} {enabled:?}");
    }
}

async fn one_call(client: &Client) {
    client
        .ok("run_js_ephemeral", json!({"code": "return 1"}))
        .await;
}

#[tokio::test]
async fn the_chain_outlives_restarts_kills_and_the_node_servers_log() {
    let old = r#"{"timestamp":"2026-01-01T00:00:00.000Z","service":"dynamic-mcp","action":"http.auth","result":"success"}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = log_in(folder.path());
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&path, format!("{old}\n")).unwrap();
    // Before the program starts another one is there that writes the same file.
    let (neighbour, beside) = serve(folder.path(), &[ON]).await;
    for round in 0..4 {
        let (mut program, client) = serve(folder.path(), &[ON]).await;
        one_call(&client).await;
        one_call(&beside).await;
        if round % 2 == 0 {
            client
                .ok("dynamic.tool.create", tool(&format!("kept.{round}")))
                .await;
            program.signal("KILL").await;
            program.ended(Duration::from_secs(5)).await;
            // As if it had been killed in the middle of a line.
            let mut file = std::fs::File::options().append(true).open(&path).unwrap();
            std::io::Write::write_all(&mut file, b"{\"timestamp\":\"2026").unwrap();
        } else {
            program.stop().await;
        }
    }
    neighbour.stop().await;
    let records = records(&path);
    assert_eq!(records[1]["seq"], 1, "a new segment after the old log");
    assert_eq!(records[1]["details"]["segment"], "afterLinesWithoutChain");
    assert_eq!(records.last().unwrap()["seq"], records.len() - 1);
    let said = lines(&records);
    for (wanted, count) in [
        ("service.start - success -", 5),
        ("service.stop - success -", 3),
        ("dynamic.tool.create kept.0 success -", 1),
        ("dynamic.tool.create kept.2 success -", 1),
        ("run_js_ephemeral - success -", 8),
    ] {
        let found = said.iter().filter(|said| *said == wanted).count();
        // The end of the last execution before a kill need not be on the disk.
        assert!(
            found == count || wanted.starts_with("run") && found > 4,
            "{wanted}: {found}"
        );
    }
}

#[tokio::test]
async fn full_files_are_put_aside_and_the_chain_goes_through_them() {
    let env = [
        ON,
        ("MCP_AUDIT_MAX_FILE_BYTES", "10000"),
        ("MCP_AUDIT_MAX_FILES", "3"),
    ];
    let deployment = Deployment::start(Kind::Direct, &env).await;
    let client = deployment.client(Era::Modern);
    client.ok("dynamic.tool.create", tool("rotated.one")).await;
    for n in 0..80 {
        client.ok("rotated.one", json!({"n": n + 10})).await;
    }
    let folder = deployment.stop_keeping().await;
    let path = log_in(folder.path());
    let aside = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
    assert!(aside(3).exists() && !aside(4).exists());
    for path in [path.clone(), aside(1), aside(2), aside(3)] {
        let len = std::fs::metadata(&path).unwrap().len();
        assert!((1..=10_000).contains(&len), "{}: {len}", path.display());
    }
    let records = records(&path);
    assert!(records[0]["seq"].as_u64() > Some(1), "the oldest are gone");
    assert_eq!(records.last().unwrap()["action"], "service.stop");
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_named_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a-file"), "").unwrap();
    let env = [
        ("MCP_PORT", "0"),
        ("MCP_PROFILE", "enterprise"),
        ("MCP_AUDIT_FILE", "a-file/audit.log"),
    ];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(
        1,
        &[
            "a-file/audit.log",
            "MCP_AUDIT_FILE",
            "MCP_AUDIT_ENABLED=false",
        ],
    );
}
