//! The audit log: one file of JSON lines per process, written by one task behind a bounded queue.
//!
//! Who records something holds an [`AuditLog`]. Where the log is off that is an empty value and
//! costs nothing. `call` says what is recorded of a call, [`file`] how lines get onto the disk and
//! what becomes of a file that is full or was left torn, `task` what happens when the disk fails.

pub(crate) mod call;
mod file;
mod name;
mod sandbox;
pub(crate) mod service;
mod ship;
mod task;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use domain::audit::{Archive, Head, LogName, Record, Writer};
use domain::{Error, ErrorCode, Result};
use parking_lot::Mutex;
use serde_json::json;
use telemetry::Metrics;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::operations::Check;

pub use self::file::OpenError;
pub use self::ship::ShipTask;
pub use self::task::AuditTask;

/// Records that may wait for the disk. Each is a few hundred bytes; those of changes, which hold a
/// definition, are few.
const QUEUE: usize = 8_192;
/// Longest wait of a privileged operation for the disk.
const ON_DISK_WITHIN: Duration = Duration::from_secs(10);
/// When to come back after a refusal: the disk is tried again more often than that.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long what needs a record waits for places while the queue is full: a burst of calls is slowed
/// down to what the disk takes before it is refused.
const PLACE_WITHIN: Duration = Duration::from_millis(250);

/// What becomes of calls that cannot be recorded. Privileged operations are refused in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused.
    Deny,
    /// They run; the records that are lost are counted, and the log says how many.
    Allow,
}

/// Settings of the log, checked by whoever made them.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    /// The file. Its directory is made.
    pub file: PathBuf,
    /// Longest line, in bytes; at least 1,000.
    pub max_event_bytes: usize,
    /// Size at which a new file is begun, in bytes.
    pub max_file_bytes: u64,
    /// Files that are kept besides the current one: `.1` is the newest of them.
    pub max_files: u32,
    /// What becomes of calls that cannot be recorded.
    pub on_failure: OnFailure,
    /// Version of the release, which every line names.
    pub version: &'static str,
}

/// A way to the audit log. Cheap to clone; [`AuditLog::default`] is a log that is off.
#[derive(Clone, Default)]
pub struct AuditLog {
    shared: Option<Arc<Shared>>,
}

/// What the handles and the task have in common.
struct Shared {
    queue: mpsc::Sender<Queued>,
    /// Whose turn it is to wait for two places: many with one place each would wait for one another.
    turn: tokio::sync::Mutex<()>,
    on_failure: OnFailure,
    metrics: Arc<Metrics>,
    /// Whether the last attempt to write has failed.
    failing: AtomicBool,
    /// Why, and since when.
    trouble: Mutex<Option<Trouble>>,
    /// Records that were lost since the log last said so.
    lost: AtomicU64,
    /// The log's name, and where it is.
    name: LogName,
    path: PathBuf,
    /// Its last line, as far as this process has written it.
    written: watch::Sender<Option<Head>>,
    /// The writer has ended: nothing more comes.
    ended: CancellationToken,
    /// How far the registry has it.
    progress: Mutex<ship::Progress>,
    /// Whether anything ships it.
    ships: AtomicBool,
}

#[derive(Clone)]
struct Trouble {
    why: String,
    since: Instant,
}

/// A record on its way to the disk.
struct Queued {
    record: Record,
    /// Told once the record is on the disk for good, or that this attempt has failed.
    on_disk: Option<oneshot::Sender<bool>>,
}

impl Queued {
    /// Tells whoever waits for the disk.
    fn tell(&mut self, on_disk: bool) {
        if let Some(told) = self.on_disk.take()
            && told.send(on_disk).is_err()
        {
            tracing::debug!("nobody waits for an audit record any more");
        }
    }
}

