//! The executor on a scripted engine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::error::{Error, ErrorCode, Result};
use domain::fleet::Fleet;
use domain::limits::RunLimits;
use domain::runner::{Call, EngineKind, LogLevel, Outcome, RunEvent, Runner};
use domain::{CallContext, Principal, RequestId, Revision, Scope};
use executor::{Executor, Membership, Settings, Stop, join};
use futures::StreamExt;
use parking_lot::Mutex;
use sandbox::{Engine, EngineStatus, Execution, ExecutionSink, Job, execution};
use telemetry::{BuildInfo, Metrics};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Keeps what it was given; the test says how each call ends.
#[derive(Default)]
struct Scripted {
    started: Mutex<Vec<(Job, ExecutionSink)>>,
    refusals: AtomicUsize,
}

impl Scripted {
    fn next(&self) -> (Job, ExecutionSink) {
        self.started.lock().remove(0)
    }

    fn count(&self) -> usize {
        self.started.lock().len()
    }
}

#[async_trait]
impl Engine for Scripted {
    fn kind(&self) -> EngineKind {
        EngineKind::Isolate
    }

    fn supports(&self, call: &Call) -> Result<()> {
        if call.dependencies.is_empty() {
            Ok(())
        } else {
            Err(Error::new(ErrorCode::PolicyDenied, "no dependencies here"))
        }
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        if job.call.tool == "unstartable" {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(Error::unavailable("sandbox"));
        }
        let (execution, sink) = execution();
        self.started.lock().push((job, sink));
        Ok(execution)
    }

    fn status(&self) -> EngineStatus {
        let running = self.count();
        EngineStatus {
            kind: self.kind(),
            pool_size: 0,
            pool_idle: 0,
            pool: sandbox::PoolStatus::default(),
            running,
            walls: Vec::new(),
        }
    }

    async fn shutdown(&self) {
        self.started.lock().clear();
    }
}

const CEILING: RunLimits = RunLimits {
    timeout: Duration::from_secs(3),
    memory_bytes: 32 << 20,
    cpu_millis: 500,
    max_output_bytes: 1_000,
};

fn setup(capacity: u32) -> (Arc<Scripted>, Executor, Arc<Metrics>) {
    let build = BuildInfo {
        service: "executor",
        version: "0",
        commit: "0",
    };
    let metrics = Arc::new(Metrics::new(build).unwrap());
    let engine = Arc::new(Scripted::default());
    let settings = Settings::new("e-1", CEILING).with_capacity(capacity);
    let executor = Executor::new(engine.clone(), settings, Arc::clone(&metrics));
    (engine, executor, metrics)
}

fn caller() -> CallContext {
    testkit::context(&[Scope::Invoke])
}

#[tokio::test]
async fn events_come_in_order_with_the_name_first_and_the_outcome_last() {
    let (engine, executor, metrics) = setup(1);
    let mut stream = executor
        .run(&caller(), testkit::call("return 1"))
        .await
        .unwrap();
    let (job, sink) = engine.next();
    assert_eq!(job.call.limits, CEILING, "clamped");
    sink.event(RunEvent::Log {
        level: LogLevel::Info,
        data: testkit::raw("1"),
    })
    .await;
    let mut outcome = testkit::outcome("7");
    outcome.usage.warm = true;
    sink.finish(outcome);
    drop(job);

    let Some(RunEvent::Accepted {
        executor: name,
        engine: kind,
    }) = stream.next().await
    else {
        panic!("not accepted first")
    };
    assert_eq!((name.as_str(), kind), ("e-1", EngineKind::Isolate));
    assert!(matches!(stream.next().await, Some(RunEvent::Log { .. })));
    let Some(RunEvent::Finished(outcome)) = stream.next().await else {
        panic!("no outcome")
    };
    assert_eq!(outcome.result.unwrap().unwrap().get(), "7");
    assert!(stream.next().await.is_none());
    assert!(metrics.encode().unwrap().contains(
        "mcp_sandbox_stage_duration_seconds_count{engine=\"isolate\",stage=\"queue\"} 1"
    ));
}

