//! A log that is written, rotated and shipped to a registry in memory that is there, away or slow.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use domain::audit::archive::{Page, Search, Segment};
use domain::audit::{Action, Link, Outcome, Record, Writer};
use domain::{Error, Result};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::audit::file::LogFile;
use crate::audit::{AuditLog, AuditSettings, AuditTask, OnFailure, Queued};

/// Takes what follows what it holds, and remembers everything.
#[derive(Default)]
struct Memory {
    lines: Mutex<Vec<String>>,
    away: AtomicBool,
    batches: Mutex<Vec<usize>>,
    /// The next answer is lost: the lines are taken, and nobody is told.
    loses_an_answer: AtomicBool,
}

impl Memory {
    fn head(&self) -> Option<Head> {
        let lines = self.lines.lock();
        lines.last().and_then(|line| Head::of(line.as_bytes()))
    }

    fn targets(&self) -> Vec<String> {
        let lines = self.lines.lock();
        let read = |line: &String| serde_json::from_str::<Value>(line).unwrap();
        let records = lines.iter().map(read);
        let of_calls = records.filter(|record| record["action"] == "dynamic.exec");
        of_calls
            .map(|record| record["target"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[async_trait]
impl Archive for Memory {
    async fn head(&self, _: &CallContext, _: &LogName) -> Result<Option<Head>> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::unavailable("registry"));
        }
        Ok(Memory::head(self))
    }

    async fn append(&self, _: &CallContext, batch: Batch) -> Result<Option<Head>> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::unavailable("registry"));
        }
        let current = Memory::head(self);
        if current == batch.after {
            self.batches.lock().push(batch.lines.len());
            self.lines.lock().extend(batch.lines);
            if self.loses_an_answer.swap(false, Ordering::SeqCst) {
                return Err(Error::unavailable("registry"));
            }
        }
        Ok(Memory::head(self))
    }

    async fn segments(
        &self,
        _: &CallContext,
        _: Option<&LogName>,
        _: Option<(LogName, u64)>,
    ) -> Result<Vec<Segment>> {
        Ok(Vec::new())
    }

    async fn search(&self, _: &CallContext, _: Search) -> Result<Page> {
        Ok(Page::default())
    }
}

struct Rig {
    folder: TempDir,
    memory: Arc<Memory>,
    log: AuditLog,
    task: Option<AuditTask>,
}

fn settings(path: PathBuf, max_file_bytes: u64) -> AuditSettings {
    AuditSettings {
        file: path,
        max_event_bytes: 20_000,
        max_file_bytes,
        max_files: 3,
        on_failure: OnFailure::Deny,
        version: "0",
    }
}

