use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::limits::RunLimits;
use domain::runner::Usage;
use domain::tool::Isolation;
use domain::{CodeDigest, Outcome, RawValue, RunEvent};
use futures::StreamExt;

mod sessions;

use super::*;

/// An executor that answers what it was told to, and counts.
#[derive(Default)]
struct Scripted {
    refusal: Mutex<Option<ErrorCode>>,
    calls: AtomicUsize,
}

#[async_trait]
impl Runner for Scripted {
    async fn run(&self, _: &CallContext, _: Call) -> Result<RunStream> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(code) = *self.refusal.lock() {
            return Err(Error::new(code, "scripted"));
        }
        let outcome = Outcome {
            result: Ok(None),
            printed: vec![],
            truncated: false,
            usage: Usage::default(),
        };
        let accepted = RunEvent::Accepted {
            executor: "x".into(),
            engine: EngineKind::Isolate,
        };
        Ok(Box::pin(futures::stream::iter([
            accepted,
            RunEvent::Finished(outcome),
        ])))
    }

    async fn resolve(
        &self,
        _: &CallContext,
        _: domain::runner::Resolve,
    ) -> Result<domain::Lockfile> {
        Err(Error::new(ErrorCode::PolicyDenied, "scripted"))
    }
}

struct Fleet {
    placement: Placement,
    clients: Arc<Mutex<HashMap<String, Arc<Scripted>>>>,
    sessions: Arc<Mutex<HashMap<String, Arc<testkit::FakeSessions>>>>,
}

fn info(address: &str, engines: &[EngineKind]) -> ExecutorInfo {
    ExecutorInfo {
        id: address.to_owned(),
        address: address.to_owned(),
        labels: BTreeMap::new(),
        engines: engines.to_vec(),
        capacity: 4,
        draining: false,
        version: "1".to_owned(),
    }
}

fn fleet(list: &[ExecutorInfo]) -> Fleet {
    let clients: Arc<Mutex<HashMap<String, Arc<Scripted>>>> = Arc::default();
    let made = Arc::clone(&clients);
    let sessions: Arc<Mutex<HashMap<String, Arc<testkit::FakeSessions>>>> = Arc::default();
    let kept = Arc::clone(&sessions);
    let placement = Placement::new(Box::new(move |info| {
        let client = Arc::new(Scripted::default());
        assert!(
            made.lock()
                .insert(info.address.clone(), Arc::clone(&client))
                .is_none()
        );
        let sessions = Arc::new(testkit::FakeSessions::new(&info.id));
        kept.lock()
            .insert(info.address.clone(), Arc::clone(&sessions));
        Ok(Client {
            runner: client,
            sessions,
        })
    }));
    placement.set_executors(list);
    Fleet {
        placement,
        clients,
        sessions,
    }
}

impl Fleet {
    fn calls(&self, address: &str) -> usize {
        self.clients.lock()[address].calls.load(Ordering::SeqCst)
    }

    fn refuse(&self, address: &str, code: Option<ErrorCode>) {
        *self.clients.lock()[address].refusal.lock() = code;
    }

    async fn run(&self, engine: EngineChoice) -> Result<RunStream> {
        let context = CallContext::service("test", Duration::from_secs(5));
        Runner::run(&self.placement, &context, call(engine)).await
    }
}

fn call(engine: EngineChoice) -> Call {
    Call {
        tool: "a.tool".into(),
        revision: None,
        code: "".into(),
        code_digest: CodeDigest::of(""),
        args: RawValue::from_string("{}".into()).unwrap(),
        runtime: Runtime::Node,
        engine,
        isolation: Isolation::Call,
        image: String::new(),
        dependencies: Vec::new(),
        lock: None,
        limits: RunLimits {
            timeout: Duration::from_secs(1),
            memory_bytes: 1,
            cpu_millis: 1,
            max_output_bytes: 1,
        },
        log_level: None,
        wants_progress: false,
        client_capabilities: None,
    }
}

