//! Code in a session: a process of its own below the agent, whose stream is passed on as it is.

use std::io;
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use domain::error::ErrorCode;
use domain::runner::{EngineKind, Failure, Usage};
use domain::tool::Runtime;
use futures::Stream;
use nix::sys::signal::Signal;
use serde::Serialize;
use telemetry::Trail;
use tokio::time::{Instant, sleep_until, timeout};

use super::actor::{Actor, Done, MARGIN, done};
use super::end::Cause;
use super::line::{Said, Tell};
use crate::docker::daemon::{End, Printed};
use crate::docker::frames::Frames;
use crate::docker::guest;
use crate::docker::heard::{Heard, Last, Listener, Value};
use crate::docker::verdict;
use crate::output::{broken, parsed};
use crate::verdict::{failure, of_deadline};
use crate::wire::{Nonce, Spent};
use crate::{ExecutionSink, Job, SessionEnd, Stage};

/// How long the code may go on after it was told to stop.
const GRACE: Duration = Duration::from_millis(100);

/// How long after the deadline the agent ends code that nobody ends.
const LATER: Duration = Duration::from_secs(1);

/// Code that is to run.
pub(super) struct Code {
    pub(super) job: Job,
    pub(super) frame: Vec<u8>,
    pub(super) nonce: Nonce,
    pub(super) usage: Usage,
    pub(super) sink: ExecutionSink,
    /// Where its stages go.
    pub(super) trail: Trail,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    runtime: &'static str,
    left_ms: u128,
}

/// What the kernel had counted when a process was taken.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    oom_kills: u64,
    pids_refused: u64,
}

/// How it ended.
enum Fate {
    Last(Last),
    /// The process is gone.
    Done(Done),
    Deadline,
    Cancelled,
    /// The session ends.
    Over(Cause),
}

impl Code {
    /// Runs it and reports; returns when the session is ready for something else.
    ///
    /// # Errors
    /// The session ends.
    pub(super) async fn serve(mut self, actor: &mut Actor) -> Result<(), Cause> {
        let begun = Instant::now();
        let head = Head {
            runtime: match self.job.call.runtime {
                Runtime::Node => "node",
                Runtime::Python => "python",
            },
            left_ms: (self.job.time_left() + LATER).as_millis(),
        };
        let operation = actor.begin(Tell::Run, &head);
        let frame = std::mem::take(&mut self.frame);
        actor.line.data(operation, frame.into());
        let mut heard = Heard::default();
        let mut written = None;
        let fate = match self.wait(actor, operation, &mut heard).await {
            Some(fate) => fate,
            None => {
                written = Some(Instant::now());
                self.listen(actor, operation, &mut heard).await
            }
        };
        self.usage.running = begun.elapsed();
        self.trace(begun, written, &heard);
        let (result, next) = match fate {
            Fate::Last(Last::Reported(result)) => (result, Next::End),
            Fate::Last(Last::Broken(error)) => {
                tracing::warn!(%error, "code in a session was stopped: its output is not to be believed");
                (Err(verdict::of_nonsense()), Next::Cancel)
            }
            Fate::Last(Last::Flood) => (Err(verdict::of_flood(heard.bytes)), Next::Cancel),
            Fate::Last(Last::Gone) => (Err(verdict::of_nonsense()), Next::Cancel),
            Fate::Done(done) => (self.gone(actor, done, &heard), Next::Nothing),
            Fate::Deadline => {
                let time = self.job.call.limits.timeout;
                (Err(of_deadline(time)), Next::Cancel)
            }
            Fate::Cancelled => {
                actor.line.data(operation, guest::cancel().into());
                let told = self.listen(actor, operation, &mut heard);
                // Out of patience is as good as the end: the kill follows either way.
                drop(timeout(GRACE, told).await);
                let message = "the call was cancelled";
                (Err(failure(ErrorCode::Cancelled, message)), Next::Cancel)
            }
            Fate::Over(cause) => {
                let end = actor.judge(&cause).await;
                (Err(of_session(end)), Next::Over(cause))
            }
        };
        match next {
            // The answer first: what is left to do is of no interest to the caller.
            Next::End => {
                actor.line.tell(Tell::End, operation, Bytes::new());
                self.report(heard, result);
                settle(actor, operation).await
            }
            Next::Cancel => {
                let settled = actor.cancel(operation).await;
                self.report(heard, result);
                actor.killed |= settled?.oom_kills > 0;
                Ok(())
            }
            Next::Nothing => {
                self.report(heard, result);
                Ok(())
            }
            Next::Over(cause) => {
                self.report(heard, result);
                Err(cause)
            }
        }
    }

    /// The stages that it came to, each until the next one began.
    fn trace(&self, begun: Instant, written: Option<Instant>, heard: &Heard) {
        let now = Instant::now();
        let stages = [
            (Stage::Write, Some(begun), written),
            (Stage::Load, written, heard.started),
            (Stage::Run, heard.started, heard.ended),
            (Stage::Read, heard.ended, None),
        ];
        for (stage, from, to) in stages {
            if let Some(from) = from {
                stage.traced(&self.trail, EngineKind::Docker, (from, to.unwrap_or(now)));
            }
        }
    }