#[tokio::test]
async fn fault_19_a_dropped_stream_cancels_and_the_slot_stays_taken_until_the_sandbox_is_gone() {
    let (engine, executor, _) = setup(1);
    let stream = executor.run(&caller(), testkit::call("1")).await.unwrap();
    let (job, sink) = engine.next();
    assert!(!sink.cancelled().is_cancelled());
    drop(stream);
    assert!(sink.cancelled().is_cancelled());
    assert_eq!(executor.status().in_flight, 1);
    drop(job);
    assert_eq!(executor.status().in_flight, 0);
    sink.finish(Outcome::failed(ErrorCode::Cancelled, "gone"));
}

#[tokio::test]
async fn it_authorises_again_and_refuses_what_the_engine_cannot_run() {
    let (engine, executor, _) = setup(1);
    let nobody = testkit::context(&[Scope::ToolsWrite]);
    for revision in [None, Some(Revision(1))] {
        let call = Call {
            revision,
            ..testkit::call("1")
        };
        let refused = executor.run(&nobody, call).await.err().unwrap();
        assert_eq!(refused.code(), ErrorCode::PermissionDenied);
    }
    let dependency = domain::dependency::Dependency {
        name: "a".to_owned(),
        version: "1".to_owned(),
    };
    let call = Call {
        dependencies: vec![dependency],
        ..testkit::call("1")
    };
    let refused = executor.run(&caller(), call).await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    let call = Call {
        args: testkit::raw("[1]"),
        ..testkit::call("1")
    };
    let refused = executor.run(&caller(), call).await.err().unwrap();
    assert_eq!(
        (refused.code(), refused.field()),
        (ErrorCode::InvalidArgument, Some("args"))
    );
    let refused = executor
        .run(&caller(), testkit::call(&"x".repeat(200_001)))
        .await
        .err()
        .unwrap();
    assert_eq!(
        (refused.code(), refused.field()),
        (ErrorCode::InvalidArgument, Some("code"))
    );
    let _running = executor
        .run(&caller(), testkit::call(&"é".repeat(200_000)))
        .await
        .unwrap();
    assert_eq!(engine.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn fault_39_the_queue_is_bounded_and_its_wait_is_no_part_of_the_calls_time() {
    let (engine, executor, _) = setup(1);
    let mut running = executor.run(&caller(), testkit::call("1")).await.unwrap();
    let mut queued = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let executor = executor.clone();
        queued.spawn(async move {
            let mut stream = executor.run(&caller(), testkit::call("2")).await.unwrap();
            while let Some(event) = stream.next().await {
                if let RunEvent::Finished(outcome) = event {
                    return outcome.usage.queued;
                }
            }
            panic!("no outcome")
        });
        tokio::task::yield_now().await;
    }
    let refused = executor
        .run(&caller(), testkit::call("3"))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), ErrorCode::Overloaded);
    assert!(refused.retry_after().is_some());

    tokio::time::sleep(Duration::from_secs(2)).await;
    let (job, sink) = engine.next();
    sink.finish(testkit::outcome("1"));
    drop(job);
    running.next().await;
    running.next().await;
    for _ in 0..4 {
        while engine.count() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (job, sink) = engine.next();
        // All of its time is left, although it waited for two seconds.
        assert!(
            job.time_left() > Duration::from_millis(2_900),
            "{:?}",
            job.time_left()
        );
        sink.finish(testkit::outcome("2"));
        drop(job);
    }
    while let Some(waited) = queued.join_next().await {
        assert!(waited.unwrap() >= Duration::from_secs(2));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_longer_than_his_budget_is_told_that_nothing_has_run() {
    let (_engine, executor, _) = setup(1);
    let _running = executor.run(&caller(), testkit::call("1")).await.unwrap();
    let principal = Arc::new(Principal::anonymous(&[Scope::Invoke]));
    let brief = CallContext::new(principal, RequestId::random(), Duration::from_millis(200));
    let refused = executor
        .run(&brief, testkit::call("2"))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), ErrorCode::Overloaded);
    assert_eq!(executor.status().waiting, 0);
}