#[tokio::test(start_paused = true)]
async fn calls_spread_and_the_busy_one_is_spared() {
    let fleet = fleet(&[info("a", &[]), info("b", &[])]);
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(fleet.run(EngineChoice::Any).await.unwrap());
    }
    assert_eq!(
        (fleet.calls("a"), fleet.calls("b")),
        (10, 10),
        "two choices of two are exact"
    );
    drop(held);
    let executors = fleet.placement.executors.load();
    assert!(executors.iter().all(|one| one.in_flight() == 0));
}

#[tokio::test(start_paused = true)]
async fn fault_24_what_was_not_accepted_is_tried_once_elsewhere() {
    for code in [ErrorCode::Unavailable, ErrorCode::Overloaded] {
        let fleet = fleet(&[info("a", &[]), info("b", &[])]);
        fleet.refuse("a", Some(code));
        for _ in 0..20 {
            let events: Vec<_> = fleet.run(EngineChoice::Any).await.unwrap().collect().await;
            assert!(matches!(events.last(), Some(RunEvent::Finished(_))));
        }
        assert_eq!(fleet.calls("b"), 20);
        fleet.refuse("b", Some(code));
        let before = fleet.calls("a") + fleet.calls("b");
        let Err(refused) = fleet.run(EngineChoice::Any).await else {
            panic!("refused by all")
        };
        assert_eq!(refused.code(), code);
        assert_eq!(
            fleet.calls("a") + fleet.calls("b"),
            before + 2,
            "once more, not more often"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn other_refusals_are_final() {
    let fleet = fleet(&[info("a", &[]), info("b", &[])]);
    fleet.refuse("a", Some(ErrorCode::PolicyDenied));
    fleet.refuse("b", Some(ErrorCode::PolicyDenied));
    assert!(fleet.run(EngineChoice::Any).await.is_err());
    assert_eq!(fleet.calls("a") + fleet.calls("b"), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_rests_and_comes_back() {
    let fleet = fleet(&[info("a", &[]), info("b", &[])]);
    fleet.refuse("a", Some(ErrorCode::Unavailable));
    for _ in 0..10 {
        drop(fleet.run(EngineChoice::Any).await.unwrap());
    }
    assert!(fleet.calls("a") <= 1, "asked once at most while it rests");
    fleet.refuse("a", None);
    let before = fleet.calls("a");
    tokio::time::advance(Duration::from_secs(6)).await;
    for _ in 0..40 {
        drop(fleet.run(EngineChoice::Any).await.unwrap());
    }
    assert!(fleet.calls("a") > before);
}

#[tokio::test(start_paused = true)]
async fn only_those_with_the_engine_are_asked() {
    let fleet = fleet(&[
        info("isolate", &[EngineKind::Isolate]),
        info("docker", &[EngineKind::Docker, EngineKind::Isolate]),
    ]);
    for _ in 0..10 {
        drop(fleet.run(EngineChoice::Docker).await.unwrap());
    }
    assert_eq!((fleet.calls("isolate"), fleet.calls("docker")), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn the_list_changes_while_calls_run() {
    let fleet = fleet(&[info("a", &[]), info("a", &[])]);
    assert_eq!(fleet.placement.extent(), (1, 1));
    let held = fleet.run(EngineChoice::Any).await.unwrap();
    let mut draining = info("a", &[]);
    draining.draining = true;
    fleet.placement.set_executors(&[draining, info("b", &[])]);
    assert_eq!(fleet.placement.extent(), (2, 1));
    drop(fleet.run(EngineChoice::Any).await.unwrap());
    assert_eq!(
        (fleet.calls("a"), fleet.calls("b")),
        (1, 1),
        "and no second client for a"
    );
    fleet.placement.set_executors(&[]);
    let Err(refused) = fleet.run(EngineChoice::Any).await else {
        panic!("there is none")
    };
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    let events: Vec<_> = held.collect().await;
    assert_eq!(events.len(), 2, "a call that runs is not touched");
    let names: BTreeSet<_> = fleet.clients.lock().keys().cloned().collect();
    assert_eq!(names, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
}