    fn most(&self) -> u64 {
        self.job.call.limits.max_output_bytes
    }

    fn report(self, mut heard: Heard, result: Value) {
        let most = self.most();
        heard.text.flush(&mut heard.output, most);
        let outcome = heard.output.outcome(result, self.usage, most);
        self.sink.finish(outcome);
    }

    /// Waits until a process has the code. Nothing when it has.
    async fn wait(&self, actor: &mut Actor, operation: u32, heard: &mut Heard) -> Option<Fate> {
        let limit = self.job.deadline + MARGIN;
        let message = tokio::select! {
            message = actor.hear(operation, limit) => message,
            () = sleep_until(self.job.deadline) => return Some(Fate::Deadline),
            () = self.sink.cancelled().cancelled() => return Some(Fate::Cancelled),
        };
        let message = match message {
            Ok(message) => message,
            Err(cause) => return Some(Fate::Over(cause)),
        };
        match message.said {
            Said::Started => match parsed::<Started>(&message.payload) {
                Ok(started) => {
                    heard.before = Spent {
                        oom_kills: started.oom_kills,
                        pids_refused: started.pids_refused,
                        ..Spent::default()
                    };
                    None
                }
                Err(error) => Some(Fate::Over(Cause::Gone(Some(error)))),
            },
            Said::Done => Some(done(&message.payload).map_or_else(Fate::Over, Fate::Done)),
            _ => Some(Fate::Over(Cause::Gone(Some(broken(
                "a message out of turn",
            ))))),
        }
    }

    async fn listen(&self, actor: &mut Actor, operation: u32, heard: &mut Heard) -> Fate {
        let limits = actor.limits;
        let mut over = None;
        let relay = Relay {
            actor,
            operation,
            limit: self.job.deadline + MARGIN,
            over: &mut over,
        };
        let mut frames = Frames::new(relay);
        let listener = Listener {
            nonce: &self.nonce,
            max_output: self.most(),
            limits,
            sink: &self.sink,
        };
        let last = tokio::select! {
            last = heard.listen(&mut frames, &listener) => last,
            () = sleep_until(self.job.deadline) => return Fate::Deadline,
            () = self.sink.cancelled().cancelled() => return Fate::Cancelled,
        };
        drop(frames);
        match (last, over) {
            (Last::Gone, Some(Ok(done))) => Fate::Done(done),
            (Last::Gone, Some(Err(cause))) => Fate::Over(cause),
            (last, _) => Fate::Last(last),
        }
    }

    /// A process that is gone and has not reported.
    fn gone(&self, actor: &mut Actor, done: Done, heard: &Heard) -> Value {
        actor.killed |= done.oom_kills > 0;
        if let Some(told) = done.error {
            let error = told.error();
            return Err(failure(error.code(), error.message()));
        }
        if done.timed_out {
            return Err(of_deadline(self.job.call.limits.timeout));
        }
        if !heard.output.started {
            return Err(verdict::no_sandbox());
        }
        let signal = done.signal.and_then(|name| Signal::from_str(&name).ok());
        let by_signal = signal.map(|signal| 128 + i64::from(signal as i32));
        let end = End {
            running: false,
            exit_code: by_signal.or(done.code.map(i64::from)).or(Some(1)),
            oom_killed: done.oom_kills > 0,
            error: None,
        };
        Err(verdict::of_end(Ok(end), &heard.text.errors(), actor.limits))
    }
}

/// What the agent is told once the result is known.
enum Next {
    /// The process is not needed any more; what it started goes on.
    End,
    /// The process and all that it started are to die.
    Cancel,
    Nothing,
    /// There is nobody to tell.
    Over(Cause),
}

fn of_session(end: SessionEnd) -> Failure {
    Failure {
        may_have_run: true,
        ..failure(end.code, end.message)
    }
}

/// Hears the operation out after its report.
async fn settle(actor: &mut Actor, operation: u32) -> Result<(), Cause> {
    let limit = Instant::now() + MARGIN;
    loop {
        let message = actor.hear(operation, limit).await?;
        if message.said == Said::Done {
            actor.killed |= done(&message.payload)?.oom_kills > 0;
            return Ok(());
        }
    }
}

/// What the process writes, as if it was a container's.
struct Relay<'a> {
    actor: &'a mut Actor,
    operation: u32,
    limit: Instant,
    over: &'a mut Option<Result<Done, Cause>>,
}

impl Stream for Relay<'_> {
    type Item = io::Result<(Printed, Bytes)>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over.is_some() {
            return Poll::Ready(None);
        }
        // Nothing is lost by giving it up: what it waits for is kept by the line.
        let hear = pin!(this.actor.hear(this.operation, this.limit));
        let over = match ready!(hear.poll(cx)) {
            Ok(message) => match message.said {
                Said::Out => return Poll::Ready(Some(Ok((Printed::Out, message.payload)))),
                Said::Err => return Poll::Ready(Some(Ok((Printed::Err, message.payload)))),
                Said::Done => done(&message.payload),
                Said::Command | Said::Started => {
                    Err(Cause::Gone(Some(broken("a message out of turn"))))
                }
            },
            Err(cause) => Err(cause),
        };
        *this.over = Some(over);
        Poll::Ready(None)
    }
}
