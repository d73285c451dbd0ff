//! What packages cost: the first call of a set over npm's or pip's own time, and later calls beside
//! calls without any, in the same run. `cargo bench -p sandbox --bench deps`; it fetches packages from the
//! registries that this machine reaches. The packages are small ones: what it takes to load a large one
//! is the package's own.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot run has nothing to measure"
)]

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use domain::dependency::Dependency;
use domain::runner::Resolve;
use domain::tool::Runtime;
use domain::{Call, Lockfile, RequestId, RunEvent};
use futures::StreamExt;
use sandbox::docker::{DockerEngine, DockerEngineSettings, InstallSettings};
use sandbox::{Engine, Job};
use telemetry::{BuildInfo, Metrics};
use tokio::time::Instant;

const ROUNDS: usize = 3;
const LATER: usize = 40;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(measure());
    std::io::stdout().write_all(report.as_bytes()).unwrap();
    ExitCode::SUCCESS
}

struct Bench {
    engine: DockerEngine,
    metrics: Arc<Metrics>,
    owner: String,
}

#[allow(
    clippy::disallowed_methods,
    reason = "where the certificates are is the machine's to say"
)]
fn trusted() -> Option<String> {
    std::fs::read_to_string(std::env::var("SSL_CERT_FILE").ok()?).ok()
}

async fn launch() -> Bench {
    let owner = format!("bench-{}", uuid::Uuid::new_v4());
    let settings = DockerEngineSettings {
        owner: owner.clone(),
        pool_size: 2,
        memory_bytes: 256 << 20,
        allowed_images: [testkit::docker::IMAGE, testkit::docker::PYTHON_IMAGE]
            .map(str::to_owned)
            .into(),
        install: InstallSettings {
            extra_ca: trusted(),
            ..InstallSettings::default()
        },
        ..DockerEngineSettings::default()
    };
    let build = BuildInfo {
        service: "bench",
        version: "0",
        commit: "0",
    };
    let metrics = Arc::new(Metrics::new(build).unwrap());
    let engine = DockerEngine::launch(settings, Arc::clone(&metrics)).await;
    Bench {
        engine: engine.unwrap(),
        metrics,
        owner,
    }
}

impl Bench {
    async fn close(self) {
        self.engine.shutdown().await;
        let daemon = testkit::docker::daemon();
        let filter = format!("label=dynamic-mcp.owner={}", self.owner);
        let all = daemon
            .run(&["volume", "ls", "-q", "--filter", &filter])
            .await;
        for volume in all.lines() {
            daemon.run(&["volume", "rm", volume]).await;
        }
    }

    /// Seconds that the package manager itself has taken so far.
    fn manager(&self, runtime: &str) -> f64 {
        let found = &self.metrics.dependency_install_duration;
        found
            .with_label_values(&[runtime, "manager"])
            .get_sample_sum()
    }

    async fn call(&self, call: Call) -> Duration {
        let begun = Instant::now();
        let job = Job {
            deadline: begun + Duration::from_secs(300),
            call,
            request_id: RequestId::accept("bench").unwrap(),
            tenant: domain::TenantId::default(),
            slot: None,
        };
        let mut execution = self.engine.start(job).await.unwrap();
        while let Some(event) = execution.next().await {
            if let RunEvent::Finished(outcome) = event {
                outcome.result.unwrap();
                return begun.elapsed();
            }
        }
        begun.elapsed()
    }

    async fn resolve(&self, runtime: Runtime, wanted: &[Dependency]) -> Lockfile {
        let request = Resolve {
            runtime,
            image: image(runtime).to_owned(),
            dependencies: wanted.to_vec(),
        };
        let deadline = Instant::now() + Duration::from_secs(200);
        self.engine.resolve(request, deadline).await.unwrap()
    }
}

fn image(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Node => testkit::docker::IMAGE,
        Runtime::Python => testkit::docker::PYTHON_IMAGE,
    }
}

fn call(runtime: Runtime, wanted: &[Dependency], lock: Option<&Lockfile>, code: &str) -> Call {
    let mut call = testkit::call(code);
    call.runtime = runtime;
    call.image = image(runtime).to_owned();
    call.dependencies = wanted.to_vec();
    call.lock = lock.cloned();
    call.limits.timeout = Duration::from_secs(30);
    call.limits.memory_bytes = 256 << 20;
    call
}

async fn measure() -> String {
    let mut report = String::new();
    for (runtime, name, version) in [
        (Runtime::Node, "ms", "2.1.3"),
        (Runtime::Python, "six", "1.16.0"),
    ] {
        let wanted = [Dependency {
            name: name.to_owned(),
            version: version.to_owned(),
        }];
        let (language, code, plain) = match runtime {
            Runtime::Node => ("node", "return require('ms')('1s')", "return 1"),
            Runtime::Python => ("python", "import six\nreturn six.__version__", "return 1"),
        };
        let mut over = Vec::new();
        for _ in 0..ROUNDS {
            let bench = launch().await;
            let lock = bench.resolve(runtime, &wanted).await;
            // The pool of other kinds is full by then.
            tokio::time::sleep(Duration::from_secs(3)).await;
            let before = bench.manager(language);
            let first = bench.call(call(runtime, &wanted, Some(&lock), code)).await;
            let own = bench.manager(language) - before;
            over.push((first.as_secs_f64() - own, first, own));
            bench.close().await;
        }
        over.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (most, first, own) = over[over.len() / 2];
        report += &format!(
            "{language}: first call {first:.2?}, of that the package manager {own:.2} s, over it {most:.2} s\n"
        );
        let bench = launch().await;
        let lock = bench.resolve(runtime, &wanted).await;
        let with = || call(runtime, &wanted, Some(&lock), code);
        let without = || call(runtime, &[], None, plain);
        bench.call(with()).await;
        let (mut later, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..LATER {
            // Both wait in the pool by then.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            later.push(bench.call(with()).await);
            bare.push(bench.call(without()).await);
        }
        later.sort();
        bare.sort();
        report += &format!(
            "{language}: later call p50 {:.2?} p90 {:.2?}; without packages p50 {:.2?} p90 {:.2?}\n",
            later[LATER / 2],
            later[LATER * 9 / 10],
            bare[LATER / 2],
            bare[LATER * 9 / 10],
        );
        bench.close().await;
    }
    report
}
