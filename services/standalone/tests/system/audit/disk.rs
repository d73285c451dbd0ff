//! A disk that is full, and one that can only be read.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::audit::records;
use testkit::mcp::{Client, Era};
use testkit::process::Program;
use tokio::time::{Instant, sleep};

use super::{ON, line, one_call, tool};
use crate::deployment::{Deployment, Kind, binary};
use crate::start::run;

/// A small file system of its own, unmounted when dropped.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(
            mounted.success(),
            "this test mounts a small file system, which needs root: run the tests as root"
        );
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves not a byte.
    fn fill(&self) {
        let mut size = 1 << 20;
        let mut filler = std::fs::File::create(self.path().join("filler")).unwrap();
        while size > 0 {
            if std::io::Write::write_all(&mut filler, &vec![b'x'; size]).is_err() {
                size /= 2;
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "umount");
    }
}

async fn until_ready(deployment: &Deployment, wanted: u16) -> Value {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let (status, body) = deployment.get("/readyz").await;
        if status == wanted {
            return serde_json::from_str(&body).unwrap();
        }
        assert!(Instant::now() < end, "not {wanted} but {status}: {body}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn full(policy: &str) {
    let disk = Disk::new("size=256k");
    let path = disk.path().join("audit.log");
    let file = path.display().to_string();
    let env = [
        ON,
        ("MCP_AUDIT_FILE", &*file),
        ("MCP_AUDIT_ON_FAILURE", policy),
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "100000"),
    ];
    let deployment = Deployment::start(Kind::Direct, &env).await;
    let client = deployment.client(Era::Modern);
    client.ok("dynamic.tool.create", tool("full.one")).await;
    one_call(&client).await;
    disk.fill();
    // The first call after that may be taken: the log is written behind it. A page has some room.
    let end = Instant::now() + Duration::from_secs(20);
    let change = json!({"name": "full.one", "patch": {"title": "T"}});
    let told = loop {
        let answer = client.call("dynamic.tool.update", change.clone()).await;
        if answer["isError"] == true {
            break answer["structuredContent"].clone();
        }
        assert!(Instant::now() < end, "changes go on without a disk");
    };
    assert_eq!(told["code"], "unavailable", "{told}");
    assert!(
        told["error"].as_str().unwrap().contains("audit log"),
        "{told}"
    );
    let (status, health) = deployment.get("/health").await;
    assert_eq!(status, 503);
    let health: Value = serde_json::from_str(&health).unwrap();
    let check = &health["checks"]["audit"];
    assert_eq!(
        (&check["status"], &check["failure"]),
        (&json!("unhealthy"), &json!("the disk is full")),
        "{health}"
    );
    if policy == "deny" {
        let ready = until_ready(&deployment, 503).await;
        assert!(ready.to_string().contains("audit"), "{ready}");
        let code = json!({"code": "return 1"});
        assert_eq!(
            client.refusal("run_js_ephemeral", code).await,
            "unavailable"
        );
        assert_eq!(
            client.refusal("full.one", json!({"n": 1})).await,
            "unavailable"
        );
    } else {
        until_ready(&deployment, 200).await;
        one_call(&client).await;
        client.ok("full.one", json!({"n": 1})).await;
    }
    let delete = json!({"name": "full.one"});
    assert_eq!(
        client.refusal("dynamic.tool.delete", delete.clone()).await,
        "unavailable"
    );
    client.ok("system.health", json!({})).await;
    assert!(client.names().await.iter().any(|name| name == "full.one"));
    let (_, metrics) = deployment.get("/metrics").await;
    let failures = metrics
        .lines()
        .find_map(|line| line.strip_prefix("mcp_audit_write_failures_total "));
    assert!(failures.unwrap().parse::<f64>().unwrap() > 0.0);

    disk.empty();
    until_ready(&deployment, 200).await;
    let end = Instant::now() + Duration::from_secs(10);
    while client.call("dynamic.tool.delete", delete.clone()).await["isError"] == true {
        assert!(Instant::now() < end, "it does not heal");
        sleep(Duration::from_millis(20)).await;
    }
    one_call(&client).await;
    deployment.stop().await;
    let records = records(&path);
    let tail: Vec<String> = records[records.len() - 5..].iter().map(line).collect();
    assert_eq!(
        tail,
        [
            "dynamic.tool.delete full.one begun -",
            "dynamic.tool.delete full.one success -",
            "run_js_ephemeral - begun -",
            "run_js_ephemeral - success -",
            "service.stop - success -",
        ]
    );
}

