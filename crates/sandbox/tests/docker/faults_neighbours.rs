//! What one call takes is not taken from another one, from the executor or from the machine.

use std::fs;
use std::time::Duration;

use domain::error::ErrorCode;
use futures::StreamExt;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, settings};
use crate::suite::run::{brief, idle, run, run_call, start};

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<u64>().unwrap() * 1024
}

/// Processes of a container, as the machine counts them.
async fn processes(container: &str) -> usize {
    let docker = testkit::docker::daemon();
    let listed = docker.try_run(&["top", container, "-eo", "pid"]).await;
    listed.map_or(0, |lines| lines.lines().count().saturating_sub(1))
}

/// 1, 13: beside a bomb of processes and a loop, somebody else's calls are served as before, and the
/// machine has no more processes than the bomb's sandbox may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_01_13_beside_a_bomb_and_a_loop_others_are_served_alone() {
    let rig = Rig::with(sandbox::docker::DockerEngineSettings {
        pool_size: 4,
        ..settings()
    })
    .await;
    rig.only_the_pool().await;
    let bomb = "const { spawn } = require('child_process'); \
        for (;;) { for (let n = 0; n < 20; n++) spawn('sh', ['-c', 'while :; do :; done']).on('error', () => {}); \
        await new Promise((done) => setTimeout(done, 5)); }";
    let bomb = start(&rig.engine, brief(bomb, 6_000)).await;
    let spin = start(&rig.engine, brief("for (;;);", 6_000)).await;
    sleep(Duration::from_millis(1_000)).await;
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < Duration::from_secs(4) {
        let ended = run_call(&rig.engine, brief("return 1 + 1", 20_000)).await;
        assert_eq!(ended.value(), Some(json!(2)));
        // What the daemon needs for a new sandbox is not the call's: its own time counts.
        times.push(ended.outcome.usage.running);
        for name in rig.containers().await {
            let there = processes(&name).await;
            assert!(there <= 64, "{there} processes of {name}");
        }
    }
    times.sort();
    let worst = times[times.len() - 1];
    assert!(worst < Duration::from_secs(2), "{times:?}");
    for (execution, code) in [(bomb, None), (spin, Some(ErrorCode::Timeout))] {
        let events: Vec<_> = execution.collect().await;
        let Some(domain::runner::RunEvent::Finished(outcome)) = events.last() else {
            panic!("no end")
        };
        let failure = outcome.result.as_ref().unwrap_err();
        assert!(code.is_none_or(|code| failure.code == code), "{failure:?}");
    }
    idle(&rig.engine).await;
    rig.close().await;
}

/// 14: files, sockets and watches without end: an error inside, and not one more here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_14_open_files_and_sockets_end_inside() {
    let rig = Rig::new().await;
    run(&rig.engine, "return 1").await;
    rig.only_the_pool().await;
    let before = open_files();
    let takes = [
        "const fs = require('fs'); const all = []; for (;;) all.push(fs.openSync('/dev/null'))",
        "const net = require('net'); for (;;) await new Promise((good, bad) => net.createServer().on('error', bad).listen(0, '127.0.0.1', good))",
        "const dgram = require('dgram'); for (;;) await new Promise((good, bad) => dgram.createSocket('udp4').on('error', bad).bind(0, '127.0.0.1', good))",
        "const fs = require('fs'); for (let n = 0;; n++) { fs.writeFileSync('/tmp/w' + n, ''); fs.watch('/tmp/w' + n, () => {}).on('error', () => {}); }",
        "const { Worker } = require('worker_threads'); for (;;) await new Promise((good, bad) => new Worker('setInterval(() => {}, 1e6)', {eval: true}).on('online', good).on('error', bad))",
    ];
    for code in takes {
        let ended = run_call(&rig.engine, brief(code, 10_000)).await;
        let failure = ended.outcome.result.as_ref().unwrap_err();
        let told = [
            ErrorCode::ToolFailed,
            ErrorCode::OutOfMemory,
            ErrorCode::Timeout,
        ];
        assert!(told.contains(&failure.code), "{code}: {failure:?}");
        idle(&rig.engine).await;
        assert_eq!(run(&rig.engine, "return 1").await.value(), Some(json!(1)));
    }
    rig.only_the_pool().await;
    let end = Instant::now() + Duration::from_secs(15);
    while open_files() > before + 2 {
        assert!(
            Instant::now() < end,
            "{} files, {before} before",
            open_files()
        );
        sleep(Duration::from_millis(100)).await;
    }
    rig.close().await;
}

