//! Where containers come from and go to: the pool, bursts, cycles, a daemon that goes away.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::{Call, RunEvent};
use futures::StreamExt;
use sandbox::Job;
use sandbox::docker::{DockerEngine, DockerEngineSettings};
use serde_json::json;
use testkit::docker::PrivateDaemon;
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, job, metrics, settings};
use crate::suite::run::{IMAGE, Subject, brief, call, idle, run, run_call, start};

/// Whether the full counts of the issue were asked for.
#[allow(
    clippy::disallowed_methods,
    reason = "the soak command tells tests by its environment"
)]
pub(crate) fn soak() -> bool {
    std::env::var_os("MCP_TEST_SOAK").is_some()
}

fn cycles() -> usize {
    if soak() { 1_000 } else { 24 }
}

/// 38: containers that died while they waited are passed over, and no call notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_38_a_dead_container_serves_nobody() {
    let rig = Rig::new().await;
    let docker = testkit::docker::daemon();
    for at_the_same_moment in [false, true, true] {
        rig.only_the_pool().await;
        let names = rig.containers().await;
        let kill = async {
            for name in &names {
                // One that has just served its call is gone already.
                drop(docker.try_run(&["kill", name]).await);
            }
        };
        let serve = async {
            if !at_the_same_moment {
                sleep(Duration::from_millis(1)).await;
            }
            let execution = rig
                .engine
                .start(job(brief("return 2", 20_000)))
                .await
                .unwrap();
            execution.collect::<Vec<_>>().await
        };
        let events = if at_the_same_moment {
            tokio::join!(kill, serve).1
        } else {
            kill.await;
            serve.await
        };
        let Some(RunEvent::Finished(outcome)) = events.last() else {
            panic!("{events:?}")
        };
        match &outcome.result {
            Ok(value) => assert_eq!(value.as_ref().unwrap().get(), "2"),
            // It was hit while it ran, which nobody can undo.
            Err(failure) => assert!(
                at_the_same_moment && failure.message.contains("SIGKILL"),
                "{failure:?}"
            ),
        }
    }
    rig.only_the_pool().await;
    rig.close().await;
}

/// 39: a burst is served, each in a container of its own, and leaves the pool as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_39_a_burst_is_served_and_leaves_nothing() {
    let rig = Rig::new().await;
    rig.only_the_pool().await;
    let calls = (0..8).map(|n| {
        let code = format!("return [{n}, require('fs').readdirSync('/tmp').length, require('fs').writeFileSync('/tmp/{n}', '')]");
        let mut call = brief(&code, 30_000);
        call.limits.memory_bytes = 64 << 20;
        let engine = Arc::clone(&rig.engine);
        async move {
            let events: Vec<_> = engine.start(job(call)).await.unwrap().collect().await;
            let Some(RunEvent::Finished(outcome)) = events.last().cloned() else {
                panic!("{events:?}")
            };
            outcome
        }
    });
    let outcomes = futures::future::join_all(calls).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        let value = outcome.result.as_ref().unwrap().as_ref().unwrap();
        assert_eq!(value.get(), format!("[{n},0,null]"));
    }
    assert_eq!(outcomes.iter().filter(|it| it.usage.warm).count(), 2);
    rig.only_the_pool().await;
    let created = rig
        .metrics
        .sandbox_create_duration
        .with_label_values(&["docker"]);
    assert_eq!(
        created.get_sample_count(),
        10,
        "one each, and the pool again"
    );
    rig.close().await;
}

/// 14, 18, 19, 36: calls ended in every way leave nothing on the daemon and nothing in this process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_36_alone_many_calls_leave_nothing() {
    let docker = testkit::docker::daemon();
    let before = docker.listing().await;
    let rig = Rig::new().await;
    rig.only_the_pool().await;
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let mut files = None;
    for n in 0..cycles() {
        match n % 4 {
            0 => assert_eq!(run(&rig.engine, "return 1").await.value(), Some(json!(1))),
            1 => drop(
                run(&rig.engine, "throw 1")
                    .await
                    .failure(ErrorCode::ToolFailed),
            ),
            2 => {
                let ended = run_call(&rig.engine, brief("for (;;);", 100)).await;
                ended.failure(ErrorCode::Timeout);
            }
            _ => {
                let execution = start(&rig.engine, call("for (;;);")).await;
                sleep(Duration::from_millis(20)).await;
                drop(execution);
            }
        }
        if n == 7 {
            rig.only_the_pool().await;
            files = Some(open());
        }
    }
    rig.only_the_pool().await;
    let files = files.unwrap();
    assert!(open() <= files + 4, "{} open files, {files} before", open());
    let owner = rig.owner.clone();
    rig.close().await;
    let after = docker.listing().await;
    let others = |line: &String| !line.contains("dynamic-mcp-sandbox-");
    let changed: Vec<String> = after.since(&before).into_iter().filter(others).collect();
    assert!(changed.is_empty(), "{owner}: {changed:?}");
}

