//! One call in its container, from the frame that hands it in to the outcome.

use std::sync::Arc;
use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::{EngineKind, Usage};
use telemetry::{Metrics, Trail};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::daemon::{ContainerId, Daemon};
use super::frames::Piece;
use super::guest;
use super::heard::{Heard, Last, Listener, Value};
use super::pool::{Key, Lease, Pool};
use super::sandbox::{Maker, Sandbox};
use super::shared::Tenancy;
use super::verdict::{self, Limits};
use crate::failpoint;
use crate::output::max_frame;
use crate::verdict::{failure, of_deadline};
use crate::wire::{FromChild, Nonce, Spent};
use crate::{ExecutionSink, Job, Miss, Stage, stages};

/// How long the code may go on after it was told to stop.
const GRACE: Duration = Duration::from_millis(100);

/// How long a container that has reported is left alone.
const LINGER: Duration = Duration::from_millis(5);

/// New containers that are tried when one ends before it has read the call.
const ATTEMPTS: u32 = 3;

/// A call in its container.
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) frame: Vec<u8>,
    pub(super) nonce: Nonce,
    pub(super) usage: Usage,
    pub(super) sink: ExecutionSink,
    pub(super) key: Key,
    pub(super) limits: Limits,
    pub(super) pool: Pool<Maker>,
    pub(super) daemon: Daemon,
    pub(super) metrics: Arc<Metrics>,
    /// Where its stages go in the trace.
    pub(super) trail: Trail,
    /// For a call whose sandbox others of its tool may have after it.
    pub(super) tenancy: Option<Tenancy>,
}

/// How the container's part ended.
enum End {
    /// As the agent, or its stream, said.
    Last(Last),
    Deadline,
    Cancelled,
    /// No other container could be had for one that died unread.
    NoOther,
}

impl Running {
    /// Runs the call to its end, reports it, and destroys the container.
    pub(super) async fn drive(mut self, mut sandbox: Sandbox, mut lease: Option<Lease<Maker>>) {
        let begun = Instant::now();
        let mut heard = Heard::default();
        let mut written = None;
        let mut fresh_ones = 0;
        let end = loop {
            let end = self.attempt(&mut sandbox, &mut written, &mut heard).await;
            let unread =
                matches!(end, End::Last(Last::Gone | Last::Broken(_))) && !heard.output.started;
            // A pool full of dead ones runs out by itself; a new one that dies at once means more.
            fresh_ones += u32::from(!self.usage.warm);
            if !unread || fresh_ones == ATTEMPTS {
                break end;
            }
            tracing::debug!(container = %sandbox.id(), "a sandbox ended before it had read its call");
            let next = self.pool.take(&self.key, &self.job.tenant);
            match timeout_at(self.job.deadline, next).await {
                Ok(Ok(next)) => {
                    stages::found(&self.metrics, EngineKind::Docker, Some(Miss::Died));
                    (sandbox, lease) = (next.sandbox, Some(next.lease));
                    self.usage.warm = next.miss.is_none();
                }
                Ok(Err(_)) => break End::NoOther,
                Err(_) => break End::Deadline,
            }
        };
        self.usage.running = begun.elapsed();
        let reported = matches!(end, End::Last(Last::Reported(_)));
        if reported {
            failpoint::reached(failpoint::RESULT);
        }
        let result = self.judge(end, &mut sandbox, &mut heard).await;
        heard.text.flush(&mut heard.output, self.max_output());
        let max_output = self.max_output();
        self.count(begun, written, &heard);
        let Self {
            job,
            usage,
            sink,
            metrics,
            trail,
            nonce,
            tenancy,
            ..
        } = self;
        // What the kernel had to do in it is not cleaned by its agent.
        let is_sound = reported && heard.output.spent.is_some_and(|it| it.oom_kills == 0);
        let mut tenancy = tenancy.filter(|_| is_sound);
        if let Some(tenancy) = &mut tenancy {
            tenancy.ending();
        }
        sink.finish(heard.output.outcome(result, usage, max_output));
        let answered = Instant::now();
        // The answer is on its way to the caller, which is worth more than an early end of a container
        // in which nothing runs any more.
        let left = match tenancy {
            Some(tenancy) => tenancy.keep(sandbox, &nonce).await,
            None => {
                if reported {
                    sleep(LINGER).await;
                }
                Some(sandbox)
            }
        };
        if let Some(sandbox) = left {
            sandbox.destroy().await;
        }
        let times = (answered, Instant::now());
        Stage::Teardown.passed((&metrics, &trail), EngineKind::Docker, times);
        drop((lease, job.slot));
    }

