//! The processes of the isolate engine, seen from outside. Each test has a memory limit of its own,
//! which is an argument of its children: that is how it finds them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

#[path = "processes/apart.rs"]
mod apart;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::EngineKind;
use domain::tool::{EngineChoice, Isolation, Runtime};
use domain::{Call, RequestId};
use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use sandbox::isolate::{IsolateEngine, IsolateSettings, LaunchError};
use sandbox::{Engine, Job};
use telemetry::{BuildInfo, Metrics};
use tokio::time::Instant;

fn metrics() -> Arc<Metrics> {
    Arc::new(
        Metrics::new(BuildInfo {
            service: "test",
            version: "0",
            commit: "0",
        })
        .unwrap(),
    )
}

fn settings(memory_bytes: u64, pool_size: usize) -> IsolateSettings {
    let program = env!("CARGO_BIN_EXE_sandbox-guest").into();
    IsolateSettings {
        program,
        memory_bytes,
        pool_size,
        ..IsolateSettings::default()
    }
}

async fn launch(memory_bytes: u64, pool_size: usize) -> IsolateEngine {
    IsolateEngine::launch(settings(memory_bytes, pool_size), metrics())
        .await
        .unwrap()
}

/// The children of the engine with this memory limit.
fn children(memory_bytes: u64) -> Vec<i32> {
    let wanted = format!("\0{memory_bytes}\0");
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let id: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
        (line.contains("--isolate-child") && line.contains(&wanted)).then_some(id)
    });
    ids.collect()
}

async fn run(engine: &IsolateEngine, code: &str) -> Result<String, ErrorCode> {
    let call = testkit::call(code);
    let deadline = Instant::now() + call.limits.timeout;
    let job = Job {
        call,
        request_id: RequestId::random(),
        deadline,
        tenant: domain::TenantId::default(),
        slot: None,
    };
    let mut execution = engine.start(job).await.map_err(|error| error.code())?;
    while let Some(event) = execution.next().await {
        if let domain::RunEvent::Finished(outcome) = event {
            let value = outcome.result.map_err(|failure| failure.code)?;
            return Ok(value.map_or_else(|| "undefined".to_owned(), |raw| raw.get().to_owned()));
        }
    }
    panic!("no outcome")
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_it_cannot_run_is_refused_with_a_sentence() {
    let engine = launch(70_000_001, 0).await;
    assert_eq!(engine.kind(), EngineKind::Isolate);
    let dependency = domain::dependency::Dependency {
        name: "a".to_owned(),
        version: "1".to_owned(),
    };
    let cases = [
        (
            Call {
                runtime: Runtime::Python,
                ..testkit::call("1")
            },
            "Python",
            "Python",
        ),
        (
            Call {
                engine: EngineChoice::Docker,
                ..testkit::call("1")
            },
            "containers",
            "`engine: \"docker\"`",
        ),
        (
            Call {
                dependencies: vec![dependency],
                ..testkit::call("1")
            },
            "dependencies",
            "dependencies",
        ),
    ];
    // Both pages say so, each in one line.
    let code = include_str!("../../../docs/errors/policy_denied.md");
    let engines = include_str!("../../../docs/isolate-engine.md");
    let line = |page: &'static str, begin: &str| {
        let mut lines = page.lines();
        let found = lines.find(|line| line.contains(begin));
        found.unwrap_or_else(|| panic!("no line with {begin}"))
    };
    let pages = [
        line(code, "what the isolate engine does not have"),
        line(engines, "A tool that names dependencies"),
    ];
    for (call, word, named) in cases {
        for page in pages {
            assert!(page.contains(named), "{named}: {page}");
        }
        let refused = engine.supports(&call).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::PolicyDenied);
        assert!(
            refused.message().contains(word) && refused.message().contains("Docker"),
            "{refused}"
        );
        assert!(refused.fix().is_some());
    }
    engine.supports(&testkit::call("1")).unwrap();
    // A process of its own for each call is more than such a tool asks for.
    let shared = Call {
        isolation: Isolation::Tool,
        ..testkit::call("1")
    };
    engine.supports(&shared).unwrap();
    assert!(!pages[0].contains("isolation"), "{}", pages[0]);
    assert!(engines.contains("`isolation: \"tool\"` is accepted"));
}

