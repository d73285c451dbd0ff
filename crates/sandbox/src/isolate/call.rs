//! One call on one sandbox, from the frame that hands it in to the outcome.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use domain::error::ErrorCode;
use domain::runner::{Failure, Outcome, Printed, RunEvent, Usage};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until, timeout};

use super::pool::Pool;
use super::spawn::Sandbox;
use super::verdict;
use super::wire::{self, FromChild, Nonce, Progress, Spent, Thrown, ToChild};
use crate::{ExecutionSink, Job};

/// How long the code may go on after it was told to stop.
const GRACE: Duration = Duration::from_millis(100);

/// Room in a frame for what is not output: levels, JSON of a failure.
const FRAME_SLACK: usize = 65_536;

/// Most frames with output of one call. The child stops before that.
const MAX_MESSAGES: u32 = 20_000;

/// New sandboxes that are tried when one ends before it has read the call.
const ATTEMPTS: u32 = 3;

/// A call in its sandbox.
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) frame: Vec<u8>,
    pub(super) nonce: Nonce,
    pub(super) cpu_seconds: u64,
    pub(super) usage: Usage,
    pub(super) sink: ExecutionSink,
    pub(super) pool: Pool,
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
    Cancelled,
}

/// What came out so far.
#[derive(Default)]
struct Output {
    started: bool,
    printed: Vec<Printed>,
    bytes: u64,
    messages: u32,
    spent: Option<Spent>,
}

impl Running {
    /// Runs the call to its end, reports it, and destroys the sandbox.
    pub(super) async fn drive(mut self, mut sandbox: Sandbox) {
        let begun = Instant::now();
        let mut output = Output::default();
        let mut fresh_ones = 0;
        let end = loop {
            let end = self.attempt(&mut sandbox, &mut output).await;
            let unread = matches!(end, End::Gone | End::Broken(_)) && !output.started;
            // A pool full of dead ones runs out by itself; a new one that dies at once means more.
            fresh_ones += u32::from(!self.usage.warm);
            if !unread || fresh_ones == ATTEMPTS {
                break end;
            }
            match tokio::time::timeout_at(self.job.deadline, self.pool.take()).await {
                Ok(Ok((next, warm))) => {
                    std::mem::replace(&mut sandbox, next).destroy().await;
                    self.usage.warm = warm;
                }
                Ok(Err(error)) => break End::Broken(error),
                Err(_) => break End::Deadline,
            }
        };
        self.usage.running = begun.elapsed();
        let result = self.judge(end, &mut sandbox, &mut output).await;
        let slot = self.job.slot.take();
        self.settle(result, output);
        sandbox.destroy().await;
        drop(slot);
    }

    async fn attempt(&self, sandbox: &mut Sandbox, output: &mut Output) -> End {
        tokio::select! {
            end = self.pump(sandbox, output) => end,
            () = sleep_until(self.job.deadline) => End::Deadline,
            () = self.sink.cancelled().cancelled() => End::Cancelled,
        }
    }

    /// Largest payload of a frame of this call.
    fn max_frame(&self) -> usize {
        usize::try_from(self.job.call.limits.max_output_bytes)
            .unwrap_or(usize::MAX)
            .saturating_add(FRAME_SLACK)
    }

    async fn pump(&self, sandbox: &mut Sandbox, output: &mut Output) -> End {
        if sandbox.write(&self.frame).await.is_err() {
            return End::Gone;
        }
        let limit = self.max_frame();
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
                FromChild::Started => {
                    output.started = true;
                    Ok(())
                }
                FromChild::Value if result.is_none() => value(&payload).map(|value| {
                    result = Some(Ok(value));
                }),
                FromChild::Failure if result.is_none() => parsed::<Thrown>(&payload)
                    .map(|thrown| result = Some(Err(verdict::of_thrown(thrown)))),
                FromChild::Spent => match (parsed(&payload), result.take()) {
                    (Ok(spent), Some(result)) => {
                        output.spent = Some(spent);
                        return End::Reported(result);
                    }
                    _ => Err(broken("a report without a result")),
                },
                FromChild::Log | FromChild::Progress | FromChild::Print => {
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
            End::Gone => {
                let ended = sandbox.ended().await;
                if !output.started {
                    return Err(no_sandbox());
                }
                Err(verdict::of_end(
                    &ended,
                    self.job.call.limits.memory_bytes,
                    self.cpu_seconds,
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
                let limit = self.max_frame();
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

    fn settle(self, result: Result<Option<Box<RawValue>>, Failure>, mut output: Output) {
        let spent = output.spent.unwrap_or_default();
        let mut usage = self.usage;
        if output.spent.is_some() {
            usage.cpu = Some(Duration::from_micros(spent.cpu_micros));
            usage.peak_memory_bytes = Some(spent.peak_bytes);
        }
        // The bound is for result and printed text together, and the result comes first.
        let size = match &result {
            Ok(value) => value.as_ref().map_or(0, |value| value.get().len()),
            Err(_) => 0,
        };
        let left = self
            .job
            .call
            .limits
            .max_output_bytes
            .saturating_sub(size as u64);
        let cut = output.fit(left);
        let truncated = spent.truncated || cut;
        self.sink.finish(Outcome {
            result,
            printed: output.printed,
            truncated,
            usage,
        });
    }
}

impl Output {
    /// Counts a message and turns it into an event; printed lines are kept instead.
    fn admit(
        &mut self,
        kind: FromChild,
        payload: &Bytes,
        max_bytes: u64,
    ) -> io::Result<Option<RunEvent>> {
        self.bytes = self
            .bytes
            .saturating_add(payload.len().saturating_sub(1) as u64);
        self.messages += 1;
        if self.bytes > max_bytes || self.messages > MAX_MESSAGES {
            return Err(broken("more output than the call's bound"));
        }
        if kind == FromChild::Progress {
            let Progress {
                progress,
                total,
                message,
            } = parsed(payload)?;
            return Ok(Some(RunEvent::Progress {
                progress,
                total,
                message,
            }));
        }
        let (level, text) = payload
            .split_first()
            .ok_or_else(|| broken("an empty message"))?;
        let level = wire::level_from(*level).ok_or_else(|| broken("an unknown level"))?;
        let text = std::str::from_utf8(text)
            .map_err(io::Error::other)?
            .to_owned();
        if kind == FromChild::Print {
            self.printed.push(Printed {
                level,
                message: text,
            });
            return Ok(None);
        }
        let data = RawValue::from_string(text).map_err(io::Error::other)?;
        Ok(Some(RunEvent::Log { level, data }))
    }

    /// Drops the last lines until the rest fits. Whether any had to go.
    fn fit(&mut self, bytes: u64) -> bool {
        let mut left = bytes;
        let keep = self.printed.iter().take_while(|line| {
            let fits = left.checked_sub(line.message.len() as u64);
            left = fits.unwrap_or(0);
            fits.is_some()
        });
        let keep = keep.count();
        let cut = keep < self.printed.len();
        self.printed.truncate(keep);
        cut
    }
}

fn value(payload: &Bytes) -> io::Result<Option<Box<RawValue>>> {
    if payload.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8(payload.to_vec()).map_err(io::Error::other)?;
    RawValue::from_string(text)
        .map(Some)
        .map_err(io::Error::other)
}

fn parsed<'a, T: serde::Deserialize<'a>>(payload: &'a Bytes) -> io::Result<T> {
    serde_json::from_slice(payload).map_err(io::Error::other)
}

fn broken(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

fn no_sandbox() -> Failure {
    let message = "no sandbox could be started; nothing has run";
    verdict::failure(ErrorCode::Unavailable, message)
}