fn metrics() -> Arc<telemetry::Metrics> {
    let build = telemetry::BuildInfo {
        service: "gateway",
        version: "0",
        commit: "unknown",
    };
    Arc::new(telemetry::Metrics::new(build).unwrap())
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let (log, task) = AuditLog::open(settings(path, 1_000_000), metrics()).unwrap();
        Self {
            folder,
            memory: Arc::default(),
            log,
            task: Some(task),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    fn ship(&self) -> ShipTask {
        self.log.shipping(self.memory.clone()).unwrap()
    }

    /// Writes as a process of its own does.
    fn write(&self, max_bytes: u64, targets: std::ops::Range<u32>) {
        let lines = Writer {
            service: "dynamic-mcp",
            version: "0",
            max_bytes: 20_000,
        };
        let (mut file, _) = LogFile::open(self.path(), max_bytes, 3, lines).unwrap();
        let mut waiting: VecDeque<Queued> = targets
            .map(|number| Queued {
                record: Record {
                    target: Some(format!("t{number}")),
                    ..Record::of_system(Action::Exec, Outcome::Success)
                },
                on_disk: None,
            })
            .collect();
        file.write(&mut waiting).unwrap();
    }
}

fn names(targets: std::ops::Range<u32>) -> Vec<String> {
    targets.map(|number| format!("t{number}")).collect()
}

/// Steps until everything is acknowledged, or one fails.
async fn all(mut task: ShipTask) -> (ShipTask, std::result::Result<(), String>) {
    loop {
        let (next, step) = task.step().await.unwrap();
        task = next;
        match step {
            Ok(Step::CaughtUp) => return (task, Ok(())),
            Ok(_) => {}
            Err(why) => return (task, Err(why)),
        }
    }
}

#[tokio::test]
async fn lines_arrive_once_and_in_order_through_rotations() {
    let rig = Rig::new();
    let mut task = rig.ship();
    for round in 0..10 {
        rig.write(1_500, round * 3..round * 3 + 3);
        task = all(task).await.0;
    }
    assert!(
        crate::audit::file::aside(&rig.path(), 3).exists(),
        "it was rotated"
    );
    assert_eq!(rig.memory.targets(), names(0..30));
    // What arrived is one chain.
    let mut next = Link::FIRST;
    for line in rig.memory.lines.lock().iter() {
        assert_eq!(place_of(line.as_bytes()), Some(next), "{line}");
        next = Link::after(line.as_bytes());
    }
    let (_, done) = all(task).await;
    assert_eq!(done, Ok(()));
}

#[tokio::test]
async fn an_outage_a_lost_answer_and_a_restart_cost_nothing() {
    let rig = Rig::new();
    rig.write(1_000_000, 0..5);
    let (task, _) = all(rig.ship()).await;
    rig.memory.away.store(true, Ordering::SeqCst);
    rig.write(1_000_000, 5..9);
    let (task, failed) = all(task).await;
    assert!(failed.is_err());
    let shared = Arc::clone(&task.shared);
    shared.ship_failed("away");
    assert!(shared.lag() > Duration::ZERO);
    let check = shared.shipping_health();
    assert!(
        check.healthy && check.detail["failingMs"].is_u64(),
        "{check:?}"
    );
    rig.memory.away.store(false, Ordering::SeqCst);
    rig.memory.loses_an_answer.store(true, Ordering::SeqCst);
    let (task, failed) = all(task).await;
    assert!(failed.is_err(), "the answer was lost");
    let (task, done) = all(task).await;
    assert_eq!(done, Ok(()));
    assert_eq!(rig.memory.targets(), names(0..9), "nothing twice");
    assert_eq!(shared.lag(), Duration::ZERO);
    drop(task);
    rig.write(1_000_000, 9..12);
    // Another life: it asks the registry where it was.
    all(rig.ship()).await.1.unwrap();
    assert_eq!(rig.memory.targets(), names(0..12));
}

#[tokio::test]
async fn what_was_rotated_away_meanwhile_is_counted() {
    let rig = Rig::new();
    rig.write(1_500, 0..3);
    let (task, _) = all(rig.ship()).await;
    rig.write(1_500, 3..60);
    let (task, done) = all(task).await;
    assert_eq!(done, Ok(()));
    let arrived = rig.memory.targets();
    assert_eq!(arrived.last().unwrap(), "t59");
    assert!(arrived.len() < 60, "{arrived:?}");
    let missed = task.shared.progress.lock().missed;
    // The marks of the files that went are missed too.
    assert!(missed >= 60 - arrived.len() as u64, "{missed}");
    assert_eq!(task.shared.metrics.audit_ship_missed.get(), missed);
}

#[tokio::test]
async fn a_log_that_was_changed_is_told_and_shipped_anew() {
    let rig = Rig::new();
    rig.write(1_000_000, 0..6);
    let (task, _) = all(rig.ship()).await;
    drop(task);
    // Somebody takes the last two lines away, and the gateway goes on.
    let text = std::fs::read_to_string(rig.path()).unwrap();
    let kept: String = text.split_inclusive('\n').take(4).collect();
    std::fs::write(rig.path(), kept).unwrap();
    rig.write(1_000_000, 6..7);
    let (task, done) = all(rig.ship()).await;
    assert_eq!(done, Ok(()));
    assert!(task.shared.progress.lock().broken);
    assert!(!task.shared.shipping_health().healthy);
    assert_eq!(rig.memory.targets().last().unwrap(), "t6");
}

#[tokio::test]
async fn a_file_that_is_emptied_or_moved_away_loses_nothing() {
    let rig = Rig::new();
    rig.write(1_000_000, 0..3);
    let (task, _) = all(rig.ship()).await;
    rig.write(1_000_000, 3..5);
    // As logrotate's copytruncate does it.
    std::fs::copy(rig.path(), crate::audit::file::aside(&rig.path(), 1)).unwrap();
    std::fs::File::options()
        .write(true)
        .open(rig.path())
        .unwrap()
        .set_len(0)
        .unwrap();
    rig.write(1_000_000, 5..7);
    let (_, done) = all(task).await;
    assert_eq!(done, Ok(()));
    assert_eq!(rig.memory.targets(), names(0..7));
}

#[tokio::test]
async fn the_end_of_a_process_is_shipped_too() {
    let mut rig = Rig::new();
    let closing = CancellationToken::new();
    let writer = rig.task.take().unwrap().run(closing.clone());
    let shipper = rig.ship().run(closing.clone());
    let log = rig.log.clone();
    let work = async {
        for number in 0..3_000 {
            log.record(Record {
                target: Some(format!("t{number}")),
                ..Record::of_system(Action::Exec, Outcome::Success)
            });
        }
        let end = Instant::now() + Duration::from_secs(10);
        while rig.memory.targets().len() < 3_000 {
            assert!(Instant::now() < end, "{}", rig.memory.targets().len());
            sleep(Duration::from_millis(5)).await;
        }
        closing.cancel();
    };
    let (written, shipped, ()) = tokio::join!(writer, shipper, work);
    written.unwrap();
    shipped.unwrap();
    assert!(
        rig.memory
            .lines
            .lock()
            .last()
            .unwrap()
            .contains("service.stop")
    );
    assert_eq!(rig.memory.targets(), names(0..3_000));
    assert!(
        rig.memory
            .batches
            .lock()
            .iter()
            .all(|lines| *lines <= MAX_BATCH_LINES)
    );
    assert!(rig.memory.batches.lock().len() < 1_000, "they are batched");
}
