//! One call on one sandbox, from the frame that hands it in to the outcome.

use std::io;
use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::{Failure, Usage};
use serde_json::value::RawValue;
use telemetry::Trail;
use tokio::time::{Instant, sleep_until, timeout};

use super::pool::{Pool, Taken};
use super::spawn::Sandbox;
use super::watch::Watch;
use crate::output::{Output, broken, max_frame, parsed, value};
use crate::wire::{self, FromChild, Nonce, Thrown, ToChild};
use crate::{ExecutionSink, Job, Stage, verdict};

/// How long the code may go on after it was told to stop.
const GRACE: Duration = Duration::from_millis(100);

/// New sandboxes that are tried when one ends before it has read the call.
const ATTEMPTS: u32 = 3;

/// A call in its sandbox.
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) frame: Vec<u8>,
    pub(super) nonce: Nonce,
    /// CPU time that it may use.
    pub(super) cpu: Duration,
    pub(super) usage: Usage,
    pub(super) sink: ExecutionSink,
    pub(super) pool: Pool,
    /// Where its stages go in the trace.
    pub(super) trail: Trail,
}

/// How the child's part ended.
enum End {
    /// With a report.
    Reported(Result<Option<Box<RawValue>>, Failure>),
    /// The stream ended.
    Gone,
    /// The child did what a child never does.
    Broken(io::Error),
    Deadline,
    /// It has used up its CPU time.
    Cpu,
    Cancelled,
    /// No other sandbox could be had for one that died before it had read the call.
    NoOther(domain::Error),
}

impl Running {
    /// Runs the call to its end, reports it, and destroys the sandbox.
    pub(super) async fn drive(mut self, mut sandbox: Sandbox) {
        let begun = Instant::now();
        let mut output = Output::default();
        let mut fresh_ones = 0;
        let mut watch;
        let end = loop {
            watch = Watch::new();
            let end = self.attempt(&mut sandbox, &mut output, &mut watch).await;
            let unread = matches!(end, End::Gone | End::Broken(_)) && !output.started;
            // A pool full of dead ones runs out by itself; a new one that dies at once means more.
            fresh_ones += u32::from(!self.usage.warm);
            if !unread || fresh_ones == ATTEMPTS {
                break end;
            }
            let next = self.pool.take(&self.job.tenant);
            match tokio::time::timeout_at(self.job.deadline, next).await {
                Ok(Ok(Taken {
                    sandbox: next,
                    warm,
                })) => {
                    std::mem::replace(&mut sandbox, next).destroy().await;
                    self.usage.warm = warm;
                }
                Ok(Err(error)) => break End::NoOther(error),
                Err(_) => break End::Deadline,
            }
        };
        watch.enter(Stage::Teardown);
        self.usage.running = begun.elapsed();
        let result = self.judge(end, &mut sandbox, &mut output).await;
        let slot = self.job.slot.take();
        let Self {
            job, usage, sink, ..
        } = self;
        sink.finish(output.outcome(result, usage, job.call.limits.max_output_bytes));
        sandbox.destroy().await;
        watch.end(self.pool.metrics(), &self.trail);
        drop(slot);
    }

    async fn attempt(&self, sandbox: &mut Sandbox, output: &mut Output, watch: &mut Watch) -> End {
        let id = sandbox.id();
        tokio::select! {
            end = self.pump(sandbox, output, watch) => end,
            () = super::usage::cpu_used_up(id, self.cpu) => End::Cpu,
            () = sleep_until(self.job.deadline) => End::Deadline,
            () = self.sink.cancelled().cancelled() => End::Cancelled,
        }
    }