/// The executor's slot is given back when the container is gone, not when the answer is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_a_slot_is_free_when_the_container_is_gone() {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let rig = Rig::new().await;
    rig.only_the_pool().await;
    let waiting = rig.containers().await;
    let freed = Arc::new(AtomicBool::new(false));
    let job = Job {
        slot: Some(Box::new(Flag(Arc::clone(&freed)))),
        ..job(call("return 1"))
    };
    let events: Vec<_> = rig.engine.start(job).await.unwrap().collect().await;
    assert_eq!(events.len(), 1);
    while !freed.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(1)).await;
    }
    let there = rig.containers().await;
    let left = waiting.iter().filter(|name| there.contains(name)).count();
    assert_eq!(left, 1, "the one that ran is gone");
    rig.close().await;
}

async fn private(daemon: &PrivateDaemon) -> Subject {
    let settings = DockerEngineSettings {
        docker: sandbox::docker::DockerSettings {
            host: Some(daemon.host()),
            ..Default::default()
        },
        allowed_images: vec![testkit::docker::BARE_IMAGE.to_owned()],
        ..settings()
    };
    Arc::new(DockerEngine::launch(settings, metrics()).await.unwrap())
}

/// 29, 31: a daemon that dies under a call is told within bounds, and found again without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_29_31_a_daemon_that_dies_is_an_error_and_then_over() {
    let mut daemon = PrivateDaemon::start().await;
    let engine = private(&daemon).await;
    let bare = |code: &str, millis| Call {
        image: testkit::docker::BARE_IMAGE.to_owned(),
        ..brief(code, millis)
    };
    let one = run_call(&engine, bare("return 1", 20_000)).await;
    assert_eq!(one.value(), Some(json!(1)));
    let mut execution = start(
        &engine,
        bare(
            "ctx.log('info', 1); await new Promise((done) => setTimeout(done, 20000))",
            25_000,
        ),
    )
    .await;
    assert!(matches!(execution.next().await, Some(RunEvent::Log { .. })));
    let begun = Instant::now();
    daemon.kill();
    let Some(RunEvent::Finished(outcome)) = execution.next().await else {
        panic!("no end")
    };
    let failure = outcome.result.unwrap_err();
    assert_eq!(failure.code, ErrorCode::Unavailable, "{failure:?}");
    assert!(failure.may_have_run && begun.elapsed() < Duration::from_secs(15));
    // Whoever comes now is told, and not kept waiting.
    let begun = Instant::now();
    let error = engine
        .start(job(bare("return 1", 20_000)))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    daemon.resume().await;
    let begun = Instant::now();
    while engine.status().pool_idle == 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(90),
            "{:?}",
            engine.status()
        );
        sleep(Duration::from_millis(100)).await;
    }
    let two = run_call(&engine, bare("return 2", 20_000)).await;
    assert_eq!(two.value(), Some(json!(2)));
    idle(&engine).await;
    engine.shutdown().await;
    daemon.stop().await;
}

/// An image without Node.js, as one for another language is: a call of it is told so, no container
/// waits in it, and the others are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_an_image_without_node_keeps_nobody_waiting() {
    let docker = testkit::docker::daemon();
    let name = "dynamic-mcp-test/nothing:1";
    let script = format!("tar -c -C /usr/share/zoneinfo UTC | docker import - {name}");
    let made = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let rig = Rig::with(DockerEngineSettings {
        allowed_images: vec![IMAGE.to_owned(), name.to_owned()],
        ..settings()
    })
    .await;
    let begun = Instant::now();
    // The pool of one image, as soon as the other has shown what it is.
    while rig.engine.status().pool_size != 2 || rig.engine.status().pool_idle != 2 {
        let status = rig.engine.status();
        assert!(begun.elapsed() < Duration::from_secs(30), "{status:?}");
        sleep(Duration::from_millis(100)).await;
    }
    let nothing = Call {
        image: name.to_owned(),
        ..brief("return 1", 20_000)
    };
    let refused = rig.engine.start(job(nothing)).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Unavailable, "{refused}");
    assert!(refused.to_string().contains("needs `node`"), "{refused}");
    let one = run_call(&rig.engine, brief("return 1", 20_000)).await;
    assert_eq!(one.value(), Some(json!(1)));
    rig.close().await;
    docker.run(&["image", "rm", name]).await;
}
