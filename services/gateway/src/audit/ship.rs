//! Ships the log to the registry: what is on the disk, in order, from the last line on that the
//! registry has acknowledged. The files are the queue: nothing waits in memory but one batch, and no
//! call waits for it.

mod reader;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use domain::CallContext;
use domain::audit::archive::{Archive, Batch, MAX_BATCH_LINES, SegmentStart};
use domain::audit::chain::place_of;
use domain::audit::{Head, LogName};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::reader::Reader;
use super::Shared;
use crate::operations::Check;

/// Time to gather lines after the first one.
const GATHER: Duration = Duration::from_millis(200);
/// How often the file is looked at although this process has written nothing: others may write it too.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for the registry.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Pause after a failure; each further one is twice as long, up to the longest.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(15);
/// A registry that takes nothing for this long makes the health page say so.
const TOO_LONG: Duration = Duration::from_secs(60);
/// What is left at the end may take this long.
const LAST_WITHIN: Duration = Duration::from_millis(1_500);

/// How far the log and its copy are.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// The head that the registry has acknowledged.
    acknowledged: Option<Head>,
    /// Since when something is written that is not acknowledged.
    behind_since: Option<Instant>,
    /// Since when every attempt fails, and the last reason.
    failing: Option<(Instant, String)>,
    /// Lines that were rotated away before they were shipped.
    missed: u64,
    /// Whether the registry was shown a line that does not follow what it had acknowledged.
    broken: bool,
}

/// Ships the log. Made by [`AuditLog::shipping`](super::AuditLog::shipping).
pub struct ShipTask {
    shared: Arc<Shared>,
    archive: Arc<dyn Archive>,
    log: LogName,
    reader: Reader,
    written: watch::Receiver<Option<Head>>,
    /// What the registry holds, once it has said so.
    known: Option<Option<Head>>,
}

/// Waits until something was written, and a little more for what comes with it.
async fn changed(written: &mut watch::Receiver<Option<Head>>) {
    if written.changed().await.is_err() {
        // The log has gone, and with it whoever could write.
        std::future::pending::<()>().await;
    }
    sleep(GATHER).await;
}

/// What one step came to.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A whole batch: there is more.
    Full,
    /// What there was.
    Shipped,
    /// Everything on the disk is acknowledged.
    CaughtUp,
}

impl ShipTask {
    pub(super) fn new(shared: Arc<Shared>, archive: Arc<dyn Archive>) -> Self {
        let progress = Arc::downgrade(&shared);
        shared.metrics.on_scrape(move |metrics| {
            if let Some(shared) = progress.upgrade() {
                let lag = shared.lag();
                metrics.audit_ship_lag.set(lag.as_secs_f64());
                let records = i64::try_from(shared.unacknowledged()).unwrap_or(i64::MAX);
                metrics.audit_ship_lag_records.set(records);
            }
        });
        Self {
            log: shared.name.clone(),
            reader: Reader::new(shared.path.clone()),
            written: shared.written.subscribe(),
            known: None,
            shared,
            archive,
        }
    }

    /// Ships until it is told to close, then what is left as far as that is quick.
    ///
    /// # Errors
    /// When reading has panicked.
    pub async fn run(mut self, closing: CancellationToken) -> Result<(), JoinError> {
        let mut pause = RETRY;
        loop {
            let (next, step) = self.step().await?;
            self = next;
            let wait = match step {
                Ok(step) => {
                    pause = RETRY;
                    match step {
                        Step::Full => Duration::ZERO,
                        Step::Shipped => GATHER,
                        Step::CaughtUp => LOOK_EVERY,
                    }
                }
                Err(why) => {
                    self.shared.ship_failed(&why);
                    let wait = pause;
                    pause = (pause * 2).min(MAX_RETRY);
                    wait
                }
            };
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = changed(&mut self.written), if wait == LOOK_EVERY => {}
                () = sleep(wait) => {}
            }
        }
        // The last records are written when the writer has ended.
        let last = async {
            self.shared.ended.cancelled().await;
            let mut task = self;
            loop {
                let (next, step) = task.step().await?;
                task = next;
                if !matches!(step, Ok(Step::Full | Step::Shipped)) {
                    return Ok(());
                }
            }
        };
        timeout(LAST_WITHIN, last).await.unwrap_or(Ok(()))
    }

    /// One batch. Afterwards the registry has it, or nothing has changed.
    async fn step(mut self) -> Result<(Self, Result<Step, String>), JoinError> {
        let context = CallContext::service("gateway", ANSWER_WITHIN);
        let known = match self.known {
            Some(known) => known,
            None => match self.archive.head(&context, &self.log).await {
                Ok(head) => {
                    self.known = Some(head);
                    self.shared.acknowledge(head);
                    head
                }
                Err(error) => return Ok((self, Err(error.to_string()))),
            },
        };
        let Self {
            shared,
            archive,
            log,
            mut reader,
            written,
            ..
        } = self;
        let reading = spawn_blocking(move || {
            let lines = reader.lines(known.as_ref());
            (reader, lines)
        });
        let (reader, lines) = reading.await?;
        let mut task = Self {
            shared,
            archive,
            log,
            reader,
            written,
            known: Some(known),
        };
        let lines = match lines {
            Ok(lines) if lines.is_empty() => {
                task.shared.caught_up();
                return Ok((task, Ok(Step::CaughtUp)));
            }
            Ok(lines) => lines,
            Err(error) => return Ok((task, Err(error.to_string()))),
        };
        let shipped = task.ship(known, lines).await;
        if shipped.is_err() {
            // Whether it was taken is asked again.
            task.known = None;
            task.reader.forget();
        }
        Ok((task, shipped))
    }

    async fn ship(&mut self, after: Option<Head>, lines: Vec<String>) -> Result<Step, String> {
        let count = lines.len() as u64;
        let lost = self.reader.is_lost();
        let begins = lines.first().and_then(|line| place_of(line.as_bytes()));
        let begins = begins.and_then(|link| SegmentStart::of(after.as_ref(), &link, lost));
        let last = lines.last().and_then(|line| Head::of(line.as_bytes()));
        let batch = Batch {
            log: self.log.clone(),
            after,
            lines,
            lost,
        };
        let context = CallContext::service("gateway", ANSWER_WITHIN);
        let head = self.archive.append(&context, batch).await;
        let head = head.map_err(|error| error.to_string())?;
        self.known = Some(head);
        self.shared.acknowledge(head);
        if head != last {
            // Another process ships the same log, and was first.
            self.reader.forget();
            return Ok(Step::Full);
        }
        self.shared.metrics.audit_shipped.inc_by(count);
        self.shared.note_segment(begins);
        self.reader.taken();
        // One that is large is followed by another.
        Ok(if count >= MAX_BATCH_LINES as u64 / 2 {
            Step::Full
        } else {
            Step::Shipped
        })
    }
}

