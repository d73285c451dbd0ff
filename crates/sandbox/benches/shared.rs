//! `isolation: tool`: calls one after the other in the container of a tool, against a bare worker in a
//! container of the same limits that makes the same realm for each line that it reads. In turns, in
//! one run. `cargo bench -p sandbox --bench shared`.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot run has nothing to measure"
)]

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::container::AttachContainerResults;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use domain::tool::{Isolation, Runtime};
use domain::{CodeDigest, RequestId, Revision, RunEvent};
use futures::StreamExt;
use sandbox::docker::{DockerEngine, DockerEngineSettings};
use sandbox::{Engine, Job};
use telemetry::{BuildInfo, Metrics};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

const MEMORY: u64 = 256 << 20;
const TURN: Duration = Duration::from_secs(3);
const TURNS: usize = 4;

/// A worker and nothing more: a realm for each line, with what ours has of the host.
const NODE: &str = "const vm = require('vm'); const own = new Set(vm.runInNewContext('Object.getOwnPropertyNames(globalThis)')); \
    const names = Object.getOwnPropertyNames(globalThis).filter((name) => !own.has(name) && name !== 'global'); \
    process.stdin.on('data', async (code) => { const realm = vm.createContext({}, {name: 'tool'}); \
    for (const name of names) Object.defineProperty(realm, name, Object.getOwnPropertyDescriptor(globalThis, name)); \
    realm.console = {...console}; realm.require = require; \
    const run = vm.runInContext(`(async function run(args, ctx) {${code}})`, realm); \
    process.stdout.write(JSON.stringify(await run({}, {}))); }); process.stdout.write('ready')";

/// The same in Python: a module and a loop for each line.
const PYTHON: &str = "import asyncio, gc, json, os, sys, types\ngc.freeze()\nos.write(1, b'ready')\n\
    while True:\n  code = os.read(0, 65536).decode()\n  if not code: break\n  \
    module = types.ModuleType('__main__'); exec('async def run(args, ctx):\\n ' + code, module.__dict__)\n  \
    loop = asyncio.new_event_loop(); value = loop.run_until_complete(module.run({}, None)); loop.close()\n  \
    os.write(1, json.dumps(value).encode()); gc.collect()";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut report = String::new();
    for language in [Runtime::Node, Runtime::Python] {
        // Calls are made on the runtime's own threads, as the executor makes them.
        let measured = runtime.spawn(measure(language));
        report += &runtime.block_on(measured).unwrap();
    }
    std::io::stdout().write_all(report.as_bytes()).unwrap();
    ExitCode::SUCCESS
}

fn image(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Node => testkit::docker::IMAGE,
        Runtime::Python => testkit::docker::PYTHON_IMAGE,
    }
}

async fn measure(runtime: Runtime) -> String {
    let build = BuildInfo {
        service: "bench",
        version: "0",
        commit: "0",
    };
    let settings = DockerEngineSettings {
        owner: "bench-shared".to_owned(),
        pool_size: 1,
        memory_bytes: MEMORY,
        allowed_images: vec![image(runtime).to_owned()],
        shared_tools: vec!["shared".to_owned()],
        ..DockerEngineSettings::default()
    };
    let metrics = Arc::new(Metrics::new(build).unwrap());
    let engine = DockerEngine::launch(settings, Arc::clone(&metrics))
        .await
        .unwrap();
    while engine.status().pool_idle == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut worker = Worker::new(runtime).await;
    for _ in 0..200 {
        call(&engine, runtime).await;
        worker.call().await;
    }
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let begun = Instant::now();
        while begun.elapsed() < TURN {
            ours.push(call(&engine, runtime).await);
        }
        let begun = Instant::now();
        while begun.elapsed() < TURN {
            bare.push(worker.call().await);
        }
    }
    worker.remove().await;
    engine.shutdown().await;
    let fresh = metrics.shared_calls.with_label_values(&["fresh"]).get();
    let seconds = TURN.as_secs_f64() * TURNS as f64;
    let (ours_rate, bare_rate) = (ours.len() as f64 / seconds, bare.len() as f64 / seconds);
    ours.sort_unstable();
    bare.sort_unstable();
    format!(
        "{runtime:?}: shared {ours_rate:.0}/s (p50 {:.2?}, p99 {:.2?}, {fresh} fresh containers), \
         bare worker {bare_rate:.0}/s (p50 {:.2?}, p99 {:.2?}); ours / bare: {:.2}\n{}",
        ours[ours.len() / 2],
        ours[ours.len() * 99 / 100],
        bare[bare.len() / 2],
        bare[bare.len() * 99 / 100],
        ours_rate / bare_rate,
        stages(&metrics),
    )
}

