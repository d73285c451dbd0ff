//! How long a call takes at the engine, warm and back to back, how long a sandbox takes to start,
//! and what one that waits costs. `cargo bench -p sandbox`.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot run has nothing to measure"
)]

use std::fs;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use domain::{RequestId, RunEvent};
use futures::StreamExt;
use sandbox::isolate::{IsolateEngine, IsolateSettings, run_child_if_asked};
use sandbox::{Engine, Job};
use telemetry::{BuildInfo, Metrics};
use tokio::time::Instant;

const CALLS: usize = 500;

fn main() -> ExitCode {
    if let Some(code) = run_child_if_asked() {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(measure());
    std::io::stdout().write_all(report.as_bytes()).unwrap();
    ExitCode::SUCCESS
}

async fn measure() -> String {
    let build = BuildInfo {
        service: "bench",
        version: "0",
        commit: "0",
    };
    let metrics = Arc::new(Metrics::new(build).unwrap());
    let begun = Instant::now();
    let settings = IsolateSettings {
        pool_size: 4,
        ..IsolateSettings::default()
    };
    let engine = Arc::new(IsolateEngine::launch(settings, metrics).await.unwrap());
    let launched = begun.elapsed();
    while engine.status().pool_idle < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let filled = begun.elapsed();
    let memory = memory();

    let mut warm = Vec::new();
    for _ in 0..CALLS {
        // What a call every few milliseconds sees.
        while engine.status().pool_idle < 4 {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        warm.push(call(&engine).await);
    }
    let mut hot = Vec::new();
    for _ in 0..CALLS {
        hot.push(call(&engine).await);
    }
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let engine = Arc::clone(&engine);
        tasks.spawn(async move {
            for _ in 0..CALLS / 8 {
                call(&engine).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    let rate = (CALLS / 8 * 8) as f64 / begun.elapsed().as_secs_f64();
    engine.shutdown().await;
    format!(
        "launch with probe: {launched:.1?}, pool of 4 filled after {filled:.1?}\n\
         a waiting sandbox: {memory}\n\
         call, sandbox waiting: {}\n\
         calls back to back:    {}\n\
         eight callers: {rate:.0} calls/s\n",
        spread(&mut warm),
        spread(&mut hot),
    )
}

async fn call(engine: &IsolateEngine) -> Duration {
    let call = testkit::call("return 1 + 1");
    let begun = Instant::now();
    let deadline = begun + call.limits.timeout;
    let job = Job {
        call,
        request_id: RequestId::random(),
        deadline,
        tenant: domain::TenantId::default(),
        slot: None,
    };
    let mut execution = engine.start(job).await.unwrap();
    while let Some(event) = execution.next().await {
        if let RunEvent::Finished(outcome) = event {
            outcome.result.unwrap();
        }
    }
    begun.elapsed()
}

fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100];
    format!("p50 {:.2?}, p90 {:.2?}, p99 {:.2?}", at(50), at(90), at(99))
}

/// Resident and proportional memory of a child.
fn memory() -> String {
    let wanted = format!("\0--isolate-child\0call\0{}\0", std::process::id());
    let child = fs::read_dir("/proc").unwrap().find_map(|entry| {
        let path = entry.ok()?.path();
        let line = fs::read_to_string(path.join("cmdline")).ok()?;
        line.contains(&wanted).then_some(path)
    });
    let rollup = child.and_then(|path| fs::read_to_string(path.join("smaps_rollup")).ok());
    let rollup = rollup.unwrap_or_default();
    let lines = rollup
        .lines()
        .filter(|line| line.starts_with("Rss") || line.starts_with("Pss:"));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}
