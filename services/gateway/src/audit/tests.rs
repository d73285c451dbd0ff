//! The queue and the task: what waits, what is refused, what is lost and what comes back.

use std::path::Path;

use domain::audit::{Action, Outcome};
use telemetry::BuildInfo;
use tempfile::TempDir;
use testkit::audit::records;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::*;

struct Rig {
    log: AuditLog,
    task: Option<AuditTask>,
    metrics: Arc<Metrics>,
    closing: CancellationToken,
    running: JoinSet<()>,
    folder: TempDir,
}

impl Rig {
    /// A log whose task does not run yet.
    fn new(on_failure: OnFailure) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(BuildInfo {
            service: "gateway",
            version: "0",
            commit: "unknown",
        });
        let metrics = Arc::new(metrics.unwrap());
        let settings = AuditSettings {
            file: folder.path().join("logs/audit.log"),
            max_event_bytes: 20_000,
            max_file_bytes: 10_000_000,
            max_files: 5,
            on_failure,
            version: "0",
        };
        let (log, task) = AuditLog::open(settings, Arc::clone(&metrics)).unwrap();
        Self {
            log,
            task: Some(task),
            metrics,
            closing: CancellationToken::new(),
            running: JoinSet::new(),
            folder,
        }
    }

    fn run(&mut self) {
        let task = self.task.take().unwrap();
        let closing = self.closing.clone();
        self.running
            .spawn(async move { task.run(closing).await.unwrap() });
    }

    async fn stop(&mut self) {
        self.closing.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
    }

    fn logs(&self) -> std::path::PathBuf {
        self.folder.path().join("logs")
    }

    fn path(&self) -> std::path::PathBuf {
        self.logs().join("audit.log")
    }

    /// Makes every attempt to write fail: there is no directory any more.
    async fn break_disk(&self) {
        std::fs::rename(self.logs(), self.folder.path().join("away")).unwrap();
        self.log.record(exec(Outcome::Success));
        self.until(true).await;
    }

    async fn mend_disk(&self) {
        std::fs::rename(self.folder.path().join("away"), self.logs()).unwrap();
        self.until(false).await;
    }

    async fn until(&self, failing: bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.log.health()[0].healthy == failing {
            assert!(Instant::now() < end, "failing is not {failing}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

fn exec(outcome: Outcome) -> Record {
    Record::of_system(Action::Exec, outcome)
}

fn actions(path: &Path) -> Vec<String> {
    records(path)
        .iter()
        .map(|record| {
            let (action, result) = (&record["action"], &record["result"]);
            format!("{} {}", action.as_str().unwrap(), result.as_str().unwrap())
        })
        .collect()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A privileged operation, as far as it gets.
async fn change(log: &AuditLog) -> Result<()> {
    let record = Record::of_system(Action::ToolCreate, Outcome::Begun);
    let (place, on_disk) = log.begin_privileged(record).await?.unwrap();
    place.shared.wait(on_disk, soon()).await?;
    let record = Record::of_system(Action::ToolCreate, Outcome::Success);
    place.end_on_disk(record, soon()).await
}

#[tokio::test]
async fn a_log_that_is_off_takes_nothing() {
    let log = AuditLog::default();
    assert!(!log.is_on() && log.health().is_empty());
    log.record(exec(Outcome::Success));
    assert!(log.begin(exec(Outcome::Begun)).await.unwrap().is_none());
    assert!(
        log.begin_privileged(exec(Outcome::Begun))
            .await
            .unwrap()
            .is_none()
    );
    log.record_on_disk(exec(Outcome::Denied), soon())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stop_writes_everything() {
    let mut rig = Rig::new(OnFailure::Deny);
    let place = rig.log.begin(exec(Outcome::Begun)).await.unwrap().unwrap();
    for _ in 0..3_000 {
        rig.log.record(exec(Outcome::Denied));
    }
    place.end(exec(Outcome::Success));
    rig.closing.cancel();
    rig.run();
    rig.stop().await;
    let records = records(&rig.path());
    assert_eq!(records.len(), 3_004);
    assert_eq!(records[0]["action"], "service.start");
    assert_eq!(records[0]["serviceVersion"], "0");
    assert_eq!(records[1]["result"], "begun");
    assert_eq!(records[3_002]["result"], "success");
    assert_eq!(records[3_003]["action"], "service.stop");
    assert_eq!(records[3_003]["details"]["records"], 3_004);
    assert_eq!(rig.metrics.audit_written.get(), 3_004);
    assert_eq!(rig.metrics.audit_lost.get(), 0);
    let refused = rig.log.begin(exec(Outcome::Begun)).await.err().unwrap();
    assert_eq!(refused.code(), ErrorCode::Unavailable, "nobody writes it");
}

#[tokio::test]
async fn a_change_is_on_the_disk_before_its_answer() {
    let mut rig = Rig::new(OnFailure::Deny);
    rig.run();
    change(&rig.log).await.unwrap();
    let begun_and_done = ["dynamic.tool.create begun", "dynamic.tool.create success"];
    assert_eq!(actions(&rig.path())[1..], begun_and_done);
    rig.stop().await;
}

#[tokio::test]
async fn a_full_queue_follows_the_policy() {
    let mut rig = Rig::new(OnFailure::Deny);
    let mut places = Vec::new();
    let refused = loop {
        match rig.log.begin(exec(Outcome::Begun)).await {
            Ok(place) => places.push(place),
            Err(refused) => break refused,
        }
    };
    assert_eq!(places.len(), QUEUE / 2);
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    assert!(refused.message().contains("audit log"), "{refused}");
    assert!(refused.retry_after().is_some() && !refused.may_have_run());
    assert_eq!(
        change(&rig.log).await.unwrap_err().code(),
        ErrorCode::Unavailable
    );
    let full = rig
        .metrics
        .audit_rejections
        .with_label_values(&["queue_full"]);
    assert_eq!(full.get(), 2);
    rig.log.record(exec(Outcome::Denied));
    assert_eq!(rig.metrics.audit_lost.get(), 1);
    // Those that run get their end.
    for place in places {
        place.unwrap().end(exec(Outcome::Success));
    }
    rig.run();
    rig.stop().await;
    assert_eq!(records(&rig.path()).len(), 1 + QUEUE + 1 + 1);

    let mut rig = Rig::new(OnFailure::Allow);
    let mut with_place = Vec::new();
    for _ in 0..QUEUE {
        with_place.push(rig.log.begin(exec(Outcome::Begun)).await.unwrap().unwrap());
    }
    assert!(with_place[QUEUE - 1].permit.is_none());
    assert!(
        change(&rig.log).await.is_err(),
        "a change never goes without"
    );
    for place in with_place {
        place.end(exec(Outcome::Success));
    }
    rig.run();
    rig.stop().await;
    let records = records(&rig.path());
    let gaps: Vec<_> = records
        .iter()
        .filter(|record| record["action"] == "audit.gap")
        .collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["details"]["lost"], QUEUE);
    assert_eq!(rig.metrics.audit_lost.get(), QUEUE as u64);
}

#[tokio::test]
async fn a_burst_waits_for_places_before_it_is_refused() {
    let mut rig = Rig::new(OnFailure::Deny);
    let log = rig.log.clone();
    let mut running = Vec::new();
    for _ in 0..QUEUE / 2 {
        running.push(log.begin(exec(Outcome::Begun)).await.unwrap().unwrap());
    }
    let burst = futures::future::join_all((0..500).map(|_| log.begin(exec(Outcome::Begun))));
    let mut burst = std::pin::pin!(burst);
    assert!(futures::poll!(&mut burst).is_pending());
    // The beginnings are written, which makes room for those who wait.
    rig.run();
    for place in burst.await {
        place.unwrap().unwrap().end(exec(Outcome::Success));
    }
    for place in running {
        place.end(exec(Outcome::Success));
    }
    rig.stop().await;
    let full = rig
        .metrics
        .audit_rejections
        .with_label_values(&["queue_full"]);
    assert_eq!(full.get(), 0);
    assert_eq!(records(&rig.path()).len(), 1 + QUEUE + 2 * 500 + 1);
}

#[tokio::test]
async fn refusals_of_strangers_leave_room_for_calls() {
    let rig = Rig::new(OnFailure::Deny);
    for _ in 0..2 * QUEUE {
        rig.log.record(exec(Outcome::Denied));
    }
    assert!(rig.metrics.audit_lost.get() > 0);
    assert!(rig.log.begin(exec(Outcome::Begun)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_failing_disk_refuses_and_comes_back() {
    for on_failure in [OnFailure::Deny, OnFailure::Allow] {
        let mut rig = Rig::new(on_failure);
        rig.run();
        change(&rig.log).await.unwrap();
        let running = rig.log.begin(exec(Outcome::Begun)).await.unwrap().unwrap();
        rig.break_disk().await;
        let check = rig.log.health().remove(0);
        assert_eq!(check.needed, on_failure == OnFailure::Deny);
        assert!(check.detail["failure"].is_string(), "{:?}", check.detail);
        let call = rig.log.begin(exec(Outcome::Begun)).await;
        assert_eq!(call.is_ok(), on_failure == OnFailure::Allow);
        let refused = change(&rig.log).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Unavailable);
        let denial = rig.log.record_on_disk(exec(Outcome::Denied), soon()).await;
        assert!(denial.is_err());
        running.end(exec(Outcome::Success));
        drop(call);
        assert!(rig.metrics.audit_failures.get() > 0);
        rig.mend_disk().await;
        change(&rig.log).await.unwrap();
        rig.stop().await;
        let said = actions(&rig.path());
        let ended = said.iter().filter(|said| *said == "dynamic.exec success");
        assert_eq!(ended.count(), 2, "nothing that was taken is lost: {said:?}");
        assert_eq!(rig.metrics.audit_lost.get(), 0);
    }
}

#[tokio::test]
async fn a_change_whose_begin_fails_is_not_made_and_has_an_end() {
    let mut rig = Rig::new(OnFailure::Deny);
    rig.run();
    change(&rig.log).await.unwrap();
    std::fs::rename(rig.logs(), rig.folder.path().join("away")).unwrap();
    // The disk has failed already, and nobody knows yet.
    let refused = change(&rig.log).await.unwrap_err();
    assert!(refused.message().contains("nothing was done"), "{refused}");
    rig.mend_disk().await;
    rig.stop().await;
}