/// Where the time of our calls goes, on average.
fn stages(metrics: &Metrics) -> String {
    let average = |stage: &str| {
        let of = metrics
            .sandbox_stage_duration
            .with_label_values(&["docker", stage]);
        let count = of.get_sample_count().max(1) as f64;
        format!("{stage} {:.0} µs", of.get_sample_sum() / count * 1e6)
    };
    let all = ["take", "write", "load", "run", "read", "teardown"].map(average);
    format!("  on average: {}\n", all.join(", "))
}

async fn call(engine: &DockerEngine, runtime: Runtime) -> Duration {
    let mut call = testkit::call("return 1 + 1");
    call.image = image(runtime).to_owned();
    call.runtime = runtime;
    call.tool = "shared".to_owned();
    call.revision = Some(Revision(1));
    call.isolation = Isolation::Tool;
    call.code_digest = CodeDigest::of(&call.code);
    call.limits.memory_bytes = MEMORY;
    let begun = Instant::now();
    let job = Job {
        deadline: begun + call.limits.timeout,
        call,
        request_id: RequestId::random(),
        tenant: domain::TenantId::default(),
        slot: None,
    };
    let mut execution = engine.start(job).await.unwrap();
    while let Some(event) = execution.next().await {
        if let RunEvent::Finished(outcome) = event {
            assert_eq!(outcome.result.unwrap().unwrap().get(), "2");
            return begun.elapsed();
        }
    }
    unreachable!("a call ends with an outcome")
}

struct Worker {
    docker: Docker,
    id: String,
    attached: AttachContainerResults,
}

impl Worker {
    async fn new(runtime: Runtime) -> Self {
        let docker = Docker::connect_with_defaults().unwrap();
        let command = match runtime {
            Runtime::Node => ["node", "-e", NODE],
            Runtime::Python => ["python3", "-c", PYTHON],
        };
        let body = ContainerCreateBody {
            image: Some(image(runtime).to_owned()),
            cmd: Some(command.map(str::to_owned).to_vec()),
            open_stdin: Some(true),
            stdin_once: Some(true),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                memory: i64::try_from(MEMORY).ok(),
                memory_swap: i64::try_from(MEMORY).ok(),
                nano_cpus: Some(1_000_000_000),
                init: Some(true),
                log_config: Some(HostConfigLogConfig {
                    typ: Some("none".to_owned()),
                    config: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().build();
        let id = docker
            .create_container(Some(options), body)
            .await
            .unwrap()
            .id;
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdin(true)
            .stdout(true);
        let attached = docker
            .attach_container(&id, Some(options.build()))
            .await
            .unwrap();
        docker.start_container(&id, None).await.unwrap();
        let mut worker = Self {
            docker,
            id,
            attached,
        };
        assert_eq!(worker.read().await, "ready");
        worker
    }

    async fn read(&mut self) -> String {
        let bytes = self
            .attached
            .output
            .next()
            .await
            .unwrap()
            .unwrap()
            .into_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    async fn call(&mut self) -> Duration {
        let begun = Instant::now();
        self.attached
            .input
            .write_all(b"return 1 + 1")
            .await
            .unwrap();
        assert_eq!(self.read().await, "2");
        begun.elapsed()
    }

    async fn remove(self) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let removed = self
            .docker
            .remove_container(&self.id, Some(options.build()));
        removed.await.unwrap();
    }
}
