//! Sessions on a scripted engine, in paused time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

mod scripted;

use std::sync::Arc;
use std::time::Duration;

use domain::error::ErrorCode;
use domain::session::{Exec, Network, SessionId, SessionInfo, SessionSpec, Sessions};
use domain::validate::Policy;
use domain::{CallContext, RunEvent, Scope};
use executor::{Executor, SessionSettings, Settings};
use futures::StreamExt;
use scripted::{Fake, metrics, rest};
use telemetry::Metrics;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, timeout};

const IDLE: Duration = Duration::from_secs(60);
const LIFETIME: Duration = Duration::from_secs(600);

struct Rig {
    engine: Arc<Fake>,
    executor: Arc<Executor>,
    metrics: Arc<Metrics>,
}

fn rig(most: usize) -> Rig {
    rig_named("executor-a-1", most)
}

fn rig_named(name: &str, most: usize) -> Rig {
    let engine = Arc::new(Fake::default());
    let metrics = metrics();
    let settings = Settings {
        name: name.to_owned(),
        sessions: SessionSettings {
            idle: IDLE,
            lifetime: LIFETIME,
            max_sessions: most,
            network: Network::None,
            policy: Policy {
                allowed_images: vec!["some:1".to_owned()],
                ..Policy::default()
            },
        },
        ..Settings::default()
    };
    let executor = Arc::new(Executor::new(
        engine.clone(),
        settings,
        Arc::clone(&metrics),
    ));
    Rig {
        engine,
        executor,
        metrics,
    }
}

fn caller(subject: &str) -> CallContext {
    let mut context = testkit::context(&[Scope::Sandbox]);
    let mut principal = (*context.principal).clone();
    principal.subject = subject.to_owned();
    context.principal = Arc::new(principal);
    context.budget = Duration::from_secs(300);
    context
}

fn jane() -> CallContext {
    caller("jane")
}

fn sleep(seconds: u64) -> Exec {
    Exec {
        commands: vec![format!("sleep {seconds}")],
        timeout: Duration::from_secs(200),
    }
}

impl Rig {
    async fn open(&self) -> SessionInfo {
        self.executor
            .open(&jane(), SessionSpec::default())
            .await
            .unwrap()
    }

    /// What using the session comes to.
    async fn used(&self, context: &CallContext, id: &SessionId) -> Result<(), ErrorCode> {
        let used = self.executor.exec(context, id, sleep(0)).await;
        used.map(drop).map_err(|error| error.code())
    }

    fn counted(&self, reason: &str) -> u64 {
        self.metrics
            .sessions_ended
            .with_label_values(&[reason])
            .get()
    }

