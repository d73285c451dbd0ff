//! How long the operations of a session take, on an agent on Node.js and one on Python, and what a
//! hundred open sessions cost the process that holds them.
//! `cargo bench -p sandbox --bench session`.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot run has nothing to measure"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use domain::session::{Exec, Network};
use domain::tool::Runtime;
use domain::{Call, RequestId, RunEvent, TenantId};
use futures::StreamExt;
use sandbox::docker::{DockerEngine, DockerEngineSettings};
use sandbox::{Engine, Job, OpenSession, Session};
use telemetry::{BuildInfo, Metrics};
use tokio::time::{Instant, sleep};

const IMAGES: [(&str, Runtime); 2] = [
    ("dynamic-mcp-test/node:1", Runtime::Node),
    ("dynamic-mcp-test/python:1", Runtime::Python),
];
/// Sessions that wait.
const POOL: usize = 2;
const OPENS: usize = 15;
const COMMANDS: usize = 100;
const RUNS: usize = 40;
/// Between runs: the next process gets ready meanwhile, as between the calls of somebody who thinks.
const THINKS: Duration = Duration::from_millis(300);
/// Sessions that are open at the same time.
const OPEN: usize = 100;
const MEMORY: u64 = 256 << 20;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(measure());
    std::io::stdout().write_all(report.as_bytes()).unwrap();
    ExitCode::SUCCESS
}

async fn launch(image: &str, waiting: usize) -> DockerEngine {
    let build = BuildInfo {
        service: "bench",
        version: "0",
        commit: "0",
    };
    let settings = DockerEngineSettings {
        owner: "bench-sessions".to_owned(),
        pool_size: 0,
        session_pool_size: waiting,
        creating: 2,
        memory_bytes: MEMORY,
        allowed_images: vec![image.to_owned()],
        ..DockerEngineSettings::default()
    };
    let metrics = Arc::new(Metrics::new(build).unwrap());
    DockerEngine::launch(settings, metrics).await.unwrap()
}

async fn open(engine: &DockerEngine, image: &str) -> Box<dyn Session> {
    let open = OpenSession {
        tenant: TenantId::default(),
        image: image.to_owned(),
        network: Network::None,
        env: BTreeMap::new(),
        lock: None,
        memory_bytes: MEMORY,
        cpu_millis: 1_000,
        lifetime: Duration::from_secs(3_600),
        deadline: Instant::now() + Duration::from_secs(60),
        slot: None,
    };
    engine.open_session(open).await.unwrap()
}

async fn full(engine: &DockerEngine, waiting: usize) {
    while engine.status().pool_idle < waiting {
        sleep(Duration::from_millis(5)).await;
    }
    // The daemon is done with those that went before.
    sleep(Duration::from_millis(200)).await;
}

async fn echo(session: &dyn Session) {
    let exec = Exec {
        commands: vec!["echo hello".to_owned()],
        timeout: Duration::from_secs(10),
    };
    let until = Instant::now() + Duration::from_secs(10);
    let results = session.exec(exec, 200_000, until).await.unwrap();
    assert_eq!(results[0].stdout, "hello\n");
}

async fn run(session: &dyn Session, runtime: Runtime) {
    let call = Call {
        runtime,
        ..testkit::call("return 1")
    };
    let job = Job {
        deadline: Instant::now() + call.limits.timeout,
        call,
        request_id: RequestId::random(),
        tenant: TenantId::default(),
        slot: None,
    };
    let mut execution = session.run(job).await.unwrap();
    loop {
        if let RunEvent::Finished(outcome) = execution.next().await.unwrap() {
            outcome.result.unwrap();
            return;
        }
    }
}

async fn measure() -> String {
    let mut report = String::new();
    for (image, runtime) in IMAGES {
        let engine = launch(image, POOL).await;
        let mut opens = Vec::new();
        for _ in 0..OPENS {
            full(&engine, POOL).await;
            let begun = Instant::now();
            let session = open(&engine, image).await;
            opens.push(begun.elapsed());
            session.stop().await;
        }
        full(&engine, POOL).await;
        let session = open(&engine, image).await;
        // The pool fills up, and the first process gets ready.
        full(&engine, POOL).await;
        sleep(Duration::from_secs(1)).await;
        let (mut echoes, mut runs, mut writes, mut reads) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..COMMANDS {
            let begun = Instant::now();
            echo(&*session).await;
            echoes.push(begun.elapsed());
        }
        for _ in 0..RUNS {
            sleep(THINKS).await;
            let begun = Instant::now();
            run(&*session, runtime).await;
            runs.push(begun.elapsed());
        }
        for _ in 0..COMMANDS {
            let until = Instant::now() + Duration::from_secs(10);
            let begun = Instant::now();
            session.write("file", vec![7; 65_536], until).await.unwrap();
            writes.push(begun.elapsed());
            let begun = Instant::now();
            session.read("file", until).await.unwrap();
            reads.push(begun.elapsed());
        }
        for (name, times) in [
            ("open, one waiting", opens),
            ("exec echo", echoes),
            ("run, a process waiting", runs),
            ("write 64 KiB", writes),
            ("read 64 KiB", reads),
        ] {
            report += &row(&format!("{runtime:?}: {name}"), times);
        }
        session.stop().await;
        engine.shutdown().await;
    }
    report + &many().await
}

/// What open sessions cost here, whatever they cost the machine.
async fn many() -> String {
    let (image, runtime) = IMAGES[0];
    let engine = launch(image, 0).await;
    let before = resident();
    let mut sessions = Vec::new();
    for _ in 0..OPEN {
        sessions.push(open(&engine, image).await);
    }
    let opened = resident();
    for session in &sessions {
        echo(&**session).await;
    }
    run(&*sessions[0], runtime).await;
    let used = resident();
    futures::future::join_all(sessions.iter().map(|session| session.stop())).await;
    engine.shutdown().await;
    format!(
        "resident memory of this process: {before:.1} MiB, {opened:.1} with {OPEN} sessions open, {used:.1} after use\n"
    )
}

/// Of this process, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<f64>().unwrap() / 1_024.0
}

fn row(name: &str, mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times[index.min(times.len() - 1)].as_secs_f64() * 1_000.0
    };
    format!(
        "{name:<34} p50 {:>7.2} ms   p90 {:>7.2} ms   p99 {:>7.2} ms   n {}\n",
        at(0.5),
        at(0.9),
        at(0.99),
        times.len()
    )
}
