//! Profiles of a running service: who may have one, and what is in it.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::http::{Answer, exchange};
use testkit::mcp::Era;
use testkit::pprof;
use tokio::time::{Instant, sleep};

use super::{CANARY, tool};
use crate::deployment::{Deployment, Kind};

const ADMIN: &str = "an-admin-token-of-more-than-thirty-two-characters";

#[tokio::test]
async fn metrics_have_a_port_of_their_own_and_a_profile_is_in_the_audit_log() {
    let env = [
        ("METRICS_PORT", "0"),
        ("MCP_ADMIN_TOKEN", ADMIN),
        ("MCP_AUDIT_ENABLED", "true"),
    ];
    let mut deployment = Deployment::start(Kind::Direct, &env).await;
    let front = &mut deployment.front;
    let admin = front
        .field_of_line("\"listener\":\"admin\"", "address")
        .await;
    let get = async |path: &str, headers: &[(&str, &str)]| {
        exchange(&admin, "GET", path, headers, b"").await
    };
    let text = get("/metrics", &[]).await.text();
    for name in [
        "mcp_build_info",
        "dynamic_mcp_http_auth_success_total",
        "process_open_fds",
    ] {
        assert!(text.contains(name), "{text}");
    }
    assert_eq!(deployment.get("/metrics").await.0, 404);
    assert_eq!(
        deployment.get("/debug/pprof/profile?seconds=1").await.0,
        404
    );
    let token = [("x-mcp-admin-token", ADMIN), ("x-request-id", "profile-1")];
    let taken = get("/debug/pprof/profile?seconds=1", &token).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    let taken = get("/debug/pprof/heap?seconds=1", &token[1..]).await;
    assert_eq!(taken.status, 401, "{}", taken.text());
    assert_eq!(deployment.get("/debug/pprof/heap?seconds=1").await.0, 404);
    let seconds = assert_heap(&deployment, async |seconds| {
        get(&format!("/debug/pprof/heap?seconds={seconds}"), &token).await
    })
    .await;
    let records = profiles(&deployment);
    let heaps = seconds
        .iter()
        .map(|seconds| json!({"kind": "heap", "seconds": seconds}));
    let mut details = vec![json!({"kind": "cpu", "seconds": 1})];
    details.extend(heaps);
    assert_eq!(records.len(), details.len());
    for (record, details) in records.iter().zip(details) {
        assert_eq!(record["actor"], json!({"subject": "admin-token"}));
        assert_eq!(record["requestId"], "profile-1");
        assert_eq!(record["details"], details);
    }
    assert!(!audit(&deployment).contains(ADMIN));
    deployment.stop().await;
}

fn audit(deployment: &Deployment) -> String {
    std::fs::read_to_string(deployment.folder().join(".dynamic-mcp/audit.log")).unwrap()
}

/// What is on record of profiles.
fn profiles(deployment: &Deployment) -> Vec<Value> {
    let audit = audit(deployment);
    // The last line may be half written.
    let lines = audit
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let lines = lines.filter(|line| line.contains("service.profile"));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Calls with large arguments while a heap profile is taken are in it. Gives back how long those were that it
/// took, in seconds: the calls have to be over before it is.
async fn assert_heap(deployment: &Deployment, heap: impl AsyncFn(u64) -> Answer) -> Vec<u64> {
    let mut client = deployment.client(Era::Modern);
    let admin = ("x-mcp-admin-token".to_owned(), ADMIN.to_owned());
    client.headers.push(admin);
    client
        .ok("dynamic.tool.create", tool("heap.one", "return 1"))
        .await;
    let large = json!({"args": {"text": CANARY.repeat(40_000)}});
    let mut lengths = Vec::new();
    for seconds in [2, 8, 32] {
        lengths.push(seconds);
        let began = Instant::now();
        let calls = async {
            while profiles(deployment).len() < 1 + lengths.len() {
                sleep(Duration::from_millis(10)).await;
            }
            // It is on record, and begins.
            sleep(Duration::from_millis(300)).await;
            for _ in 0..10 {
                client.ok("heap.one", large.clone()).await;
            }
            began.elapsed()
        };
        let (taken, took) = tokio::join!(heap(seconds), calls);
        // A busy machine takes longer for them than the profile lasts.
        if took < Duration::from_secs(seconds) {
            assert_taken(&taken);
            return lengths;
        }
    }
    panic!("ten calls took longer than half a minute");
}

fn assert_taken(taken: &Answer) {
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert!(!taken.text().contains(CANARY), "data in a profile");
    let stacks = pprof::stacks(&taken.body);
    let ours: Vec<_> = stacks
        .iter()
        .filter(|stack| {
            stack
                .functions
                .iter()
                .any(|name| name.contains("gateway::"))
        })
        .collect();
    let sum = |kind: &str| ours.iter().map(|stack| stack.values[kind]).sum::<i64>();
    // Ten times half a megabyte came in, each at least once copied.
    assert!(sum("alloc_space") > 4_000_000, "{stacks:#?}");
    // What calls needed is given back.
    assert!(sum("inuse_space") < sum("alloc_space") / 2, "{ours:#?}");
}
