//! The pool on a real daemon: what waits, for whom, and what is told about it.

use std::sync::Arc;
use std::time::Duration;

use domain::runner::{Call, Outcome, RunEvent};
use domain::{RequestId, TenantId};
use futures::StreamExt;
use futures::future::join_all;
use parking_lot::Mutex;
use sandbox::docker::DockerEngineSettings;
use sandbox::{Job, Stage};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, settings};
use crate::suite::run::{IMAGE, Subject, brief};

async fn run_of(engine: &Subject, tenant: &str, call: Call) -> Outcome {
    let job = Job {
        deadline: Instant::now() + call.limits.timeout,
        call,
        request_id: RequestId::random(),
        tenant: TenantId::parse(tenant).unwrap(),
        slot: None,
    };
    let events: Vec<_> = engine.start(job).await.unwrap().collect().await;
    let Some(RunEvent::Finished(outcome)) = events.into_iter().last() else {
        panic!("no end")
    };
    outcome
}

async fn until(what: &str, most: Duration, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < most, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// 37: what waits in an image whose name has moved serves nobody any more; what waits then is of the
/// image that the name means now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_37_a_tag_that_moves_empties_the_pool() {
    let docker = testkit::docker::daemon();
    let tag = format!(
        "dynamic-mcp-test/moves:{}",
        &RequestId::random().as_str()[..8]
    );
    docker.run(&["tag", IMAGE, &tag]).await;
    let rig = Rig::with(DockerEngineSettings {
        allowed_images: vec![tag.clone()],
        ..settings()
    })
    .await;
    rig.only_the_pool().await;
    let before = rig.containers().await;
    docker
        .run(&["tag", testkit::docker::BARE_IMAGE, &tag])
        .await;
    until("the old ones are gone", Duration::from_secs(60), || {
        let kinds = rig.engine.status().pool.kinds;
        // One for the image that the name means now, with as many as before.
        kinds.len() == 1
            && kinds[0].idle == 2
            && rig
                .metrics
                .sandbox_create_duration
                .with_label_values(&["docker"])
                .get_sample_count()
                == 4
    })
    .await;
    rig.only_the_pool().await;
    let after = rig.containers().await;
    assert!(
        after.iter().all(|name| !before.contains(name)),
        "{before:?} {after:?}"
    );
    let call = Call {
        image: tag.clone(),
        ..brief("return require('fs').existsSync('/bin/sh')", 20_000)
    };
    let outcome = run_of(&rig.engine, "t", call).await;
    let value = outcome.result.unwrap().unwrap();
    assert_eq!(
        (value.get(), outcome.usage.warm),
        ("false", true),
        "the image without a shell"
    );
    rig.close().await;
    docker.run(&["rmi", &tag]).await;
}

const LIMIT: &str = "const fs = require('fs');
    const paths = ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'];
    return Number(fs.readFileSync(paths.find((path) => fs.existsSync(path)), 'utf8'))";

/// 40: a call with other limits never gets what waits for others; what it asks for waits for the next
/// one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_40_a_waiting_container_serves_its_own_kind_only() {
    let rig = Rig::new().await;
    rig.only_the_pool().await;
    let mut small = brief(LIMIT, 20_000);
    small.limits.memory_bytes = 48 << 20;
    for warm in [false, true] {
        let outcome = run_of(&rig.engine, "t", small.clone()).await;
        let value = outcome.result.unwrap().unwrap();
        assert_eq!((value.get(), outcome.usage.warm), ("50331648", warm));
        until("one waits", Duration::from_secs(20), || {
            let kinds = rig.engine.status().pool.kinds;
            kinds
                .iter()
                .any(|kind| kind.name.contains(" 48m ") && kind.idle > 0)
        })
        .await;
    }
    let mut large = brief(LIMIT, 20_000);
    large.limits.memory_bytes = 64 << 20;
    let outcome = run_of(&rig.engine, "t", large).await;
    assert_eq!(outcome.result.unwrap().unwrap().get(), "67108864");
    rig.close().await;
}

