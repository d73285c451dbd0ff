//! The one task that writes: takes what waits, writes it in one go, and tries again when it cannot.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::audit::{Action, Outcome, Record};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::file::{Found, LogFile};
use super::{AuditSettings, OnFailure, Queued, Shared, Trouble};

/// Most records of one go.
const BATCH: usize = 1_024;
/// Time between two attempts while the disk fails.
const TRY_EVERY: Duration = Duration::from_millis(250);
/// A disk that has not answered for this long counts as failing.
const STUCK: Duration = Duration::from_secs(3);

/// Writes the log. Made by [`AuditLog::open`](super::AuditLog::open).
pub struct AuditTask {
    shared: Arc<Shared>,
    records: mpsc::Receiver<Queued>,
    /// Records that could not be written yet, the first record of all in the beginning.
    waiting: VecDeque<Queued>,
    file: LogFile,
}

impl AuditTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        records: mpsc::Receiver<Queued>,
        file: LogFile,
        settings: &AuditSettings,
        found: Found,
    ) -> Self {
        let policy = match settings.on_failure {
            OnFailure::Deny => "deny",
            OnFailure::Allow => "allow",
        };
        let mut start = Record::of_system(Action::ServiceStart, Outcome::Success)
            .with("pid", std::process::id())
            .with("commit", bootstrap::COMMIT)
            .with("log", file.name().as_str())
            .with("onFailure", policy)
            .with("maxEventBytes", settings.max_event_bytes)
            .with("maxFileBytes", settings.max_file_bytes)
            .with("maxFiles", settings.max_files)
            .with(
                "segment",
                match (found.lines, file.next_seq()) {
                    (false, _) => "first",
                    (true, 1) => "afterLinesWithoutChain",
                    (true, _) => "continued",
                },
            );
        if found.torn_bytes > 0 {
            start = start.with("tornBytes", found.torn_bytes);
        }
        let first = Queued {
            record: start,
            on_disk: None,
        };
        Self {
            shared,
            records,
            waiting: VecDeque::from([first]),
            file,
        }
    }

    /// Writes until it is told to close, then what is left, and ends.
    ///
    /// # Errors
    /// When writing has panicked, after which nothing more can be written.
    pub async fn run(mut self, closing: CancellationToken) -> Result<(), JoinError> {
        let mut taken = Vec::with_capacity(BATCH);
        loop {
            if self.waiting.is_empty() {
                self.note_losses();
            }
            if self.waiting.is_empty() {
                tokio::select! {
                    biased;
                    count = self.records.recv_many(&mut taken, BATCH) => if count == 0 { break },
                    () = closing.cancelled() => break,
                }
                self.waiting.extend(taken.drain(..));
            }
            self = self.attempt().await?;
            if !self.waiting.is_empty() {
                tokio::select! {
                    () = sleep(TRY_EVERY) => {}
                    () = closing.cancelled() => break,
                }
            }
        }
        self.close().await
    }

    /// Writes what is there and says that the process ends.
    async fn close(mut self) -> Result<(), JoinError> {
        self.records.close();
        while let Ok(one) = self.records.try_recv() {
            self.waiting.push_back(one);
        }
        self.note_losses();
        let stop = Record::of_system(Action::ServiceStop, Outcome::Success).with(
            "records",
            self.file.written() + self.waiting.len() as u64 + 1,
        );
        // With somebody who waits for it, so that everything gets onto the disk.
        let (told, _) = tokio::sync::oneshot::channel();
        self.waiting.push_back(Queued {
            record: stop,
            on_disk: Some(told),
        });
        self = self.attempt().await?;
        if !self.waiting.is_empty() {
            let lost = self.waiting.len();
            tracing::error!(
                lost,
                "the last records of the audit log could not be written"
            );
        }
        self.shared.ended.cancel();
        Ok(())
    }

    /// Says in the log that records are missing from it.
    fn note_losses(&mut self) {
        let lost = self.shared.lost.swap(0, Ordering::AcqRel);
        if lost > 0 {
            self.waiting.push_back(Queued {
                record: Record::of_system(Action::AuditGap, Outcome::Error).with("lost", lost),
                on_disk: None,
            });
        }
    }

    /// One attempt to write what waits. What could not be written still waits afterwards, and who
    /// waits for the disk has been told.
    async fn attempt(self) -> Result<Self, JoinError> {
        let Self {
            shared,
            records,
            mut waiting,
            mut file,
        } = self;
        let before = file.written();
        let began = Instant::now();
        let writing = spawn_blocking(move || {
            let done = file.write(&mut waiting);
            (file, waiting, done)
        });
        let (file, mut waiting, done) = watched(&shared, writing).await?;
        let took = began.elapsed().as_secs_f64();
        shared.metrics.audit_write_duration.observe(took);
        shared.metrics.audit_written.inc_by(file.written() - before);
        let head = file.head();
        shared
            .written
            .send_if_modified(|known| std::mem::replace(known, head) != head);
        match done {
            Ok(()) => shared.works(),
            Err(error) => {
                shared.failed(&reason(&error));
                waiting.iter_mut().for_each(|one| one.tell(false));
            }
        }
        Ok(Self {
            shared,
            records,
            waiting,
            file,
        })
    }
}