#[tokio::test]
async fn a_program_that_is_no_sandbox_does_not_launch() {
    for program in ["/bin/false", "/does/not/exist"] {
        let settings = IsolateSettings {
            program: program.into(),
            ..settings(70_000_002, 1)
        };
        let error = IsolateEngine::launch(settings, metrics())
            .await
            .unwrap_err();
        assert!(matches!(error, LaunchError::Start(_)), "{error}");
    }
}

/// 38: a sandbox that died while it waited is never handed out.
#[tokio::test]
async fn fault_38_a_dead_sandbox_is_never_handed_out() {
    const MEMORY: u64 = 70_000_003;
    let engine = launch(MEMORY, 3).await;
    for _ in 0..5 {
        eventually("the pool is full", || engine.status().pool_idle == 3).await;
        for id in children(MEMORY) {
            kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
        }
        assert_eq!(run(&engine, "return 1").await.unwrap(), "1");
    }
    eventually("dead ones are replaced", || {
        engine.status().pool_idle == 3 && children(MEMORY).len() == 3
    })
    .await;
    engine.shutdown().await;
}

/// 39: a burst beyond the pool is served in turn, and afterwards there are as many as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_39_a_burst_is_served_and_leaves_nothing() {
    const MEMORY: u64 = 70_000_004;
    let engine = launch(MEMORY, 2).await;
    let calls = (0..40).map(|n| {
        let engine = &engine;
        async move { run(engine, &format!("return {n}")).await.unwrap() }
    });
    let values = futures::future::join_all(calls).await;
    assert_eq!(values, (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
    eventually("only the pool is left", || {
        engine.status().pool_idle == 2
            && engine.status().running == 0
            && children(MEMORY).len() == 2
    })
    .await;
    engine.shutdown().await;
    assert!(children(MEMORY).is_empty(), "a shutdown leaves nothing");
}

/// 14, 36: hundreds of calls, ended in every way, leave no process and no file behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_36_many_calls_leave_no_process_and_no_file() {
    const MEMORY: u64 = 70_000_005;
    let engine = launch(MEMORY, 2).await;
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    eventually("the pool is full", || engine.status().pool_idle == 2).await;
    let before = open();
    for n in 0..150 {
        match n % 3 {
            0 => assert_eq!(run(&engine, "return 1").await.unwrap(), "1"),
            1 => assert_eq!(
                run(&engine, "throw 1").await.unwrap_err(),
                ErrorCode::ToolFailed
            ),
            _ => {
                let call = testkit::call("for (;;);");
                let deadline = Instant::now() + Duration::from_millis(3);
                let job = Job {
                    call,
                    request_id: RequestId::random(),
                    deadline,
                    tenant: domain::TenantId::default(),
                    slot: None,
                };
                // Some do not even get a sandbox in that time.
                drop(engine.start(job).await);
            }
        }
    }
    eventually("only the pool is left", || {
        engine.status().pool_idle == 2
            && engine.status().running == 0
            && children(MEMORY).len() == 2
    })
    .await;
    // One that nobody needed any more may be ending.
    eventually("as many open files as before", || open() <= before).await;
    engine.shutdown().await;
}

/// 43: a sandbox has no environment, and no files but its three streams.
#[tokio::test]
async fn fault_43_a_sandbox_inherits_nothing() {
    const MEMORY: u64 = 70_000_006;
    let engine = launch(MEMORY, 1).await;
    eventually("the pool is full", || engine.status().pool_idle == 1).await;
    let [id] = children(MEMORY)[..] else {
        panic!("one child")
    };
    assert_eq!(
        fs::read(format!("/proc/{id}/environ")).unwrap_or_default(),
        b""
    );
    let files: Vec<_> = fs::read_dir(format!("/proc/{id}/fd"))
        .map(|all| {
            all.filter_map(|file| file.ok()?.file_name().into_string().ok())
                .collect()
        })
        .unwrap_or_default();
    assert!(
        files
            .iter()
            .all(|file| ["0", "1", "2"].contains(&file.as_str())),
        "{files:?}"
    );
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Threads:\t1",
        "CapEff:\t0000000000000000",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    engine.shutdown().await;
}

