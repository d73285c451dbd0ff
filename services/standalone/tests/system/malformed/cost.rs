//! Row 90: what any caller may send costs us less than a hundred times what it costs to send, in memory
//! and in processor time. Running code is left out: what it may use has limits of its own.

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::http::exchange;
use testkit::mcp::Era;
use testkit::process::Program;

use crate::deployment::{Deployment, Kind};

/// Size of a body.
const BYTES: usize = 10 << 10;
/// Bodies at once, and how often.
const AT_ONCE: usize = 32;
const TIMES: usize = 4;
/// How much more it may cost us.
const MOST: u64 = 100;

/// Ticks of processor time, a hundredth of a second each, that a process has used.
fn ticks(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let field = |at: usize| -> u64 { fields.split(' ').nth(at).unwrap().parse().unwrap() };
    field(11) + field(12)
}

/// The most memory that a process ever had, in KiB.
fn peak_kib(process: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}

/// A body of each kind.
fn kinds() -> Vec<(&'static str, Vec<u8>)> {
    let long = "x".repeat(BYTES);
    let message = |method: &str, params: Value| {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        body.to_string().into_bytes()
    };
    let call = |name: &str, arguments: Value| {
        message("tools/call", json!({"name": name, "arguments": arguments}))
    };
    let numbers: Vec<u32> = (0..2_000).collect();
    let members: serde_json::Map<String, Value> =
        (0..800).map(|at| (format!("m{at}"), json!(at))).collect();
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let deep = vec![nested(90); BYTES / 180].join(",");
    let deep = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"a":[{deep}]}}}}"#);
    let escapes = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"{}","params":{{}}}}"#,
        r"\u0001".repeat(BYTES / 6)
    );
    vec![
        ("ping", message("ping", json!({"a": long}))),
        (
            "initialize",
            message(
                "initialize",
                json!({"protocolVersion": "2025-11-25", "capabilities": members,
                    "clientInfo": {"name": long, "version": "1"}}),
            ),
        ),
        ("list", message("tools/list", json!({"cursor": long}))),
        ("read", message("resources/read", json!({"uri": long}))),
        ("unknown method", message(&long, json!({}))),
        ("unknown tool", call(&long, json!({}))),
        (
            "arguments that do not fit",
            call("cost.one", json!({"n": numbers})),
        ),
        ("members that do not fit", call("cost.one", json!(members))),
        (
            "a text that does not match",
            call("cost.one", json!({"t": long})),
        ),
        (
            "management refused",
            call("dynamic.tool.get", json!({"name": long})),
        ),
        ("no JSON", long.clone().into_bytes()),
        ("deep JSON", deep.into_bytes()),
        ("escapes", escapes.into_bytes()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threat_90_a_request_costs_less_than_a_hundred_times_what_it_costs_to_send() {
    let deployment = Deployment::start(Kind::Direct, &[]).await;
    let client = deployment.client(Era::Legacy);
    let schema = json!({"type": "object", "additionalProperties": false, "properties": {
        "n": {"type": "array", "items": {"type": "string"}, "uniqueItems": true},
        "t": {"type": "string", "pattern": "^(a+)+$"}}});
    let tool = json!({"name": "cost.one", "description": "d", "code": "return 1",
        "inputSchema": schema});
    client
        .ok("dynamic.tool.create", json!({"tool": tool}))
        .await;
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let server = deployment.front.id().to_string();
    let peak = peak_kib(&deployment.front);
    for (name, body) in kinds() {
        let (ours, theirs) = (ticks("self"), ticks(&server));
        for _ in 0..TIMES {
            let all = (0..AT_ONCE)
                .map(|_| exchange(&deployment.address, "POST", "/mcp", &headers, &body));
            for answer in join_all(all).await {
                assert!(answer.status < 500, "{name}: {}", answer.text());
                assert!(answer.body.len() < MOST as usize * body.len(), "{name}");
            }
        }
        let (ours, theirs) = (ticks("self") - ours, ticks(&server) - theirs);
        assert!(
            theirs <= MOST * ours.max(1),
            "{name}: {theirs} ticks for {ours}"
        );
    }
    let grown = peak_kib(&deployment.front).saturating_sub(peak) << 10;
    let sent = (AT_ONCE * BYTES) as u64;
    assert!(grown < MOST * sent, "{grown} bytes for {sent}");
    deployment.stop().await;
}