/// The place in the queue that is kept for the record of an end, so that what was begun can always
/// be closed. `None` inside: the call goes on without records.
pub(crate) struct Place {
    shared: Arc<Shared>,
    permit: Option<OwnedPermit<Queued>>,
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AuditLog")
            .field("on", &self.is_on())
            .finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens the file and makes the log. The task has to be run: [`AuditTask::run`].
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be used.
    pub fn open(
        settings: AuditSettings,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, AuditTask), OpenError> {
        let lines = Writer {
            service: "dynamic-mcp",
            version: settings.version,
            max_bytes: settings.max_event_bytes,
        };
        let (file, found) = file::LogFile::open(
            settings.file.clone(),
            settings.max_file_bytes,
            settings.max_files,
            lines,
        )?;
        let (queue, records) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            queue,
            turn: tokio::sync::Mutex::new(()),
            on_failure: settings.on_failure,
            metrics,
            failing: AtomicBool::new(false),
            trouble: Mutex::new(None),
            lost: AtomicU64::new(0),
            name: file.name().clone(),
            path: settings.file.clone(),
            written: watch::Sender::new(file.head()),
            ended: CancellationToken::new(),
            progress: Mutex::default(),
            ships: AtomicBool::new(false),
        });
        let seen = Arc::downgrade(&shared);
        shared.metrics.on_scrape(move |metrics| {
            let depth = seen.upgrade().map_or(0, |shared| shared.depth());
            metrics
                .audit_queue_depth
                .set(i64::try_from(depth).unwrap_or(i64::MAX));
            let head = seen.upgrade().and_then(|shared| *shared.written.borrow());
            let seq = head.map_or(0, |head| head.seq);
            metrics
                .audit_head_seq
                .set(i64::try_from(seq).unwrap_or(i64::MAX));
        });
        let task = AuditTask::new(Arc::clone(&shared), records, file, &settings, found);
        let log = Self {
            shared: Some(shared),
        };
        Ok((log, task))
    }

    /// What ships the log to the registry; it has to be run. `None` when the log is off.
    #[must_use]
    pub fn shipping(&self, archive: Arc<dyn Archive>) -> Option<ShipTask> {
        let shared = Arc::clone(self.shared.as_ref()?);
        shared.ships.store(true, Ordering::Release);
        Some(ShipTask::new(shared, archive))
    }

    /// Whether anything is recorded.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// Takes a record of something that has happened. Never waits: while the queue is half full the
    /// record is lost, which is counted, so that callers without a credential cannot take the places
    /// of those with one.
    pub fn record(&self, record: Record) {
        let Some(shared) = &self.shared else { return };
        let queued = Queued {
            record,
            on_disk: None,
        };
        if shared.queue.capacity() < QUEUE / 2 || shared.queue.try_send(queued).is_err() {
            shared.lose(1);
        }
    }

    /// Takes the record of a beginning and keeps a place for that of its end. `None` when the log is
    /// off.
    ///
    /// # Errors
    /// `unavailable` when the log cannot take it and the configuration says `deny`.
    async fn begin(&self, record: Record) -> Result<Option<Place>> {
        let Some(shared) = &self.shared else {
            return Ok(None);
        };
        let strict = shared.on_failure == OnFailure::Deny;
        let permit = match shared.places(strict).await? {
            Some((now, later)) => {
                drop(now.send(Queued {
                    record,
                    on_disk: None,
                }));
                Some(later)
            }
            None => None,
        };
        Ok(Some(Place {
            shared: Arc::clone(shared),
            permit,
        }))
    }

    /// As [`AuditLog::begin`] for a privileged operation, whatever the configuration says: the
    /// receiver tells when the record is on the disk.
    ///
    /// # Errors
    /// `unavailable` when the log cannot take it.
    async fn begin_privileged(
        &self,
        record: Record,
    ) -> Result<Option<(Place, oneshot::Receiver<bool>)>> {
        let Some(shared) = &self.shared else {
            return Ok(None);
        };
        let Some((now, later)) = shared.places(true).await? else {
            return Ok(None);
        };
        let (told, on_disk) = oneshot::channel();
        drop(now.send(Queued {
            record,
            on_disk: Some(told),
        }));
        let place = Place {
            shared: Arc::clone(shared),
            permit: Some(later),
        };
        Ok(Some((place, on_disk)))
    }

    /// Takes a record and waits until it is on the disk.
    ///
    /// # Errors
    /// `unavailable` when it is not.
    async fn record_on_disk(&self, record: Record, deadline: Instant) -> Result<()> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        if shared.failing.load(Ordering::Acquire) {
            return Err(shared.refuse("failing"));
        }
        let (told, on_disk) = oneshot::channel();
        let queued = Queued {
            record,
            on_disk: Some(told),
        };
        if shared.queue.try_send(queued).is_err() {
            return Err(shared.refuse("queue_full"));
        }
        shared.wait(on_disk, deadline).await
    }

    /// What the health page says of the log and of its copy; nothing when it is off.
    pub(crate) fn health(&self) -> Vec<Check> {
        let Some(shared) = &self.shared else {
            return Vec::new();
        };
        let shipping = shared.ships.load(Ordering::Acquire);
        let shipping = shipping.then(|| shared.shipping_health());
        std::iter::once(shared.health()).chain(shipping).collect()
    }
}

