use domain::SessionId;
use domain::session::{self, Exec, SessionSpec};
use testkit::FakeSessions;

use super::*;

const DOCKER: &[EngineKind] = &[EngineKind::Docker];

impl Fleet {
    fn sessions(&self, address: &str) -> Arc<FakeSessions> {
        Arc::clone(&self.sessions.lock()[address])
    }

    async fn open(&self) -> Result<SessionId> {
        let opened = Sessions::open(&self.placement, &caller(), SessionSpec::default()).await;
        opened.map(|info| info.id)
    }

    async fn exec(&self, id: &SessionId) -> Result<()> {
        let exec = Exec {
            commands: vec!["true".to_owned()],
            timeout: Duration::from_secs(1),
        };
        Sessions::exec(&self.placement, &caller(), id, exec)
            .await
            .map(drop)
    }
}

fn caller() -> CallContext {
    testkit::context(&[domain::Scope::Sandbox])
}

/// One that only configuration knows.
fn named(address: &str) -> ExecutorInfo {
    let mut info = info(address, &[]);
    info.version = String::new();
    info
}

#[tokio::test(start_paused = true)]
async fn a_handle_goes_to_the_executor_that_it_names_and_to_no_other() {
    let fleet = fleet(&[info("a", DOCKER), info("b", DOCKER), info("c", DOCKER)]);
    for _ in 0..12 {
        let id = fleet.open().await.unwrap();
        let others = ["a", "b", "c"].map(|one| fleet.sessions(one).asked().len());
        fleet.exec(&id).await.unwrap();
        let after = ["a", "b", "c"].map(|one| fleet.sessions(one).asked().len());
        let asked: Vec<_> = (0..3).filter(|at| others[*at] != after[*at]).collect();
        assert_eq!(asked.len(), 1);
        assert_eq!(["a", "b", "c"][asked[0]], id.executor());
    }
}

#[tokio::test(start_paused = true)]
async fn only_executors_with_containers_are_asked_for_sessions() {
    let fleet = fleet(&[info("i", &[EngineKind::Isolate]), info("d", DOCKER)]);
    for _ in 0..10 {
        assert_eq!(fleet.open().await.unwrap().executor(), "d");
    }
    assert_eq!(fleet.sessions("i").asked(), [""; 0]);
    let found = fleet.placement.find_sessions(&caller()).await.unwrap();
    assert_eq!((found.sessions.len(), found.not_asked), (10, 0));
    assert_eq!(fleet.sessions("i").asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_full_executor_is_passed_over_and_when_all_are_full_that_is_said() {
    let fleet = fleet(&[info("a", DOCKER), info("b", DOCKER)]);
    let full = Error::new(ErrorCode::LimitExceeded, "full");
    fleet.sessions("a").refuse_with(Some(full.clone()));
    for _ in 0..10 {
        assert_eq!(fleet.open().await.unwrap().executor(), "b");
    }
    fleet.sessions("b").refuse_with(Some(full));
    let refused = fleet.open().await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::LimitExceeded);
    // What the caller asked wrongly is asked once.
    let denied = Error::new(ErrorCode::PolicyDenied, "no");
    fleet.sessions("a").refuse_with(Some(denied.clone()));
    fleet.sessions("b").refuse_with(Some(denied));
    let before: usize = ["a", "b"]
        .map(|one| fleet.sessions(one).asked().len())
        .iter()
        .sum();
    assert!(fleet.open().await.is_err());
    let after: usize = ["a", "b"]
        .map(|one| fleet.sessions(one).asked().len())
        .iter()
        .sum();
    assert_eq!(after - before, 1);
}

#[tokio::test(start_paused = true)]
async fn an_executor_whose_name_nobody_knows_is_asked() {
    // The client of an address answers by the name of that executor, which nobody was told.
    let fleet = fleet(&[named("one"), named("two")]);
    let id = SessionId::new("two", &[1]).unwrap();
    let made = fleet.sessions("two");
    made.open(&caller(), SessionSpec::default()).await.unwrap();
    fleet.exec(&id).await.unwrap();
    assert_eq!(fleet.sessions("two").asked(), ["open", "exec"]);
    // From now on it is known, and the other one is left alone.
    let before = fleet.sessions("one").asked().len();
    fleet.exec(&id).await.unwrap();
    assert_eq!(fleet.sessions("one").asked().len(), before);
    // One that cannot be reached may have it.
    fleet
        .sessions("two")
        .refuse_with(Some(Error::unavailable("executor")));
    let unreachable = fleet.exec(&id).await.unwrap_err();
    assert_eq!(unreachable.code(), ErrorCode::Unavailable);
    let other = SessionId::new("three", &[1]).unwrap();
    assert_eq!(
        fleet.exec(&other).await.unwrap_err().code(),
        ErrorCode::Unavailable
    );
    fleet.sessions("two").refuse_with(None);
    let unknown = fleet.exec(&other).await.unwrap_err();
    assert_eq!(unknown.message(), session::unknown().message());
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_is_gone_is_told_from_one_that_cannot_be_reached() {
    let fleet = fleet(&[info("a", DOCKER)]);
    let elsewhere = SessionId::new("b", &[1]).unwrap();
    let unknown = fleet.exec(&elsewhere).await.unwrap_err();
    assert_eq!(
        unknown.code(),
        ErrorCode::Unavailable,
        "no directory was read"
    );
    fleet.placement.directory_read();
    let gone = fleet.exec(&elsewhere).await.unwrap_err();
    assert_eq!(gone.code(), ErrorCode::NotFound);
    assert!(gone.message().contains("restarted"), "{gone}");
    tokio::time::advance(DIRECTORY_HOLDS).await;
    assert_eq!(
        fleet.exec(&elsewhere).await.unwrap_err().code(),
        ErrorCode::Unavailable
    );
    fleet.placement.set_executors(&[]);
    assert_eq!(
        fleet.exec(&elsewhere).await.unwrap_err().code(),
        ErrorCode::Unavailable
    );
}

#[tokio::test(start_paused = true)]
async fn a_draining_executor_keeps_its_sessions_and_gets_no_new_ones() {
    let mut leaving = info("a", DOCKER);
    let fleet = fleet(&[leaving.clone(), info("b", DOCKER)]);
    let mut ids = Vec::new();
    while !ids.iter().any(|id: &SessionId| id.executor() == "a") {
        ids.push(fleet.open().await.unwrap());
    }
    leaving.draining = true;
    fleet.placement.set_executors(&[leaving, info("b", DOCKER)]);
    for id in &ids {
        fleet.exec(id).await.unwrap();
    }
    for _ in 0..10 {
        assert_eq!(fleet.open().await.unwrap().executor(), "b");
    }
}

#[tokio::test(start_paused = true)]
async fn listing_says_how_many_executors_could_not_be_asked() {
    let fleet = fleet(&[info("a", DOCKER), info("b", DOCKER)]);
    for _ in 0..8 {
        fleet.open().await.unwrap();
    }
    let all = fleet.placement.find_sessions(&caller()).await.unwrap();
    assert_eq!((all.sessions.len(), all.not_asked), (8, 0));
    fleet
        .sessions("b")
        .refuse_with(Some(Error::unavailable("executor")));
    let some = fleet.placement.find_sessions(&caller()).await.unwrap();
    assert_eq!(some.not_asked, 1);
    assert!(some.sessions.iter().all(|info| info.id.executor() == "a"));
    fleet
        .sessions("a")
        .refuse_with(Some(Error::unavailable("executor")));
    let none = fleet.placement.find_sessions(&caller()).await.unwrap_err();
    assert_eq!(none.code(), ErrorCode::Unavailable);
}
