//! The events of one call, on their way from an engine to whoever waits for them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use domain::error::ErrorCode;
use domain::runner::{Failure, Outcome, RunEvent};
use futures::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How many events wait for a slow reader before the code itself has to wait.
const EVENTS_IN_FLIGHT: usize = 64;

/// A running call: `Log` and `Progress` as they happen, then `Finished` exactly once, then the end
/// of the stream. Dropping it cancels the call.
#[derive(Debug)]
pub struct Execution {
    events: mpsc::Receiver<RunEvent>,
    outcome: Option<oneshot::Receiver<Outcome>>,
    _cancel: DropGuard,
}

/// The engine's end of an [`Execution`].
#[derive(Debug)]
pub struct ExecutionSink {
    events: mpsc::Sender<RunEvent>,
    outcome: oneshot::Sender<Outcome>,
    cancelled: CancellationToken,
}

/// A new execution, and the end that an engine feeds.
#[must_use]
pub fn execution() -> (Execution, ExecutionSink) {
    let (events, receive_events) = mpsc::channel(EVENTS_IN_FLIGHT);
    let (outcome, receive_outcome) = oneshot::channel();
    let cancelled = CancellationToken::new();
    let execution = Execution {
        events: receive_events,
        outcome: Some(receive_outcome),
        _cancel: cancelled.clone().drop_guard(),
    };
    (
        execution,
        ExecutionSink {
            events,
            outcome,
            cancelled,
        },
    )
}

impl ExecutionSink {
    /// Hands over a `Log` or `Progress`; waits while the reader has too many to read, for ever when
    /// it never reads: race it against the deadline.
    pub async fn event(&self, event: RunEvent) {
        // Nobody reads any more: the token says so too, and the engine acts on that.
        drop(self.events.send(event).await);
    }

    /// Whether and when the reader went away.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Ends the call. Never waits, so that a slow reader cannot hold a sandbox.
    pub fn finish(self, outcome: Outcome) {
        drop(self.events);
        // A reader that went away wants no outcome.
        drop(self.outcome.send(outcome));
    }
}

impl Stream for Execution {
    type Item = RunEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RunEvent>> {
        match self.events.poll_recv(cx) {
            Poll::Ready(Some(event)) => return Poll::Ready(Some(event)),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {}
        }
        let Some(outcome) = self.outcome.as_mut() else {
            return Poll::Ready(None);
        };
        let Poll::Ready(outcome) = Pin::new(outcome).poll(cx) else {
            return Poll::Pending;
        };
        self.outcome = None;
        Poll::Ready(Some(RunEvent::Finished(
            outcome.unwrap_or_else(|_| supervisor_lost()),
        )))
    }
}

/// The engine's own task ended before the call did: a shutdown, or a fault of ours.
fn supervisor_lost() -> Outcome {
    let message = "the executor stopped while the tool ran; it may have run";
    Outcome {
        result: Err(Failure {
            code: ErrorCode::Unavailable,
            message: message.to_owned(),
            may_have_run: true,
        }),
        ..Outcome::failed(ErrorCode::Unavailable, message)
    }
}

#[cfg(test)]
mod tests {
    use domain::runner::LogLevel;
    use futures::StreamExt;
    use serde_json::value::RawValue;

    use super::*;

    fn log() -> RunEvent {
        let data = RawValue::from_string("1".to_owned()).unwrap();
        RunEvent::Log {
            level: LogLevel::Info,
            data,
        }
    }

    #[tokio::test]
    async fn events_come_before_the_outcome_and_the_end_after_it() {
        let (mut execution, sink) = execution();
        sink.event(log()).await;
        sink.event(log()).await;
        sink.finish(Outcome::failed(ErrorCode::ToolFailed, "x"));
        assert!(matches!(execution.next().await, Some(RunEvent::Log { .. })));
        assert!(matches!(execution.next().await, Some(RunEvent::Log { .. })));
        assert!(matches!(
            execution.next().await,
            Some(RunEvent::Finished(_))
        ));
        assert!(execution.next().await.is_none());
    }

    #[tokio::test]
    async fn dropping_the_execution_tells_the_engine() {
        let (execution, sink) = execution();
        assert!(!sink.cancelled().is_cancelled());
        drop(execution);
        assert!(sink.cancelled().is_cancelled());
        sink.event(log()).await;
    }

    #[tokio::test]
    async fn a_lost_engine_is_not_a_success() {
        let (mut execution, sink) = execution();
        drop(sink);
        let Some(RunEvent::Finished(outcome)) = execution.next().await else {
            panic!("no end")
        };
        let failure = outcome.result.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Unavailable);
        assert!(failure.may_have_run);
    }
}