impl Shared {
    /// What is written, as far as this process knows.
    fn head(&self) -> Option<Head> {
        *self.written.borrow()
    }

    fn acknowledge(&self, head: Option<Head>) {
        let mut progress = self.progress.lock();
        progress.acknowledged = head;
        if let Some((since, _)) = progress.failing.take() {
            let for_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(for_ms, "the registry takes audit records again");
        }
        if head == self.head() {
            progress.behind_since = None;
        } else {
            progress.behind_since.get_or_insert_with(Instant::now);
        }
    }

    fn caught_up(&self) {
        self.progress.lock().behind_since = None;
    }

    fn ship_failed(&self, why: &str) {
        self.metrics.audit_ship_failures.inc();
        let mut progress = self.progress.lock();
        progress.behind_since.get_or_insert_with(Instant::now);
        match &mut progress.failing {
            Some((_, last)) => why.clone_into(last),
            none => {
                tracing::warn!(why, "audit records cannot be shipped to the registry");
                *none = Some((Instant::now(), why.to_owned()));
            }
        }
    }

    fn note_segment(&self, begins: Option<(SegmentStart, u64)>) {
        match begins {
            Some((SegmentStart::Gap, missed)) => {
                tracing::warn!(
                    missed,
                    "audit records were rotated away before they were shipped"
                );
                self.metrics.audit_ship_missed.inc_by(missed);
                self.progress.lock().missed += missed;
            }
            Some((SegmentStart::Mismatch, _)) => {
                tracing::error!(
                    "the audit log does not hold what the registry has acknowledged: it was changed"
                );
                self.progress.lock().broken = true;
            }
            _ => {}
        }
    }

    fn lag(&self) -> Duration {
        let since = self.progress.lock().behind_since;
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Lines that are not acknowledged, as far as their numbers tell.
    fn unacknowledged(&self) -> u64 {
        let written = self.head().map_or(0, |head| head.seq);
        let progress = self.progress.lock();
        let acknowledged = progress.acknowledged.map_or(0, |head| head.seq);
        // Another process may have written, and shipped, more.
        written.saturating_sub(acknowledged)
    }

    /// What the health page says of the copy.
    pub(super) fn shipping_health(&self) -> Check {
        let (unacknowledged, lag) = (self.unacknowledged(), self.lag());
        let progress = self.progress.lock().clone();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut detail = Map::new();
        let mut say = |key: &str, value: Value| detail.insert(key.to_owned(), value);
        say(
            "acknowledged",
            json!(progress.acknowledged.map(|head| head.seq)),
        );
        say("lagRecords", json!(unacknowledged));
        say("lagMs", json!(millis(lag)));
        say("missed", json!(progress.missed));
        if progress.broken {
            say("changed", json!(true));
        }
        let mut healthy = !progress.broken;
        if let Some((since, _)) = &progress.failing {
            // Why is in the log: it may name what is not for everybody.
            say("failingMs", json!(millis(since.elapsed())));
            healthy &= since.elapsed() < TOO_LONG;
        }
        Check {
            name: "auditShipping",
            healthy,
            needed: false,
            detail,
        }
    }
}
