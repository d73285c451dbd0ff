//! One call in its container, from the frame that hands it in to the outcome.

use std::io;
use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::{Failure, Usage};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::daemon::{ContainerId, Daemon};
use super::frames::Piece;
use super::guest;
use super::pool::{Key, Pool};
use super::sandbox::{Maker, Sandbox};
use super::text::Text;
use super::verdict::{self, Limits};
use crate::failpoint;
use crate::output::{Output, broken, max_frame, parsed, value};
use crate::verdict::{failure, of_deadline, of_thrown};
use crate::wire::{FromChild, Nonce, Spent, Thrown};
use crate::{ExecutionSink, Job};

/// How long the code may go on after it was told to stop.
const GRACE: Duration = Duration::from_millis(100);

/// Text beyond the bound of a call that is read and thrown away, in bytes, so that a result can
/// follow it; what prints more is stopped.
const FLOOD: u64 = 32 << 20;

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
}

/// How the container's part ended.
enum End {
    /// With a report.
    Reported(Result<Option<Box<RawValue>>, Failure>),
    /// The stream ended, or broke.
    Gone,
    /// The agent did what an agent never does.
    Broken(io::Error),
    /// There was no end to its output.
    Flood,
    Deadline,
    Cancelled,
    /// No other container could be had for one that died unread.
    NoOther,
}

/// What came out so far.
#[derive(Default)]
struct Heard {
    output: Output,
    text: Text,
    /// All bytes, also those that were thrown away.
    bytes: u64,
}

impl Running {
    /// Runs the call to its end, reports it, and destroys the container.
    pub(super) async fn drive(mut self, mut sandbox: Sandbox) {
        let begun = Instant::now();
        let mut heard = Heard::default();
        let mut fresh_ones = 0;
        let end = loop {
            let end = self.attempt(&mut sandbox, &mut heard).await;
            let unread = matches!(end, End::Gone | End::Broken(_)) && !heard.output.started;
            // A pool full of dead ones runs out by itself; a new one that dies at once means more.
            fresh_ones += u32::from(!self.usage.warm);
            if !unread || fresh_ones == ATTEMPTS {
                break end;
            }
            tracing::debug!(container = %sandbox.id(), "a sandbox ended before it had read its call");
            match timeout_at(self.job.deadline, self.pool.take(&self.key)).await {
                Ok(Ok((next, warm))) => {
                    sandbox = next;
                    self.usage.warm = warm;
                }
                Ok(Err(_)) => break End::NoOther,
                Err(_) => break End::Deadline,
            }
        };
        self.usage.running = begun.elapsed();
        let reported = matches!(end, End::Reported(_));
        if reported {
            failpoint::reached(failpoint::RESULT);
        }
        let result = self.judge(end, &mut sandbox, &mut heard).await;
        heard.text.flush(&mut heard.output, self.max_output());
        let max_output = self.max_output();
        let Self {
            job, usage, sink, ..
        } = self;
        sink.finish(heard.output.outcome(result, usage, max_output));
        // The answer is on its way to the caller, which is worth more than an early end of a container
        // in which nothing runs any more.
        if reported {
            sleep(LINGER).await;
        }
        sandbox.destroy().await;
        drop(job.slot);
    }

    fn max_output(&self) -> u64 {
        self.job.call.limits.max_output_bytes
    }

    async fn attempt(&self, sandbox: &mut Sandbox, heard: &mut Heard) -> End {
        tokio::select! {
            end = self.pump(sandbox, heard) => end,
            () = sleep_until(self.job.deadline) => End::Deadline,
            () = self.sink.cancelled().cancelled() => End::Cancelled,
        }
    }

    async fn pump(&self, sandbox: &mut Sandbox, heard: &mut Heard) -> End {
        if sandbox.write(&self.frame).await.is_err() {
            return End::Gone;
        }
        let limit = max_frame(self.max_output());
        let mut result = None;
        loop {
            let piece = match sandbox.frames.next(&self.nonce, limit).await {
                Ok(Some(piece)) => piece,
                Ok(None) => return result.map_or(End::Gone, End::Reported),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return End::Broken(error);
                }
                Err(_) => return End::Gone,
            };
            let bytes = match &piece {
                Piece::Frame(_, payload) => payload.len(),
                Piece::Text(_, text) => text.len(),
            };
            heard.bytes = heard.bytes.saturating_add(bytes as u64);
            if heard.bytes > self.max_output().saturating_add(FLOOD) {
                return End::Flood;
            }
            let (kind, payload) = match piece {
                Piece::Frame(kind, payload) => (kind, payload),
                Piece::Text(from, text) => {
                    heard
                        .text
                        .add(from, &text, &mut heard.output, self.max_output());
                    continue;
                }
            };
            let done = match kind {
                FromChild::Started if !heard.output.started => {
                    heard.output.started = true;
                    failpoint::reached(failpoint::RUN);
                    Ok(())
                }
                _ if !heard.output.started => Err(broken("a frame before the call was read")),
                FromChild::Value if result.is_none() => value(&payload).map(|value| {
                    result = Some(Ok(value));
                }),
                FromChild::Failure if result.is_none() => {
                    parsed::<Thrown>(&payload).map(|thrown| result = Some(Err(of_thrown(thrown))))
                }
                FromChild::Spent => match (parsed(&payload), result.take()) {
                    (Ok(spent), Some(result)) => {
                        heard.output.spent = Some(spent);
                        let explain = |told| verdict::explained(told, spent, self.limits);
                        return End::Reported(result.map_err(explain));
                    }
                    _ => Err(broken("a report without a result")),
                },
                FromChild::Log | FromChild::Progress | FromChild::Print if result.is_none() => {
                    // The agent counts too, but knows nothing of what children of the code write.
                    if !heard
                        .output
                        .count(payload.len().saturating_sub(1), self.max_output())
                    {
                        heard.output.truncated = true;
                        continue;
                    }
                    match heard.output.event(kind, &payload) {
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
        heard: &mut Heard,
    ) -> Result<Option<Box<RawValue>>, Failure> {
        match end {
            End::Reported(result) => result,
            End::NoOther => Err(verdict::no_sandbox()),
            End::Gone | End::Broken(_) if !heard.output.started => Err(verdict::no_sandbox()),
            End::Gone => {
                let ended = self.daemon.end_of(sandbox.id()).await;
                Err(verdict::of_end(ended, &heard.text.errors(), self.limits))
            }
            End::Broken(error) => {
                tracing::error!(%error, "a sandbox was stopped: its output is not to be believed");
                Err(verdict::of_nonsense())
            }
            End::Flood => Err(verdict::of_flood(heard.bytes)),
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
