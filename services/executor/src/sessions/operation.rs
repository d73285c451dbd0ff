//! One operation of a session: its time, what it counts as, and that a drain waits for it.

use std::sync::Arc;

use domain::error::{Error, ErrorCode, Result};
use telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::entry::Using;
use super::table::Table;

/// The answer when the caller's time was over first.
pub(super) fn late(what: &str) -> Error {
    Error::new(
        ErrorCode::Timeout,
        format!("the request's time was over before the executor could {what}"),
    )
}

/// An operation of a session under way.
pub(super) struct Operation {
    pub(super) table: Arc<Table>,
    pub(super) deadline: Instant,
    pub(super) timer: Timer,
    pub(super) using: Using,
    pub(super) _running: Running,
}

impl Operation {
    /// When its caller waits no longer.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Does it: within its caller's time, and no longer than the session lives.
    pub(super) async fn ends<T>(mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done = self.within(work).await;
        self.timer.outcome = outcome_of(&done);
        done
    }

    /// The same for what is not the whole operation.
    pub(super) async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let entry = self.using.entry();
        let done = tokio::select! {
            biased;
            done = timeout_at(self.deadline, work) =>
                done.unwrap_or_else(|_| Err(late("finish").with_may_have_run(true))),
            why = entry.interrupted() => Err(why),
        };
        self.table.bury(entry);
        done
    }
}

/// The label of an outcome.
pub(super) fn outcome_of<T>(done: &Result<T>) -> &'static str {
    done.as_ref()
        .map_or_else(|error| error.code().as_str(), |_| "ok")
}

/// Something under way that a drain waits for.
pub(super) struct Running(watch::Sender<usize>);

impl Running {
    pub(super) fn one_more(running: &watch::Sender<usize>) -> Self {
        running.send_modify(|running| *running += 1);
        Self(running.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

/// Times an operation until it is dropped.
pub(super) struct Timer {
    metrics: Arc<Metrics>,
    operation: &'static str,
    started: Instant,
    pub(super) outcome: &'static str,
}

impl Timer {
    pub(super) fn start(metrics: &Arc<Metrics>, operation: &'static str) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            operation,
            started: Instant::now(),
            // Until somebody says otherwise its future was dropped.
            outcome: ErrorCode::Cancelled.as_str(),
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.metrics
            .session_operation_duration
            .with_label_values(&[self.operation, self.outcome])
            .observe(self.started.elapsed().as_secs_f64());
    }
}