    fn active(&self) -> i64 {
        self.metrics.sessions_active.get()
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_its_owners_alone() {
    let rig = rig(5);
    let id = rig.open().await.id;
    assert_eq!(rig.used(&jane(), &id).await, Ok(()));
    let mut other_tenant = jane();
    let mut principal = (*other_tenant.principal).clone();
    principal.tenant = domain::TenantId::parse("other").unwrap();
    other_tenant.principal = Arc::new(principal);
    for stranger in [caller("june"), other_tenant] {
        let said = |error: domain::Error| (error.code(), error.to_string());
        let unknown = said(domain::session::unknown());
        let no = &rig.executor;
        let answers = [
            no.exec(&stranger, &id, sleep(0)).await.map(drop),
            no.run(&stranger, &id, testkit::call("1")).await.map(drop),
            no.write(&stranger, &id, "a", vec![1]).await,
            no.read(&stranger, &id, "a").await.map(drop),
            no.list(&stranger, &id, ".").await.map(drop),
            no.stop(&stranger, &id).await,
        ];
        for answer in answers {
            assert_eq!(said(answer.unwrap_err()), unknown);
        }
        assert_eq!(no.sessions(&stranger).await.unwrap(), []);
    }
    assert_eq!(rig.executor.sessions(&jane()).await.unwrap().len(), 1);
    let mut nobody = jane();
    nobody.principal = Arc::new(domain::Principal::anonymous(&[Scope::Invoke]));
    let refused = rig.executor.sessions(&nobody).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn fault_79_many_creates_at_once_make_as_many_as_there_may_be() {
    let rig = rig(3);
    rig.engine.opening_takes(Duration::from_secs(1));
    let mut creates = JoinSet::new();
    for _ in 0..50 {
        let executor = Arc::clone(&rig.executor);
        creates.spawn(async move { executor.open(&jane(), SessionSpec::default()).await });
    }
    let answers = creates.join_all().await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (3, 47));
    assert_eq!((rig.engine.most_at_once(), rig.active()), (3, 3));
    for refusal in refused {
        let error = refusal.unwrap_err();
        assert_eq!(error.code(), ErrorCode::LimitExceeded);
        let all = error.to_string();
        assert!(
            all.contains("limit reached (3)") && all.contains("sandbox.stop"),
            "{all}"
        );
    }
    // The place is free when the sandbox is gone, not before.
    rig.engine.leaving_takes(Duration::from_secs(5));
    let id = made[0].as_ref().unwrap().id.clone();
    let executor = Arc::clone(&rig.executor);
    creates = JoinSet::new();
    creates.spawn(async move {
        executor.stop(&jane(), &id).await.unwrap();
        executor.open(&jane(), SessionSpec::default()).await
    });
    rest(Duration::from_secs(2)).await;
    let early = rig.executor.open(&jane(), SessionSpec::default()).await;
    assert_eq!(early.unwrap_err().code(), ErrorCode::LimitExceeded);
    assert!(creates.join_next().await.unwrap().unwrap().is_ok());
    assert_eq!(rig.engine.most_at_once(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_fails_or_is_given_up_gives_its_place_back() {
    let rig = rig(1);
    rig.engine.refuse_next(ErrorCode::Unavailable);
    let refused = rig.executor.open(&jane(), SessionSpec::default()).await;
    assert_eq!(refused.unwrap_err().code(), ErrorCode::Unavailable);
    rig.engine.opening_takes(Duration::from_secs(3));
    let me = jane();
    let opening = rig.executor.open(&me, SessionSpec::default());
    let given_up = timeout(Duration::from_secs(1), opening);
    assert!(given_up.await.is_err());
    rig.open().await;
    let mut hasty = jane();
    hasty.budget = Duration::from_secs(1);
    let full = rig.executor.open(&hasty, SessionSpec::default()).await;
    assert_eq!(full.unwrap_err().code(), ErrorCode::LimitExceeded);
}

#[tokio::test(start_paused = true)]
async fn fault_28_created_and_never_used_expires_by_itself() {
    let rig = rig(5);
    let keeper = rig.executor.as_ref().clone().keep_sessions();
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper);
    let id = rig.open().await.id;
    rest(IDLE - Duration::from_secs(2)).await;
    assert_eq!((rig.engine.alive(), rig.active()), (1, 1));
    // Nobody asks for anything: the sweep finds it.
    rest(Duration::from_secs(4)).await;
    assert_eq!((rig.engine.alive(), rig.active()), (0, 0));
    assert_eq!(rig.counted("idle"), 1);
    assert_eq!(rig.used(&jane(), &id).await, Err(ErrorCode::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_ask_for_a_shorter_idle_time_and_not_for_a_longer_one() {
    let rig = rig(5);
    let with = |idle| SessionSpec {
        idle: Some(Duration::from_secs(idle)),
        ..SessionSpec::default()
    };
    let short = rig.executor.open(&jane(), with(5)).await.unwrap();
    let long = rig.executor.open(&jane(), with(5_000)).await.unwrap();
    assert_eq!((short.idle, long.idle), (Duration::from_secs(5), IDLE));
    assert_eq!(short.image, "some:1");
    advance(Duration::from_secs(6)).await;
    assert_eq!(rig.used(&jane(), &short.id).await, Err(ErrorCode::NotFound));
    assert_eq!(rig.used(&jane(), &long.id).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn fault_35_a_long_silent_command_is_not_idle() {
    let rig = rig(5);
    let mut tasks = JoinSet::new();
    tasks.spawn(rig.executor.as_ref().clone().keep_sessions());
    let id = rig.open().await.id;
    let begun = Instant::now();
    let done = rig.executor.exec(&jane(), &id, sleep(120)).await.unwrap();
    assert_eq!(done[0].exit_code, 0);
    assert!(begun.elapsed() >= 2 * IDLE);
    // The idle time begins when it has ended.
    rest(IDLE - Duration::from_secs(2)).await;
    assert_eq!(rig.used(&jane(), &id).await, Ok(()));
    // Code that runs in it counts as well, until its stream ends.
    let mut events = rig
        .executor
        .run(&jane(), &id, testkit::call("120"))
        .await
        .unwrap();
    rest(2 * IDLE).await;
    assert_eq!(rig.active(), 1);
    while let Some(event) = events.next().await {
        if let RunEvent::Finished(outcome) = event {
            assert!(outcome.result.is_ok());
        }
    }
    drop(events);
    rest(IDLE + Duration::from_secs(2)).await;
    assert_eq!(rig.active(), 0);
}

#[tokio::test(start_paused = true)]
async fn fault_27_of_renewal_and_expiry_exactly_one_wins() {
    let (mut renewed, mut expired) = (0, 0);
    for round in 0..200_u64 {
        let rig = rig(1);
        let id = rig.open().await.id;
        // To the instant, then who comes first is chance.
        advance(IDLE - Duration::from_millis(u64::from(round % 2 == 0))).await;
        let (executor, other) = (Arc::clone(&rig.executor), Arc::clone(&rig.executor));
        let (first, second) = (id.clone(), id.clone());
        let mut racers: JoinSet<Option<ErrorCode>> = JoinSet::new();
        racers.spawn(async move {
            let used = executor.exec(&jane(), &first, sleep(1)).await;
            used.err().map(|error| error.code())
        });
        racers.spawn(async move {
            drop(other.sessions(&jane()).await);
            let used = other.exec(&jane(), &second, sleep(1)).await;
            used.err().map(|error| error.code())
        });
        let answers = racers.join_all().await;
        // Both see the same: no operation runs in a session that has expired for another.
        assert_eq!(answers[0], answers[1], "round {round}");
        match answers[0] {
            None => renewed += 1,
            Some(code) => {
                assert_eq!(code, ErrorCode::NotFound);
                expired += 1;
                assert_eq!(rig.counted("idle"), 1);
            }
        }
    }
    assert!(renewed > 0 && expired > 0, "{renewed} and {expired}");
}

#[tokio::test(start_paused = true)]
async fn fault_42_a_lifetime_is_counted_by_the_clock_that_nobody_sets() {
    let rig = rig(5);
    let mut tasks = JoinSet::new();
    tasks.spawn(rig.executor.as_ref().clone().keep_sessions());
    let info = rig.open().await;
    // Time passes for tokio's clock alone: the machine's own stands still beside it.
    for _ in 0..29 {
        assert_eq!(rig.used(&jane(), &info.id).await, Ok(()));
        rest(LIFETIME / 30).await;
    }
    let cut = rig.executor.exec(&jane(), &info.id, sleep(100)).await;
    let cut = cut.unwrap_err();
    assert_eq!(cut.code(), ErrorCode::Timeout);
    assert!(
        cut.to_string().contains("lifetime") && cut.may_have_run(),
        "{cut}"
    );
    rest(Duration::from_millis(1)).await;
    assert_eq!((rig.counted("lifetime"), rig.engine.alive()), (1, 0));
    assert_eq!(rig.used(&jane(), &info.id).await, Err(ErrorCode::NotFound));
}

#[tokio::test(start_paused = true)]
async fn stopping_again_is_fine_and_whoever_runs_meanwhile_is_told() {
    let rig = rig(5);
    let id = rig.open().await.id;
    let executor = Arc::clone(&rig.executor);
    let (held, mut tasks) = (id.clone(), JoinSet::new());
    tasks.spawn(async move { executor.exec(&jane(), &held, sleep(100)).await });
    rest(Duration::from_secs(1)).await;
    rig.executor.stop(&jane(), &id).await.unwrap();
    let cut = tasks.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(cut.code(), ErrorCode::Cancelled);
    rig.executor.stop(&jane(), &id).await.unwrap();
    assert_eq!((rig.counted("stopped"), rig.active()), (1, 0));
    assert_eq!(rig.used(&jane(), &id).await, Err(ErrorCode::NotFound));
    assert_eq!(rig.executor.sessions(&jane()).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_ends_its_command_and_leaves_the_session() {
    let rig = rig(5);
    let id = rig.open().await.id;
    let me = jane();
    let running = rig.executor.exec(&me, &id, sleep(100));
    let given_up = timeout(Duration::from_secs(1), running);
    assert!(given_up.await.is_err());
    assert_eq!(rig.engine.given_up(), 1);
    let mut hasty = jane();
    hasty.budget = Duration::from_secs(2);
    let late = rig
        .executor
        .exec(&hasty, &id, sleep(100))
        .await
        .unwrap_err();
    assert_eq!(
        (late.code(), rig.engine.given_up()),
        (ErrorCode::Timeout, 2)
    );
    let events = rig
        .executor
        .run(&jane(), &id, testkit::call("100"))
        .await
        .unwrap();
    drop(events);
    assert_eq!(rig.used(&jane(), &id).await, Ok(()));
    let outcome = |name: &str| {
        let timed = &rig.metrics.session_operation_duration;
        timed.with_label_values(&["exec", name]).get_sample_count()
    };
    assert_eq!(
        (outcome("cancelled"), outcome("timeout"), outcome("ok")),
        (1, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_dies_ends_its_session_and_says_why() {
    let rig = rig(5);
    let mut tasks = JoinSet::new();
    tasks.spawn(rig.executor.as_ref().clone().keep_sessions());
    let id = rig.open().await.id;
    let exec = Exec {
        commands: vec!["die".to_owned()],
        timeout: IDLE,
    };
    let died = rig.executor.exec(&jane(), &id, exec).await.unwrap_err();
    assert_eq!(died.code(), ErrorCode::OutOfMemory);
    assert_eq!(rig.used(&jane(), &id).await, Err(ErrorCode::NotFound));
    // One that dies while nobody looks is found by the sweep.
    rig.open().await;
    rig.engine.kill_all();
    rest(Duration::from_secs(2)).await;
    assert_eq!((rig.counted("died"), rig.active()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_network_is_there_only_where_it_is_allowed() {
    let rig = rig(5);
    let spec = SessionSpec {
        network: Some(Network::Bridge),
        ..SessionSpec::default()
    };
    let refused = rig.executor.open(&jane(), spec).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    assert_eq!(refused.field(), Some("/network"));
    assert!(
        refused
            .fix()
            .unwrap()
            .contains("MCP_SANDBOX_SESSION_NETWORK")
    );
}

#[tokio::test(start_paused = true)]
async fn what_no_shell_or_file_can_be_is_refused_before_anything_is_done() {
    let rig = rig(5);
    let id = rig.open().await.id;
    let many = |commands: Vec<String>| Exec {
        commands,
        timeout: IDLE,
    };
    for bad in [
        vec![],
        vec!["true".to_owned(); 21],
        vec![String::new()],
        vec!["x".repeat(70_000)],
        vec!["echo \0".to_owned()],
    ] {
        let refused = rig.executor.exec(&jane(), &id, many(bad)).await;
        assert_eq!(refused.unwrap_err().code(), ErrorCode::InvalidArgument);
    }
    let long = "a/".repeat(600);
    let refused = rig.executor.read(&jane(), &id, &long).await.unwrap_err();
    assert_eq!(refused.field(), Some("/path"));
    let huge = vec![0; domain::session::FILE_BYTES + 1];
    let refused = rig.executor.write(&jane(), &id, "a", huge).await;
    assert_eq!(refused.unwrap_err().code(), ErrorCode::InvalidArgument);
    let env = |name: &str, value: &str| SessionSpec {
        env: [(name.to_owned(), value.to_owned())].into(),
        ..SessionSpec::default()
    };
    for (name, value) in [
        ("", "x"),
        ("1A", "x"),
        ("A-B", "x"),
        ("A=B", "x"),
        ("A", "x\0"),
        ("A", &"x".repeat(5_000)),
    ] {
        let refused = rig.executor.open(&jane(), env(name, value)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidArgument, "{name}");
        assert!(
            !format!("{refused:?}").contains("xxxx"),
            "no values in errors"
        );
    }
    assert_eq!(rig.engine.alive(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_ends_takes_no_new_ones_and_ends_the_rest_last() {
    let rig = rig(5);
    let id = rig.open().await.id;
    rig.open().await;
    let executor = Arc::clone(&rig.executor);
    let (held, mut tasks) = (id.clone(), JoinSet::new());
    tasks.spawn(async move { executor.exec(&jane(), &held, sleep(30)).await });
    rest(Duration::from_secs(1)).await;
    rig.executor.drain();
    let refused = rig.executor.open(&jane(), SessionSpec::default()).await;
    assert_eq!(refused.unwrap_err().code(), ErrorCode::Unavailable);
    assert_eq!(rig.used(&jane(), &id).await, Ok(()), "it goes on meanwhile");
    let begun = Instant::now();
    rig.executor.drained().await;
    assert!(begun.elapsed() >= Duration::from_secs(28), "it waits");
    assert!(tasks.join_next().await.unwrap().unwrap().is_ok());
    rig.executor.shutdown().await;
    assert_eq!((rig.engine.alive(), rig.counted("shutdown")), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_handle_of_an_earlier_life_says_that_the_executor_has_restarted() {
    let id = rig_named("executor-a-1", 1).open().await.id;
    let again = rig_named("executor-a-2", 1);
    let lost = again
        .executor
        .exec(&jane(), &id, sleep(0))
        .await
        .unwrap_err();
    assert_eq!(lost.code(), ErrorCode::NotFound);
    assert!(lost.to_string().contains("restarted"), "{lost}");
    let stop = again.executor.stop(&jane(), &id).await.unwrap_err();
    assert_eq!(stop.code(), ErrorCode::NotFound);
}