impl Shared {
    fn health(&self) -> Check {
        let shared = self;
        let trouble = shared.trouble.lock().clone();
        let mut detail = serde_json::Map::new();
        detail.insert("queued".to_owned(), json!(shared.depth()));
        // What the log can be verified against. Its name holds the host's, which is not for everybody.
        let head = shared.written.borrow().map(|head| head.to_string());
        detail.insert("head".to_owned(), json!(head));
        if let Some(Trouble { why, since }) = &trouble {
            detail.insert("failure".to_owned(), json!(why));
            let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            detail.insert("failingMs".to_owned(), json!(ms));
        }
        Check {
            name: "audit",
            healthy: trouble.is_none(),
            // Where calls are refused for it, another replica should get them.
            needed: shared.on_failure == OnFailure::Deny,
            detail,
        }
    }

    /// Two places in the queue; `None` when there are none and the call may go on without. Whoever may
    /// not go on without waits a little for them.
    async fn places(
        self: &Arc<Self>,
        strict: bool,
    ) -> Result<Option<(OwnedPermit<Queued>, OwnedPermit<Queued>)>> {
        if strict && self.failing.load(Ordering::Acquire) {
            return Err(self.refuse("failing"));
        }
        let place = || self.queue.clone().try_reserve_owned().ok();
        if let (Some(now), Some(later)) = (place(), place()) {
            return Ok(Some((now, later)));
        }
        if !strict {
            self.lose(2);
            return Ok(None);
        }
        let waited = timeout(PLACE_WITHIN, async {
            let _turn = self.turn.lock().await;
            let now = self.queue.clone().reserve_owned().await?;
            let later = self.queue.clone().reserve_owned().await?;
            Ok::<_, mpsc::error::SendError<()>>((now, later))
        });
        match waited.await {
            Ok(Ok(places)) => Ok(Some(places)),
            Ok(Err(_)) | Err(_) => Err(self.refuse("queue_full")),
        }
    }

    fn lose(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::AcqRel);
        self.metrics.audit_lost.inc_by(records);
    }

    fn depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// The answer to what is refused because it cannot be recorded.
    fn refuse(&self, reason: &'static str) -> Error {
        self.metrics
            .audit_rejections
            .with_label_values(&[reason])
            .inc();
        let message = match reason {
            "queue_full" => "the audit log cannot keep up; nothing was done",
            _ => "the audit log cannot be written now; nothing was done",
        };
        Error::new(ErrorCode::Unavailable, message)
            .with_retry_after(RETRY_AFTER)
            .with_fix("try again later; the health page says what is wrong with it")
    }

    async fn wait(&self, on_disk: oneshot::Receiver<bool>, deadline: Instant) -> Result<()> {
        let deadline = deadline.min(Instant::now() + ON_DISK_WITHIN);
        match timeout_at(deadline, on_disk).await {
            Ok(Ok(true)) => Ok(()),
            _ => Err(self.refuse("failing")),
        }
    }
}

impl Place {
    /// Puts the record of the end into its place.
    fn end(self, record: Record) {
        if let Some(permit) = self.permit {
            drop(permit.send(Queued {
                record,
                on_disk: None,
            }));
        }
    }

    /// As [`Place::end`], and waits until it is on the disk.
    ///
    /// # Errors
    /// `unavailable` when it is not.
    async fn end_on_disk(self, record: Record, deadline: Instant) -> Result<()> {
        let (told, on_disk) = oneshot::channel();
        if let Some(permit) = self.permit {
            drop(permit.send(Queued {
                record,
                on_disk: Some(told),
            }));
        }
        self.shared.wait(on_disk, deadline).await
    }
}

#[cfg(test)]
mod tests;