/// 6, 8, 9: floods one after the other, in every shape: memory and files here stay what they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_06_08_09_floods_leave_the_executor_as_it_was_alone() {
    let rig = Rig::new().await;
    let floods = [
        "const { writeSync } = require('fs'); for (;;) writeSync(1, 'x'.repeat(65536))",
        "const { writeSync } = require('fs'); for (;;) writeSync(2, '\\n'.repeat(65536))",
        "const { writeSync } = require('fs'); for (let n = 0;; n++) writeSync(1 + n % 2, 'a' + (n % 5 ? '' : '\\n'))",
        "for (let n = 0; n < 1e6; n++) ctx.log('info', {n}); return 1",
    ];
    run_call(&rig.engine, brief(floods[0], 20_000)).await;
    rig.only_the_pool().await;
    let (memory, files) = (resident(), open_files());
    for _ in 0..2 {
        for code in floods {
            let ended = run_call(&rig.engine, brief(code, 10_000)).await;
            assert!(
                ended.outcome.truncated || ended.outcome.result.is_err(),
                "{code}"
            );
            assert!(ended.printed_bytes() <= 200_000, "{code}");
        }
    }
    rig.only_the_pool().await;
    let grown = resident().saturating_sub(memory);
    assert!(grown < 24 << 20, "{grown} bytes more");
    assert!(
        open_files() <= files + 4,
        "{} files, {files} before",
        open_files()
    );
    rig.close().await;
}

/// 42: time that jumps. Code that lies about the time to itself has no more of it; a sandbox that was
/// frozen, as with a machine that slept, is over at its deadline all the same, and gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_42_neither_a_false_clock_nor_a_frozen_sandbox_moves_a_deadline() {
    let rig = Rig::new().await;
    let liar = "Date.now = () => 0; performance.now = () => 0; process.hrtime = () => [0, 0]; \
        process.hrtime.bigint = () => 0n; globalThis.Date = class { static now() { return 0 } getTime() { return 0 } }; \
        await new Promise((done) => setTimeout(done, 60000)); return 1";
    let ended = run_call(&rig.engine, brief(liar, 1_000)).await;
    ended.failure(ErrorCode::Timeout);
    let ran = ended.outcome.usage.running;
    assert!(ran < Duration::from_secs(2), "{ran:?}");
    rig.only_the_pool().await;
    let waiting = rig.containers().await;
    let execution = start(&rig.engine, brief("for (;;);", 3_000)).await;
    let docker = testkit::docker::daemon();
    let begun = Instant::now();
    // Whichever of them it is; one that only waits may sleep, too.
    for name in &waiting {
        docker.run(&["pause", name]).await;
    }
    let events: Vec<_> = execution.collect().await;
    let Some(domain::runner::RunEvent::Finished(outcome)) = events.last() else {
        panic!("no end")
    };
    assert_eq!(
        outcome.result.as_ref().unwrap_err().code,
        ErrorCode::Timeout
    );
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    idle(&rig.engine).await;
    for name in &waiting {
        // The one that ran is gone.
        drop(docker.try_run(&["unpause", name]).await);
    }
    rig.only_the_pool().await;
    assert_eq!(run(&rig.engine, "return 1").await.value(), Some(json!(1)));
    rig.close().await;
}
