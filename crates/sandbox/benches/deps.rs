//! What packages cost: the first call of a set over npm's or pip's own time, and later calls with packages
//! small and large, loaded ahead of the call and by it, beside calls without any, in turns and in one run.
//! `cargo bench -p sandbox --bench deps`, with `first`, `node` or `python` for a part of it. It fetches
//! packages from the registries that this machine reaches.

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
use domain::{Call, Lockfile, RequestId, Revision, RunEvent};
use futures::StreamExt;
use sandbox::docker::{DockerEngine, DockerEngineSettings, InstallSettings};
use sandbox::{Engine, Job};
use telemetry::{BuildInfo, Metrics};
use tokio::time::Instant;

const ROUNDS: usize = 3;
const LATER: usize = 15;

/// How long after all containers wait the next call comes.
const PAUSE: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let part = part();
    let is_wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    let show = |report: String| std::io::stdout().write_all(report.as_bytes()).unwrap();
    if is_wanted("first") {
        show(runtime.block_on(first()));
    }
    for (name, language) in [("node", Runtime::Node), ("python", Runtime::Python)] {
        if is_wanted(name) {
            show(runtime.block_on(runtime.spawn(later(language))).unwrap());
        }
    }
    ExitCode::SUCCESS
}

#[allow(
    clippy::disallowed_methods,
    reason = "a bench has no configuration to take its argument from"
)]
fn part() -> Option<String> {
    std::env::args().find(|it| ["first", "node", "python"].contains(&it.as_str()))
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

async fn launch(load_ahead: bool) -> Bench {
    let owner = format!("bench-{}", uuid::Uuid::new_v4());
    let settings = DockerEngineSettings {
        owner: owner.clone(),
        pool_size: 1,
        memory_bytes: 256 << 20,
        load_ahead,
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
    // As of a stored tool, which comes again.
    call.revision = Some(Revision(1));
    call.limits.timeout = Duration::from_secs(30);
    call.limits.memory_bytes = 256 << 20;
    call
}

async fn first() -> String {
    let mut report = String::new();
    for (runtime, name, version) in [
        (Runtime::Node, "ms", "2.1.3"),
        (Runtime::Python, "six", "1.16.0"),
    ] {
        let wanted = [dependency(name, version)];
        let (language, code) = match runtime {
            Runtime::Node => ("node", "return require('ms')('1s')"),
            Runtime::Python => ("python", "import six\nreturn six.__version__"),
        };
        let mut over = Vec::new();
        for _ in 0..ROUNDS {
            let bench = launch(true).await;
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
    }
    report
}

/// Packages, their versions, and code that loads one of them.
const NODE: [(&str, &str, &str); 5] = [
    ("ms", "2.1.3", "return require('ms')('1s')"),
    ("lodash", "4.17.21", "return require('lodash').VERSION"),
    (
        "zod",
        "3.25.76",
        "const { z } = require('zod');\nreturn z.string().parse('x')",
    ),
    (
        "csv-parse",
        "5.6.0",
        "const { parse } = require('csv-parse/sync');\nreturn parse('a,b')",
    ),
    (
        "date-fns",
        "2.30.0",
        "const { addDays } = require('date-fns');\nreturn addDays(new Date(0), 1)",
    ),
];
const PYTHON: [(&str, &str, &str); 4] = [
    ("six", "1.16.0", "import six\nreturn six.__version__"),
    (
        "numpy",
        "2.1.3",
        "import numpy\nreturn float(numpy.mean([1, 2]))",
    ),
    (
        "pandas",
        "2.2.3",
        "import pandas as pd\nreturn int(pd.DataFrame({'n': [1, 2]})['n'].sum())",
    ),
    (
        "pydantic",
        "2.10.6",
        "from pydantic import BaseModel\nclass Row(BaseModel):\n    n: int\nreturn Row(n='7').n",
    ),
];

async fn later(runtime: Runtime) -> String {
    let all: &[(&str, &str, &str)] = match runtime {
        Runtime::Node => &NODE,
        Runtime::Python => &PYTHON,
    };
    let (ahead, lazy) = (launch(true).await, launch(false).await);
    let mut kinds = Vec::new();
    for &(name, version, code) in all {
        let wanted = vec![dependency(name, version)];
        let lock = ahead.resolve(runtime, &wanted).await;
        kinds.push((name, wanted, lock, code));
    }
    let mut times: Vec<[Vec<Duration>; 2]> = vec![Default::default(); kinds.len()];
    let mut bare = Vec::new();
    // The first round installs.
    for round in 0..=LATER {
        for ((_, wanted, lock, code), times) in kinds.iter().zip(&mut times) {
            for (bench, times) in [&ahead, &lazy].into_iter().zip(times) {
                until_quiet(&[&ahead, &lazy]).await;
                let took = bench.call(call(runtime, wanted, Some(lock), code)).await;
                if round > 0 {
                    times.push(took);
                }
            }
        }
        until_quiet(&[&ahead, &lazy]).await;
        let took = ahead.call(call(runtime, &[], None, "return 1")).await;
        if round > 0 {
            bare.push(took);
        }
    }
    let [p50, p90] = quantiles(&mut bare);
    let mut report = format!("{runtime:?}: without packages p50 {p50:.2} ms, p90 {p90:.2} ms\n");
    for ((name, ..), [ahead, lazy]) in kinds.iter().zip(&mut times) {
        let ([a50, a90], [l50, l90]) = (quantiles(ahead), quantiles(lazy));
        report += &format!(
            "  {name}: loaded ahead p50 {a50:.2} ms (+{:.2}), p90 {a90:.2} ms; by the call p50 {l50:.2} ms (+{:.2}), p90 {l90:.2} ms\n",
            a50 - p50,
            l50 - p50,
        );
    }
    for kind in ahead.engine.status().pool.kinds {
        if let Some(bytes) = kind.memory_each {
            report += &format!(
                "  waits: {}, {:.1} MiB\n",
                kind.name,
                bytes as f64 / 1_048_576.0
            );
        }
    }
    ahead.close().await;
    lazy.close().await;
    report
}

/// All that is to wait does, and has for a moment.
async fn until_quiet(benches: &[&Bench]) {
    let is_full = |bench: &&Bench| {
        let kinds = bench.engine.status().pool.kinds;
        kinds.iter().all(|it| it.making == 0 && it.idle >= it.size)
    };
    while !benches.iter().all(is_full) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(PAUSE).await;
}

/// The median and the ninth decile, in milliseconds.
fn quantiles(times: &mut [Duration]) -> [f64; 2] {
    times.sort_unstable();
    [times.len() / 2, times.len() * 9 / 10].map(|at| times[at].as_secs_f64() * 1e3)
}

fn dependency(name: &str, version: &str) -> Dependency {
    Dependency {
        name: name.to_owned(),
        version: version.to_owned(),
    }
}