#[tokio::test]
async fn a_call_that_does_not_start_gives_its_slot_back() {
    let (engine, executor, _) = setup(1);
    for _ in 0..3 {
        let call = Call {
            tool: "unstartable".to_owned(),
            ..testkit::call("1")
        };
        let refused = executor.run(&caller(), call).await.err().unwrap();
        assert_eq!(refused.code(), ErrorCode::Unavailable);
    }
    assert_eq!(engine.refusals.load(Ordering::Relaxed), 3);
    assert_eq!(executor.status().in_flight, 0);
}

#[tokio::test]
async fn a_draining_executor_refuses_and_is_drained_when_the_last_call_ends() {
    let (engine, executor, _) = setup(2);
    let _stream = executor.run(&caller(), testkit::call("1")).await.unwrap();
    executor.drain();
    let refused = executor
        .run(&caller(), testkit::call("2"))
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    assert!(executor.status().draining);
    let drained = tokio::time::timeout(Duration::from_millis(20), executor.drained()).await;
    assert!(drained.is_err(), "a call still runs");
    drop(engine.next());
    executor.drained().await;
}

#[tokio::test(start_paused = true)]
async fn it_joins_says_when_it_drains_and_leaves() {
    let (_engine, executor, _) = setup(3);
    let fleet = Arc::new(testkit::FakeFleet::default());
    let stop = Stop {
        draining: CancellationToken::new(),
        stopping: CancellationToken::new(),
    };
    let membership = Membership {
        address: "http://127.0.0.1:1".to_owned(),
        labels: [("pool".to_owned(), "ml".to_owned())].into(),
        version: "1.2.3".to_owned(),
    };
    let mut joined = tokio::task::JoinSet::new();
    joined.spawn(join(
        executor.clone(),
        fleet.clone(),
        membership,
        stop.clone(),
    ));
    let service = CallContext::service("test", Duration::from_secs(60));
    let mut feed = fleet.watch(&service).await.unwrap();
    let mut seen = async |wanted: &dyn Fn(&[domain::fleet::ExecutorInfo]) -> bool| loop {
        let now = feed.next().await.unwrap().unwrap();
        if wanted(&now) {
            return now;
        }
    };
    let now = seen(&|all| !all.is_empty()).await;
    assert_eq!(
        (now[0].id.as_str(), now[0].capacity, now[0].draining),
        ("e-1", 3, false)
    );
    assert_eq!(now[0].engines, [EngineKind::Isolate]);
    let asked = Instant::now();
    stop.draining.cancel();
    seen(&|all| all.first().is_some_and(|it| it.draining)).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "told at once");
    assert!(!executor.status().draining, "it still takes calls");
    stop.stopping.cancel();
    seen(&<[_]>::is_empty).await;
    joined.join_next().await.unwrap().unwrap();
}

/// 79: of many calls at once no more are with the engine than there are slots, however they come and go.
#[tokio::test(start_paused = true)]
async fn fault_79_no_more_calls_than_slots_are_ever_with_the_engine() {
    let (engine, executor, _) = setup(3);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let executor = executor.clone();
        tasks.spawn(async move {
            executor
                .run(&caller(), testkit::call("return 1"))
                .await
                .is_ok()
        });
    }
    let mut done = 0;
    while done < 12 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(engine.count(), 3.min(12 - done));
        assert_eq!(executor.status().in_flight as usize, engine.count());
        let (job, sink) = engine.next();
        sink.finish(testkit::outcome("1"));
        drop(job);
        done += 1;
    }
    while let Some(served) = tasks.join_next().await {
        assert!(served.unwrap());
    }
    assert_eq!(
        (executor.status().in_flight, executor.status().waiting),
        (0, 0)
    );
}