#[tokio::test]
async fn a_full_disk_stops_calls_and_heals() {
    full("deny").await;
}

#[tokio::test]
async fn a_full_disk_stops_changes_only_when_calls_are_allowed() {
    full("allow").await;
}

/// The rights of somebody who is nobody.
const NOBODY: u32 = 65_534;

fn give_to(path: &Path, owner: u32, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::os::unix::fs::chown(path, Some(owner), Some(owner)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn rights_that_are_lost_stop_changes_whatever_the_policy_and_everything_heals() {
    let folder = tempfile::tempdir().unwrap();
    give_to(folder.path(), NOBODY, 0o755);
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    give_to(&logs, NOBODY, 0o700);
    let program = binary("dynamic-mcp").display().to_string();
    let as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", &program];
    let env = [
        ("MCP_PORT", "0"),
        ON,
        ("MCP_AUDIT_FILE", "logs/audit.log"),
        ("MCP_AUDIT_ON_FAILURE", "allow"),
        ("MCP_EXECUTION_ENGINE", "isolate"),
    ];
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut program = Program::start(setpriv, folder.path(), &as_nobody, &env);
    let address = program
        .field_of_line("\"listener\":\"http\"", "address")
        .await;
    program
        .field_of_line("\"message\":\"ready\"", "program")
        .await;
    let client = Client::new(&address, Era::Modern);
    client.ok("dynamic.tool.create", tool("rights.one")).await;
    give_to(&logs, 0, 0o700);
    let change = json!({"name": "rights.one", "patch": {"title": "T"}});
    for _ in 0..3 {
        let refused = client.refusal("dynamic.tool.update", change.clone()).await;
        assert_eq!(refused, "unavailable");
        one_call(&client).await;
    }
    let health = testkit::http::exchange(&address, "GET", "/health", &[], b"").await;
    assert_eq!(health.status, 503);
    assert_eq!(
        health.json()["checks"]["audit"]["failure"],
        "permission denied"
    );
    give_to(&logs, NOBODY, 0o700);
    let end = Instant::now() + Duration::from_secs(10);
    while client.call("dynamic.tool.update", change.clone()).await["isError"] == true {
        assert!(Instant::now() < end, "it does not heal");
        sleep(Duration::from_millis(20)).await;
    }
    program.stop().await;
    let records = records(&logs.join("audit.log"));
    let calls = records
        .iter()
        .filter(|record| record["action"] == "run_js_ephemeral");
    assert_eq!(
        calls.count(),
        6,
        "what ran meanwhile is recorded: {records:?}"
    );
    let updates = records.iter().filter(|record| {
        record["action"] == "dynamic.tool.update" && record["result"] == "success"
    });
    assert_eq!(updates.count(), 1);
}

#[tokio::test]
async fn a_disk_that_can_only_be_read_is_named_at_the_start() {
    let disk = Disk::new("size=64k,ro");
    let folder = tempfile::tempdir().unwrap();
    let file = disk.path().join("logs/audit.log").display().to_string();
    let env = [("MCP_PORT", "0"), ON, ("MCP_AUDIT_FILE", &*file)];
    let ended = run("dynamic-mcp", folder.path(), &[], &env).await;
    ended.assert(1, &[&file, "Read-only", "MCP_AUDIT_ENABLED=false"]);
}