/// Waits for the disk, however long, and says so when it takes too long.
async fn watched<T>(shared: &Shared, mut writing: JoinHandle<T>) -> Result<T, JoinError> {
    let ended = match timeout(STUCK, &mut writing).await {
        Ok(ended) => ended,
        Err(_) => {
            shared.failed("the disk does not answer");
            writing.await
        }
    };
    ended.inspect_err(|_| shared.failed("its writer has ended"))
}

/// What went wrong, without a path: the health page shows it to everybody.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        _ => error.to_string(),
    }
}

impl Shared {
    /// The disk has failed.
    fn failed(&self, why: &str) {
        self.metrics.audit_failures.inc();
        self.failing.store(true, Ordering::Release);
        let mut trouble = self.trouble.lock();
        let since = trouble.as_ref().map(|trouble| trouble.since);
        if trouble.as_ref().is_none_or(|trouble| trouble.why != why) {
            tracing::error!(why, "the audit log cannot be written");
        }
        *trouble = Some(Trouble {
            why: why.to_owned(),
            since: since.unwrap_or_else(Instant::now),
        });
    }

    /// The disk has taken everything.
    fn works(&self) {
        if let Some(trouble) = self.trouble.lock().take() {
            let for_ms = u64::try_from(trouble.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(for_ms, "the audit log can be written again");
        }
        self.failing.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use telemetry::{BuildInfo, Metrics};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_answer_counts_as_failing() {
        let metrics = Metrics::new(BuildInfo {
            service: "gateway",
            version: "0",
            commit: "unknown",
        });
        let shared = Arc::new(Shared {
            queue: tokio::sync::mpsc::channel(1).0,
            turn: tokio::sync::Mutex::new(()),
            on_failure: OnFailure::Deny,
            metrics: Arc::new(metrics.unwrap()),
            failing: false.into(),
            trouble: None.into(),
            lost: 0.into(),
            name: domain::audit::LogName::parse("test").unwrap(),
            path: "nowhere".into(),
            written: tokio::sync::watch::Sender::new(None),
            ended: CancellationToken::new(),
            progress: Default::default(),
            ships: false.into(),
        });
        let (answer, disk) = mpsc::channel();
        let writing = spawn_blocking(move || disk.recv().unwrap());
        let mut watched = Box::pin(watched(&shared, writing));
        assert!(timeout(Duration::ZERO, &mut watched).await.is_err());
        assert!(!shared.failing.load(Ordering::Acquire));
        tokio::time::advance(STUCK).await;
        assert!(timeout(Duration::ZERO, &mut watched).await.is_err());
        assert!(shared.failing.load(Ordering::Acquire));
        answer.send(7).unwrap();
        assert_eq!(watched.await.unwrap(), 7);
        shared.works();
        assert!(!shared.failing.load(Ordering::Acquire));
    }
}