    async fn pump(&self, sandbox: &mut Sandbox, output: &mut Output, watch: &mut Watch) -> End {
        if sandbox.write(&self.frame).await.is_err() {
            return End::Gone;
        }
        watch.enter(Stage::Load);
        let limit = max_frame(self.job.call.limits.max_output_bytes);
        let mut result = None;
        loop {
            let (kind, payload) = match sandbox.frames.next(&self.nonce, limit).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return result.map_or(End::Gone, End::Reported),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return End::Broken(error);
                }
                Err(_) => return End::Gone,
            };
            let done = match kind {
                FromChild::Started if !output.started => {
                    output.started = true;
                    watch.enter(Stage::Run);
                    Ok(())
                }
                _ if !output.started => Err(broken("a frame before the call was read")),
                FromChild::Value if result.is_none() => {
                    watch.enter(Stage::Read);
                    value(&payload).map(|value| result = Some(Ok(value)))
                }
                FromChild::Failure if result.is_none() => {
                    watch.enter(Stage::Read);
                    parsed::<Thrown>(&payload)
                        .map(|thrown| result = Some(Err(verdict::of_thrown(thrown))))
                }
                FromChild::Spent => match (parsed(&payload), result.take()) {
                    (Ok(spent), Some(result)) => {
                        output.spent = Some(spent);
                        return End::Reported(result);
                    }
                    _ => Err(broken("a report without a result")),
                },
                FromChild::Log | FromChild::Progress | FromChild::Print if result.is_none() => {
                    match output.admit(kind, &payload, self.job.call.limits.max_output_bytes) {
                        Ok(Some(event)) => {
                            self.sink.event(event).await;
                            Ok(())
                        }
                        Ok(None) => Ok(()),
                        Err(error) => Err(error),
                    }
                }
                _ => Err(broken("a frame out of turn")),
            };
            if let Err(error) = done {
                return End::Broken(error);
            }
        }
    }

    async fn judge(
        &self,
        end: End,
        sandbox: &mut Sandbox,
        output: &mut Output,
    ) -> Result<Option<Box<RawValue>>, Failure> {
        match end {
            End::Reported(result) => result,
            End::NoOther(error) => Err(verdict::failure(error.code(), error.message())),
            End::Gone => {
                let ended = sandbox.ended().await;
                if !output.started {
                    return Err(no_sandbox());
                }
                output.spent = ended.spent;
                Err(super::verdict::of_end(
                    &ended,
                    self.job.call.limits.memory_bytes,
                    self.cpu,
                ))
            }
            End::Broken(error) => {
                tracing::error!(%error, "a sandbox was stopped: its output is not to be believed");
                if !output.started {
                    return Err(no_sandbox());
                }
                Err(verdict::failure(
                    ErrorCode::ToolFailed,
                    "the sandbox broke the rules of its output and was stopped",
                ))
            }
            End::Deadline => {
                output.spent = super::usage::of_process(sandbox.id());
                Err(verdict::of_deadline(self.job.call.limits.timeout))
            }
            End::Cpu => {
                output.spent = super::usage::of_process(sandbox.id());
                Err(super::verdict::of_cpu(self.cpu))
            }
            End::Cancelled => {
                self.cancel(sandbox).await;
                output.spent = super::usage::of_process(sandbox.id());
                Err(verdict::failure(
                    ErrorCode::Cancelled,
                    "the call was cancelled",
                ))
            }
        }
    }

    /// Tells the code, and gives it a moment. What it still says is of no interest.
    async fn cancel(&self, sandbox: &mut Sandbox) {
        let Some(frame) = wire::encode_to_child(ToChild::Cancel, &[]) else {
            return;
        };
        let ending = async {
            if sandbox.write(&frame).await.is_ok() {
                let limit = max_frame(self.job.call.limits.max_output_bytes);
                while let Ok(Some((kind, _))) = sandbox.frames.next(&self.nonce, limit).await {
                    if kind == FromChild::Spent {
                        break;
                    }
                }
            }
        };
        // Out of patience is as good as the end: the kill follows either way.
        drop(timeout(GRACE, ending).await);
    }
}

fn no_sandbox() -> Failure {
    let message = "no sandbox could be started; nothing has run";
    verdict::failure(ErrorCode::Unavailable, message)
}
