//! Code that attacks, and a client that leaves: each call ends with the right code, and the daemon
//! holds afterwards what it held before, to the last container, volume and network.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::docker::{BARE_IMAGE, Docker, Listing};
use testkit::mcp::{Client, Era};
use tokio::time::{Instant, sleep, timeout};

use crate::deployment::{Deployment, Kind};

const BUSY_LOOP: &str = "for (;;) {}";
const FORK_BOMB: &str = "const { spawn } = require('node:child_process'); \
    for (;;) { spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']); \
    await new Promise(done => setTimeout(done, 1)); }";
const MEMORY_HOG: &str = "const kept = []; for (;;) kept.push(Buffer.alloc(8 << 20, 1))";
/// Past the agent, straight to the container's output.
const OUTPUT_FLOOD: &str =
    "const { writeSync } = require('node:fs'); for (;;) writeSync(1, 'x'.repeat(65536))";
/// What the agent cuts is no more than a busy loop.
const PRINTED_FLOOD: &str = "for (;;) console.log('x'.repeat(65536))";
const LARGE_RESULT: &str = "return 'x'.repeat(1 << 20)";

/// The attack, its limit in milliseconds, and the codes that are right for it.
const ATTACKS: &[(&str, u32, &[&str])] = &[
    (BUSY_LOOP, 1_500, &["timeout"]),
    // Which of its limits stops it first is up to the machine's speed.
    (
        FORK_BOMB,
        8_000,
        &["tool_failed", "out_of_memory", "timeout"],
    ),
    (MEMORY_HOG, 20_000, &["out_of_memory"]),
    (OUTPUT_FLOOD, 20_000, &["output_too_large"]),
    (PRINTED_FLOOD, 1_500, &["timeout"]),
    (LARGE_RESULT, 20_000, &["output_too_large"]),
];

/// How long the daemon may take to be rid of what a call left.
const GONE_WITHIN: Duration = Duration::from_secs(15);
const POOL: usize = 2;

fn ephemeral(code: &str, timeout_ms: u32) -> Value {
    json!({"code": code, "timeoutMs": timeout_ms})
}

/// Waits until there is nothing but the containers that wait for calls.
async fn only_the_pool(docker: &Docker) -> Listing {
    let end = Instant::now() + GONE_WITHIN;
    loop {
        let now = docker.listing().await;
        if now.containers.len() == POOL {
            return now;
        }
        assert!(Instant::now() < end, "{now:#?}");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn leave(client: &Client) {
    let call = json!({"name": "run_js_ephemeral", "arguments": ephemeral(BUSY_LOOP, 60_000)});
    let left = timeout(Duration::from_secs(2), client.send("tools/call", call)).await;
    assert!(left.is_err(), "a busy loop has answered");
}

#[tokio::test]
async fn fault_36_attacks_end_with_the_right_code_and_leave_nothing_on_the_daemon() {
    let daemon = testkit::docker::PrivateDaemon::start().await;
    let docker = daemon.docker();
    let before = docker.listing().await;
    let env = [
        ("DOCKER_HOST", &*daemon.host()),
        ("MCP_SANDBOX_ALLOWED_IMAGES", BARE_IMAGE),
        ("MCP_SANDBOX_MEMORY_LIMIT", "128m"),
        ("MCP_SANDBOX_POOL_SIZE", "2"),
        ("MCP_EXECUTOR_CAPACITY", "4"),
        // None waits for a session.
        ("MCP_SANDBOX_MAX_SESSIONS", "0"),
    ];
    let deployment = Deployment::start(Kind::Production, &env).await;
    let client = deployment.client(Era::Modern);
    only_the_pool(&docker).await;
    for (code, limit, right) in ATTACKS {
        let begun = Instant::now();
        let refused = client.refusal("run_js_ephemeral", ephemeral(code, *limit));
        let refused = refused.await;
        assert!(right.contains(&&*refused), "{code}: {refused}");
        let spent = begun.elapsed();
        let most = Duration::from_millis(u64::from(*limit)) + Duration::from_secs(10);
        assert!(spent < most, "{code}: {spent:?}");
        let well = client.ok("run_js_ephemeral", ephemeral("return 'well'", 20_000));
        assert_eq!(well.await["result"], "well", "after {code}");
    }
    leave(&client).await;
    let pool = only_the_pool(&docker).await;
    assert_eq!(
        (&pool.volumes, &pool.networks),
        (&before.volumes, &before.networks)
    );
    deployment.stop().await;
    let after = docker.listing().await;
    assert_eq!(after.since(&before), Vec::<String>::new());
}