/// 39: while one tenant offers far more than the daemon can make, another with a single call in flight
/// is served in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_39_a_tenant_with_one_call_is_served_between_those_of_another() {
    let rig = Rig::new().await;
    rig.only_the_pool().await;
    let served = Mutex::new(Vec::new());
    let one = async |tenant: &'static str| {
        let outcome = run_of(&rig.engine, tenant, brief("return 1", 60_000)).await;
        assert!(outcome.result.is_ok(), "{:?}", outcome.result);
        served.lock().push(tenant);
    };
    let flood = join_all((0..40).map(|_| one("many")));
    let single = async {
        sleep(Duration::from_millis(200)).await;
        for _ in 0..6 {
            one("few").await;
        }
    };
    tokio::join!(flood, single);
    let order = served.into_inner();
    let last = order.iter().rposition(|it| *it == "few").unwrap();
    // Of those that are made every second one is its own; what was waiting or on its way when it came
    // is not.
    assert!(last <= 6 * 3 + 6, "{order:?}");
    rig.close().await;
}

/// 78: every stage has a sample, hits and misses are told with their reasons, and what those that wait
/// use is measured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_78_the_pool_tells_all_about_itself() {
    let rig = Rig::with(DockerEngineSettings {
        session_pool_size: 1,
        ..settings()
    })
    .await;
    rig.only_the_pool().await;
    let measured = |kind: &sandbox::KindStatus| kind.memory_each.is_some();
    until("all are measured", Duration::from_secs(10), || {
        rig.engine.status().pool.kinds.iter().all(measured)
    })
    .await;
    let pool = rig.engine.status().pool;
    let names: Vec<&str> = pool.kinds.iter().map(|kind| kind.name.as_str()).collect();
    assert!(
        names.len() == 2
            && names[0].starts_with("node call sha256:")
            && names[1].starts_with("node session sha256:"),
        "{names:?}"
    );
    let each: Vec<u64> = pool
        .kinds
        .iter()
        .filter_map(|kind| kind.memory_each)
        .collect();
    assert!(
        each.len() == 2 && each.iter().all(|bytes| (2 << 20..64 << 20).contains(bytes)),
        "{pool:?}"
    );
    assert!(pool.memory_bytes >= each[0] * 2, "{pool:?}");
    let calls = (0..4).map(|n| run_of(&rig.engine, "t", brief(&format!("return {n}"), 30_000)));
    let outcomes = join_all(calls).await;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(
            outcome.result.unwrap().map(|it| it.get().to_owned()),
            Some(json!(n).to_string())
        );
    }
    rig.only_the_pool().await;
    let metrics = &rig.metrics;
    for stage in Stage::ALL {
        let samples = metrics
            .sandbox_stage_duration
            .with_label_values(&["docker", stage.as_str()])
            .get_sample_count();
        // The queue is the executor's.
        let expected = if stage == Stage::Queue { 0 } else { 4 };
        assert_eq!(samples, expected, "{stage:?}");
    }
    assert_eq!(metrics.pool_hits.with_label_values(&["docker"]).get(), 2);
    let misses = |reason: &str| {
        metrics
            .pool_misses
            .with_label_values(&["docker", reason])
            .get()
    };
    assert_eq!(misses("empty") + misses("booting"), 2);
    rig.close().await;
}

/// What calls of a kind need is destroyed with the engine, also what is being made then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_ends_in_the_middle_of_a_burst_leaves_nothing() {
    let rig = Rig::new().await;
    let calls = (0..6).map(|n| {
        let engine = Arc::clone(&rig.engine);
        async move {
            let mut call = brief("return 1", 30_000);
            call.limits.memory_bytes = (40 + n) << 20;
            let job = Job {
                deadline: Instant::now() + call.limits.timeout,
                call,
                request_id: RequestId::random(),
                tenant: TenantId::default(),
                slot: None,
            };
            engine.start(job).await.map(drop)
        }
    });
    let end = async {
        sleep(Duration::from_millis(300)).await;
        rig.close().await;
    };
    let (ended, ()) = tokio::join!(join_all(calls), end);
    assert!(
        ended.iter().any(Result::is_err),
        "some were told: {ended:?}"
    );
}