    /// What each stage took, as far as the call came.
    fn count(&self, begun: Instant, written: Option<Instant>, heard: &Heard) {
        let now = Instant::now();
        let since = |stage: Stage, from: Option<Instant>, to: Option<Instant>| {
            if let Some(from) = from {
                let times = (from, to.unwrap_or(now));
                stage.passed((&self.metrics, &self.trail), EngineKind::Docker, times);
            }
        };
        since(Stage::Write, Some(begun), written);
        since(Stage::Load, written, heard.started);
        since(Stage::Run, heard.started, heard.ended);
        since(Stage::Read, heard.ended, None);
    }

    fn max_output(&self) -> u64 {
        self.job.call.limits.max_output_bytes
    }

    async fn attempt(
        &self,
        sandbox: &mut Sandbox,
        written: &mut Option<Instant>,
        heard: &mut Heard,
    ) -> End {
        tokio::select! {
            end = self.pump(sandbox, written, heard) => end,
            () = sleep_until(self.job.deadline) => End::Deadline,
            () = self.sink.cancelled().cancelled() => End::Cancelled,
        }
    }

    async fn pump(
        &self,
        sandbox: &mut Sandbox,
        written: &mut Option<Instant>,
        heard: &mut Heard,
    ) -> End {
        if sandbox.write(&self.frame).await.is_err() {
            return End::Last(Last::Gone);
        }
        *written = Some(Instant::now());
        if sandbox.is_kept && !heard.output.started {
            heard.begin();
        }
        let listener = Listener {
            nonce: &self.nonce,
            max_output: self.max_output(),
            limits: self.limits,
            sink: &self.sink,
        };
        End::Last(heard.listen(&mut sandbox.frames, &listener).await)
    }

    async fn judge(&self, end: End, sandbox: &mut Sandbox, heard: &mut Heard) -> Value {
        match end {
            End::Last(Last::Reported(result)) => result,
            End::NoOther => Err(verdict::no_sandbox()),
            End::Last(Last::Gone | Last::Broken(_)) if !heard.output.started => {
                Err(verdict::no_sandbox())
            }
            End::Last(Last::Gone) => {
                let ended = self.daemon.end_of(sandbox.id()).await;
                Err(verdict::of_end(ended, &heard.text.errors(), self.limits))
            }
            End::Last(Last::Broken(error)) => {
                tracing::error!(%error, "a sandbox was stopped: its output is not to be believed");
                Err(verdict::of_nonsense())
            }
            End::Last(Last::Flood) => Err(verdict::of_flood(heard.bytes)),
            End::Deadline => {
                heard.output.spent = self.used(sandbox.id()).await;
                Err(of_deadline(self.job.call.limits.timeout))
            }
            End::Cancelled => {
                self.cancel(sandbox).await;
                let message = "the call was cancelled";
                Err(failure(ErrorCode::Cancelled, message))
            }
        }
    }

    /// What the code has used until now, as the daemon sees it.
    async fn used(&self, id: &ContainerId) -> Option<Spent> {
        let (cpu, memory) = self.daemon.usage_of(id).await.ok()?;
        Some(Spent {
            cpu_micros: u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX),
            peak_bytes: memory?,
            ..Spent::default()
        })
    }

    /// Tells the code, and gives it a moment. What it still says is of no interest.
    async fn cancel(&self, sandbox: &mut Sandbox) {
        let ending = async {
            if sandbox.write(&guest::cancel()).await.is_ok() {
                let limit = max_frame(self.max_output());
                while let Ok(Some(piece)) = sandbox.frames.next(&self.nonce, limit).await {
                    if matches!(piece, Piece::Frame(FromChild::Spent, _)) {
                        break;
                    }
                }
            }
        };
        // Out of patience is as good as the end: the kill follows either way.
        drop(timeout(GRACE, ending).await);
    }
}
