//! How long a call takes on the Docker engine: with a container waiting, in a burst, without a pool;
//! and what the same costs by plain use of the API. `cargo bench -p sandbox --bench docker`.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot run has nothing to measure"
)]

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use domain::runner::Usage;
use domain::{RequestId, RunEvent};
use futures::StreamExt;
use sandbox::docker::{DockerEngine, DockerEngineSettings};
use sandbox::{Engine, Job};
use telemetry::{BuildInfo, Metrics};
use tokio::time::Instant;

mod plain;

const IMAGE: &str = "dynamic-mcp-test/node:1";
const POOL: usize = 4;
const WARM: usize = 100;
const COLD: usize = 15;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(measure());
    std::io::stdout().write_all(report.as_bytes()).unwrap();
    ExitCode::SUCCESS
}

async fn launch(pool_size: usize) -> Arc<DockerEngine> {
    let build = BuildInfo {
        service: "bench",
        version: "0",
        commit: "0",
    };
    let settings = DockerEngineSettings {
        owner: "bench".to_owned(),
        pool_size,
        memory_bytes: 256 << 20,
        allowed_images: vec![IMAGE.to_owned()],
        ..DockerEngineSettings::default()
    };
    let metrics = Arc::new(Metrics::new(build).unwrap());
    Arc::new(DockerEngine::launch(settings, metrics).await.unwrap())
}

async fn measure() -> String {
    let begun = Instant::now();
    let engine = launch(POOL).await;
    let launched = begun.elapsed();
    full(&engine).await;
    let filled = begun.elapsed();

    let (mut warm, mut inside) = (Vec::new(), Vec::new());
    for _ in 0..WARM {
        // What a call every second or so sees.
        full(&engine).await;
        let (took, usage) = call(&engine).await;
        assert!(usage.warm);
        warm.push(took);
        inside.push(usage.running);
    }
    full(&engine).await;
    let begun = Instant::now();
    let burst = (0..4 * POOL).map(|_| call(&engine));
    let burst = futures::future::join_all(burst).await;
    let through = begun.elapsed();
    let mut burst: Vec<_> = burst.into_iter().map(|(took, _)| took).collect();
    engine.shutdown().await;

    let engine = launch(0).await;
    let raw = plain::Plain::new().await;
    let (mut cold, mut plain, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    // In turns, so that both see the same machine.
    for _ in 0..COLD {
        cold.push(call(&engine).await.0);
        quiet(&engine).await;
        let (made, answered) = raw.call().await;
        plain.push(made + answered);
        waiting.push(answered);
    }
    engine.shutdown().await;
    format!(
        "launch: {launched:.1?}, pool of {POOL} filled after {filled:.1?}\n\
         call, container waiting:         {}\n\
         of that in the container's hand: {}\n\
         burst of {}:                     {}, all through after {through:.1?}\n\
         call without a pool:             {}\n\
         plain create, start and answer:  {}\n\
         answer of a plain container:     {}\n",
        spread(&mut warm),
        spread(&mut inside),
        4 * POOL,
        spread(&mut burst),
        spread(&mut cold),
        spread(&mut plain),
        spread(&mut waiting),
    )
}

async fn full(engine: &DockerEngine) {
    while engine.status().pool_idle < POOL || engine.status().running > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The daemon's own work on the last container.
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn quiet(engine: &DockerEngine) {
    while engine.status().running > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn call(engine: &DockerEngine) -> (Duration, Usage) {
    let mut call = testkit::call("return 1 + 1");
    call.image = IMAGE.to_owned();
    call.limits.memory_bytes = 256 << 20;
    call.limits.timeout = Duration::from_secs(60);
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
    let mut usage = Usage::default();
    while let Some(event) = execution.next().await {
        if let RunEvent::Finished(outcome) = event {
            outcome.result.unwrap();
            usage = outcome.usage;
        }
    }
    (begun.elapsed(), usage)
}

fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100];
    format!("p50 {:.2?}, p90 {:.2?}, p99 {:.2?}", at(50), at(90), at(99))
}
