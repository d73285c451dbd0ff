//! Sandboxes beside each other, and what is left of them.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use domain::{RequestId, RunEvent};
use futures::StreamExt;
use sandbox::{Engine, Execution, Job};
use tokio::time::Instant;

use super::*;

/// Starts code and waits until it says that it runs.
async fn running(engine: &IsolateEngine, code: &str, millis: u64) -> Execution {
    let mut call = testkit::call(&format!("ctx.log('info', 'runs'); {code}"));
    call.limits.timeout = Duration::from_millis(millis);
    let job = Job {
        deadline: Instant::now() + Duration::from_secs(20),
        call,
        tenant: domain::TenantId::default(),
        request_id: RequestId::random(),
        slot: None,
    };
    let mut execution = engine.start(job).await.unwrap();
    let first = execution.next().await;
    assert!(matches!(first, Some(RunEvent::Log { .. })), "{first:?}");
    execution
}

fn status(id: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim().to_owned()
}

/// 18, 19: after a timeout, and after the caller went away, the process is gone at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_18_19_the_process_is_gone_when_the_call_is_over() {
    const MEMORY: u64 = 70_000_021;
    let engine = launch(MEMORY, 0).await;
    let mut times_out = running(&engine, "for (;;);", 150).await;
    assert_eq!(children(MEMORY).len(), 1);
    assert!(matches!(
        times_out.next().await,
        Some(RunEvent::Finished(_))
    ));
    let over = Instant::now();
    eventually("gone after its time", || children(MEMORY).is_empty()).await;
    assert!(over.elapsed() < Duration::from_secs(2));

    for code in [
        "for (;;);",
        "setInterval(() => {}, 1); await new Promise(() => {})",
    ] {
        let leaves = running(&engine, code, 20_000).await;
        assert_eq!(children(MEMORY).len(), 1);
        drop(leaves);
        eventually("gone with its caller", || children(MEMORY).is_empty()).await;
    }
    engine.shutdown().await;
}

/// 24: an engine that is dropped without a word takes its children along, those that run too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_24_a_dropped_engine_leaves_no_child() {
    const MEMORY: u64 = 70_000_022;
    let engine = launch(MEMORY, 2).await;
    let runs = running(&engine, "for (;;);", 20_000).await;
    eventually("two wait and one runs", || children(MEMORY).len() == 3).await;
    // Nobody has called `shutdown`: the owner has failed, say.
    drop(engine);
    eventually("those that wait are gone", || children(MEMORY).len() == 1).await;
    drop(runs);
    eventually("no child is left", || children(MEMORY).is_empty()).await;
}

/// 50: two that run at the same time share no namespace, no file and no right to each other; what
/// they could try to reach each other with is in the list that the probe tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_50_two_sandboxes_are_apart() {
    const MEMORY: u64 = 70_000_023;
    let engine = launch(MEMORY, 0).await;
    let held = |name: &str| {
        let walls = engine.status().walls;
        walls.iter().any(|wall| wall.name == name && wall.held)
    };
    let both = [
        running(&engine, "for (;;);", 20_000).await,
        running(&engine, "for (;;);", 20_000).await,
    ];
    let ids = children(MEMORY);
    let [one, other] = ids[..] else {
        panic!("{ids:?}")
    };
    for id in [one, other] {
        assert_eq!(status(id, "CapEff:"), "0000000000000000");
        assert_eq!(status(id, "Seccomp:"), "2");
        assert_eq!(status(id, "Threads:"), "1");
        if held("processes") {
            let numbers = status(id, "NSpid:");
            assert_eq!(numbers.split_whitespace().next_back(), Some("1"));
        }
        if held("user") && rustix::process::geteuid().is_root() {
            assert_eq!(status(id, "Uid:").split_whitespace().next(), Some("65532"));
        }
    }
    let apart = [
        ("processes", &["pid"][..]),
        ("namespaces", &["net", "ipc", "uts", "mnt", "cgroup"]),
    ];
    let mine = std::process::id();
    for (wall, names) in apart {
        for name in names.iter().filter(|_| held(wall)) {
            let of = |id: String| fs::read_link(format!("/proc/{id}/ns/{name}"));
            // Who may not look into a sandbox cannot compare; root can.
            let Ok(first) = of(one.to_string()) else {
                assert!(!rustix::process::geteuid().is_root(), "{name}");
                continue;
            };
            let all = HashSet::from([
                first,
                of(other.to_string()).unwrap(),
                of(mine.to_string()).unwrap(),
            ]);
            assert_eq!(all.len(), 3, "{name}");
        }
    }
    drop(both);
    engine.shutdown().await;
    assert!(children(MEMORY).is_empty());
}

/// How many calls the growth of the executor is measured over.
fn calls() -> usize {
    #[allow(
        clippy::disallowed_methods,
        reason = "the soak command tells tests by its environment"
    )]
    let soak = std::env::var_os("MCP_TEST_SOAK").is_some();
    if soak { 2_000 } else { 200 }
}

fn own(name: &str) -> u64 {
    let line = status(std::process::id().cast_signed(), name);
    line.trim_end_matches(" kB").trim().parse().unwrap()
}

/// 14, 36: thousands of calls, and the executor has the memory, files and threads that it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_14_36_alone_many_calls_cost_nothing_that_stays() {
    const MEMORY: u64 = 70_000_024;
    const KILOBYTES: u64 = 8 * 1_024;
    let engine = launch(MEMORY, 2).await;
    let codes = [
        "return 'x'.repeat(1e5)",
        "throw new Error('x'.repeat(1e5))",
        "for (let i = 0; i < 500; i++) console.log('line', i); return 1",
        "for (;;) ctx.log('info', 'x'.repeat(1e4))",
        "const all = []; for (;;) all.push(new Uint8Array(1e6).fill(1))",
    ];
    let round = async |count: usize| {
        for n in 0..count {
            drop(run_brief(&engine, codes[n % codes.len()]).await);
        }
        eventually("only the pool is left", || {
            engine.status().pool_idle == 2
                && engine.status().running == 0
                && children(MEMORY).len() == 2
        })
        .await;
        let files = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        [own("VmRSS:"), files, own("Threads:")]
    };
    // What is allocated once is allocated.
    let before = round(60).await;
    let after = round(calls()).await;
    assert!(after[0] <= before[0] + KILOBYTES, "{before:?} {after:?}");
    assert!(after[1] <= before[1] + 2, "{before:?} {after:?}");
    assert!(after[2] <= before[2] + 4, "{before:?} {after:?}");
    engine.shutdown().await;
    assert!(children(MEMORY).is_empty());
}

/// Runs code for a tenth of a second at most.
async fn run_brief(engine: &IsolateEngine, code: &str) -> Option<RunEvent> {
    let mut call = testkit::call(code);
    call.limits.timeout = Duration::from_millis(100);
    let job = Job {
        deadline: Instant::now() + Duration::from_secs(20),
        call,
        tenant: domain::TenantId::default(),
        request_id: RequestId::random(),
        slot: None,
    };
    let mut execution = engine.start(job).await.unwrap();
    let mut last = None;
    while let Some(event) = execution.next().await {
        last = Some(event);
    }
    last
}
