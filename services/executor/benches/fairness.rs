//! How long a tenant with a single call in flight waits while another offers fifty times what the
//! executor can take, on both engines. `cargo bench -p executor --bench fairness`, with the name of an
//! engine for that one alone.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a bench that cannot run has nothing to measure"
)]

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::limits::RunLimits;
use domain::runner::{RunEvent, Runner};
use domain::{Call, CallContext, Scope, TenantId};
use executor::{Executor, Settings};
use futures::StreamExt;
use sandbox::Engine;
use sandbox::docker::{DockerEngine, DockerEngineSettings};
use sandbox::isolate::{IsolateEngine, IsolateSettings, run_child_if_asked};
use telemetry::{BuildInfo, Metrics};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const IMAGE: &str = "dynamic-mcp-test/node:1";
const MEMORY: u64 = 128 << 20;
/// How many calls the other tenant keeps in flight, in parts of the capacity.
const FLOOD: u32 = 50;
/// Calls of the tenant with a single one in flight, alone and beside the other.
const CALLS: usize = 60;

fn main() -> ExitCode {
    if let Some(code) = run_child_if_asked() {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let only = std::env::args().find(|it| it == "isolate" || it == "docker");
    for name in ["isolate", "docker"] {
        if only.as_deref().is_none_or(|only| only == name) {
            let report = runtime.block_on(measure(name));
            std::io::stdout().write_all(report.as_bytes()).unwrap();
        }
    }
    ExitCode::SUCCESS
}

fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "bench",
        version: "0",
        commit: "0",
    };
    Arc::new(Metrics::new(build).unwrap())
}

async fn engine(name: &str) -> Arc<dyn Engine> {
    if name == "isolate" {
        let settings = IsolateSettings::default();
        return Arc::new(IsolateEngine::launch(settings, metrics()).await.unwrap());
    }
    let settings = DockerEngineSettings {
        owner: "bench-fairness".to_owned(),
        pool_size: 4,
        memory_bytes: MEMORY,
        allowed_images: vec![IMAGE.to_owned()],
        ..DockerEngineSettings::default()
    };
    Arc::new(DockerEngine::launch(settings, metrics()).await.unwrap())
}

async fn measure(name: &str) -> String {
    let engine = engine(name).await;
    while engine.status().pool_idle < engine.status().pool_size || engine.status().pool_size == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let ceiling = RunLimits {
        timeout: Duration::from_secs(60),
        memory_bytes: MEMORY,
        cpu_millis: 1_000,
        max_output_bytes: 100_000,
    };
    let settings = Settings::new("bench", ceiling);
    let capacity = settings.capacity;
    let executor = Executor::new(engine, settings, metrics());

    let alone = singles(&executor).await;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (served, refused) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    for _ in 0..capacity * FLOOD {
        let (executor, stop) = (executor.clone(), stop.clone());
        let (served, refused) = (Arc::clone(&served), Arc::clone(&refused));
        tasks.spawn(async move {
            while !stop.is_cancelled() {
                match one(&executor, "many").await {
                    Ok(()) => {
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(retry_after) => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        sleep(retry_after).await;
                    }
                }
            }
        });
    }
    sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    let before = served.load(Ordering::Relaxed);
    let beside = singles(&executor).await;
    let rate = (served.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    executor.shutdown().await;
    let ratio = at(&beside, 99).as_secs_f64() / at(&alone, 99).as_secs_f64();
    format!(
        "{name}: capacity {capacity}, {} offered, {rate:.1} of them served a second, {} refused\n\
         {name}: one call in flight, alone:  p50 {:.2?}, p99 {:.2?}\n\
         {name}: one call in flight, beside: p50 {:.2?}, p99 {:.2?}, p99 ratio {ratio:.2}\n",
        capacity * FLOOD,
        refused.load(Ordering::Relaxed),
        at(&alone, 50),
        at(&alone, 99),
        at(&beside, 50),
        at(&beside, 99),
    )
}

/// How long each call took, sorted.
async fn singles(executor: &Executor) -> Vec<Duration> {
    let mut times = Vec::new();
    while times.len() < CALLS {
        let begun = Instant::now();
        if one(executor, "few").await.is_ok() {
            times.push(begun.elapsed());
        }
    }
    times.sort_unstable();
    times
}

fn at(sorted: &[Duration], part: usize) -> Duration {
    sorted[(sorted.len() * part / 100).min(sorted.len() - 1)]
}

/// Runs a call to its end, or says when to come back.
async fn one(executor: &Executor, tenant: &str) -> Result<(), Duration> {
    let mut context: CallContext = testkit::context(&[Scope::Invoke]);
    let mut principal = (*context.principal).clone();
    principal.tenant = TenantId::parse(tenant).unwrap();
    context.principal = Arc::new(principal);
    context.budget = Duration::from_secs(60);
    let mut call: Call = testkit::call("return 1 + 1");
    call.image = IMAGE.to_owned();
    call.limits.memory_bytes = MEMORY;
    call.limits.timeout = Duration::from_secs(60);
    let retry = Duration::from_millis(100);
    let stream = executor.run(&context, call).await;
    let mut events = stream.map_err(|error| error.retry_after().unwrap_or(retry))?;
    while let Some(event) = events.next().await {
        if let RunEvent::Finished(outcome) = event {
            return outcome.result.map(drop).map_err(|_| retry);
        }
    }
    Err(retry)
}
