//! How long a call takes on the Docker engine: with a container waiting, in a burst, without a pool;
//! how many go through in a row; what a container that waits costs; and what the same is by plain use
//! of the API, in the same run. `cargo bench -p sandbox --bench docker`.

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
/// Calls that are in flight when as many as possible are to go through.
const CALLERS: usize = 8;
/// Containers that are made at the same time, by plain use of the API too.
const MAKING: usize = 4;
/// How long each of the two takes its turn, and how often.
const TURN: Duration = Duration::from_secs(6);
const TURNS: usize = 2;

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
        creating: MAKING,
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
    full(&engine).await;
    let waiting_kinds = kinds(&engine);
    engine.shutdown().await;
    let [ours, theirs, answering] = sustained().await;

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
         answer of a plain container:     {}\n\
         cold / plain: {:.2} (p50)\n\
         calls in a row, {CALLERS} in flight:      {ours:.1}/s\n\
         plain create, start and remove:  {theirs:.1}/s, {MAKING} at a time; ours / plain: {:.2}\n\
         the same, with an answer before: {answering:.1}/s; ours / plain: {:.2}\n\
         {waiting_kinds}",
        spread(&mut warm),
        spread(&mut inside),
        4 * POOL,
        spread(&mut burst),
        spread(&mut cold),
        spread(&mut plain),
        spread(&mut waiting),
        middle(&cold).as_secs_f64() / middle(&plain).as_secs_f64(),
        ours / theirs,
        ours / answering,
    )
}

/// Calls a second through the engine, each in a fresh container; containers a second by plain use of
/// the API; and those of them whose program got so far as to answer. In turns, so that all see the same
/// machine.
async fn sustained() -> [f64; 3] {
    let (mut ours, mut theirs, mut answering) = (0.0, 0.0, 0.0);
    for _ in 0..TURNS {
        // Nothing waits at the start, so that nothing is counted that was made before.
        let engine = launch(0).await;
        ours += rate(CALLERS, || async {
            call(&engine).await;
        })
        .await;
        quiet(&engine).await;
        engine.shutdown().await;
        let plain = Arc::new(plain::Plain::new().await);
        theirs += rate(MAKING, || async { plain.cycle().await }).await;
        answering += rate(MAKING, || async {
            plain.call().await;
        })
        .await;
    }
    [ours, theirs, answering].map(|sum| sum / TURNS as f64)
}

/// How often something goes through in a second, with so many at the same time.
async fn rate<F: Future<Output = ()>>(at_once: usize, act: impl Fn() -> F) -> f64 {
    let begun = Instant::now();
    let workers = (0..at_once).map(|_| async {
        let mut done = 0;
        while begun.elapsed() < TURN {
            act().await;
            done += 1;
        }
        done
    });
    let done: usize = futures::future::join_all(workers).await.into_iter().sum();
    done as f64 / begun.elapsed().as_secs_f64()
}

/// What each kind that waits uses.
fn kinds(engine: &DockerEngine) -> String {
    let kinds = engine.status().pool.kinds;
    let lines = kinds.iter().map(|kind| {
        let each = kind.memory_each.unwrap_or_default() as f64 / f64::from(1 << 20);
        format!("waits: {} × {}, {each:.1} MiB each\n", kind.idle, kind.name)
    });
    lines.collect()
}

fn middle(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
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