/// A child that is killed by somebody else is told as that, and is no timeout and no lack of memory.
#[tokio::test]
async fn fault_04_15_20_a_sandbox_that_somebody_kills_is_told_as_killed() {
    const MEMORY: u64 = 70_000_007;
    let engine = launch(MEMORY, 0).await;
    let call = testkit::call("ctx.log('info', 'runs'); for (;;);");
    let deadline = Instant::now() + call.limits.timeout;
    let job = Job {
        call,
        request_id: RequestId::random(),
        deadline,
        tenant: domain::TenantId::default(),
        slot: None,
    };
    let mut execution = engine.start(job).await.unwrap();
    assert!(matches!(
        execution.next().await,
        Some(domain::RunEvent::Log { .. })
    ));
    for id in children(MEMORY) {
        kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
    }
    let Some(domain::RunEvent::Finished(outcome)) = execution.next().await else {
        panic!("no end")
    };
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::ToolFailed);
    assert!(failure.message.contains("SIGKILL"), "{failure:?}");
}

/// The time and the memory of a call are reported.
#[tokio::test]
async fn usage_is_reported_for_calls_that_end_and_for_those_that_are_ended() {
    let engine = launch(70_000_008, 1).await;
    for (code, ends) in [
        (
            "const t = Date.now(); while (Date.now() - t < 50); return 1",
            true,
        ),
        ("for (;;);", false),
    ] {
        let mut call = testkit::call(code);
        call.limits.timeout = Duration::from_millis(120);
        let deadline = Instant::now() + call.limits.timeout;
        let job = Job {
            call,
            request_id: RequestId::random(),
            deadline,
            tenant: domain::TenantId::default(),
            slot: None,
        };
        let events: Vec<_> = engine.start(job).await.unwrap().collect().await;
        let [domain::RunEvent::Finished(outcome)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(outcome.result.is_ok(), ends);
        assert!(
            outcome.usage.running >= Duration::from_millis(45),
            "{:?}",
            outcome.usage
        );
        // From outside it is counted in ticks, of which a busy machine may not have given one.
        let cpu = outcome.usage.cpu.unwrap();
        assert!(!ends || cpu > Duration::ZERO, "{:?}", outcome.usage);
        assert!(
            outcome.usage.peak_memory_bytes.unwrap() > 1 << 20,
            "{:?}",
            outcome.usage
        );
    }
    engine.shutdown().await;
}

/// A program that runs the probe as if this machine could not build one of the walls.
fn lacking(folder: &std::path::Path, wall: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(wall);
    let guest = env!("CARGO_BIN_EXE_sandbox-guest");
    fs::write(&path, format!("#!/bin/sh\nexec {guest} \"$@\" {wall}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn without_a_required_wall_it_starts_only_when_told_so() {
    let folder = tempfile::tempdir().unwrap();
    for wall in ["landlock", "seccomp", "limits"] {
        let strict = IsolateSettings {
            program: lacking(folder.path(), wall),
            ..settings(70_000_009, 1)
        };
        let weaker = IsolateSettings {
            allow_weaker: true,
            ..strict.clone()
        };
        let error = IsolateEngine::launch(strict, metrics()).await.unwrap_err();
        let LaunchError::Walls(missing) = &error else {
            panic!("{error}")
        };
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].name, wall);
        let text = error.to_string();
        assert!(
            text.contains(wall) && text.contains("MCP_EXECUTION_ALLOW_WEAKER_ISOLATE"),
            "{text}"
        );

        let engine = IsolateEngine::launch(weaker, metrics()).await.unwrap();
        let walls = engine.status().walls;
        assert!(
            walls.iter().any(|it| it.name == wall && !it.held),
            "{walls:?}"
        );
        assert_eq!(run(&engine, "return 1").await.unwrap(), "1");
        engine.shutdown().await;
    }
}
