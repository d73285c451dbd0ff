//! One execution: the call goes to the runner once, its events come back to the client.

use std::time::Duration;

use domain::runner::{EngineKind, LogLevel, RunEvent};
use domain::{
    Call, CallContext, Error, ErrorCode, Outcome, RawValue, RunStream, Runner, SessionId, Sessions,
};
use futures::StreamExt;
use serde_json::value::to_raw_value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::mcp::readable;
use crate::operations::Notification;

/// Most notifications of one call. What a tool says beyond it is dropped, so that one call cannot
/// keep a client busy for ever.
const MAX_NOTIFICATIONS: u32 = 10_000;

/// Where code runs.
#[derive(Clone, Copy)]
pub(crate) enum On<'a> {
    /// A sandbox of its own.
    Runner(&'a dyn Runner),
    /// A session of the caller.
    Session(&'a dyn Sessions, &'a SessionId),
}

impl On<'_> {
    async fn start(self, context: &CallContext, call: Call) -> Result<RunStream, Error> {
        match self {
            On::Runner(runner) => runner.run(context, call).await,
            On::Session(sessions, id) => sessions.run(context, id, call).await,
        }
    }
}

/// How an execution ended, and where.
pub(crate) struct Ran {
    /// The engine that ran it.
    pub(crate) engine: EngineKind,
    /// The end.
    pub(crate) outcome: Outcome,
    /// Whether there were messages or progress on the way.
    pub(crate) spoke: bool,
}

/// Runs `call` until its end or the deadline. Dropping the future cancels it.
///
/// # Errors
/// What refused the call before anything ran: the runner's errors, `timeout`.
pub(crate) async fn run(
    on: On<'_>,
    context: &CallContext,
    call: Call,
    deadline: Instant,
    mut listener: Listener,
) -> Result<Ran, Error> {
    let mut context = context.clone();
    context.budget = deadline.saturating_duration_since(Instant::now());
    let not_taken = |_| {
        Error::new(
            ErrorCode::Timeout,
            "no executor took the call within the request's time",
        )
        .with_may_have_run(true)
    };
    let mut events = timeout_at(deadline, on.start(&context, call))
        .await
        .map_err(not_taken)??;
    let (mut engine, mut spoke) = (None, false);
    loop {
        let event = match timeout_at(deadline, events.next()).await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(ended(engine, gone(), spoke)),
            Err(_) => return Ok(ended(engine, overdue(context.budget), spoke)),
        };
        match event {
            RunEvent::Accepted { engine: by, .. } => engine = Some(by),
            RunEvent::Log { level, data } => {
                spoke = true;
                let data = crate::json_text::on_one_line(data);
                listener.log(level, data, deadline).await;
            }
            RunEvent::Progress {
                progress,
                total,
                message,
            } => {
                spoke = true;
                listener.progress(progress, total, message, deadline).await;
            }
            RunEvent::Finished(outcome) => return Ok(ended(engine, outcome, spoke)),
        }
    }
}

fn ended(engine: Option<EngineKind>, outcome: Outcome, spoke: bool) -> Ran {
    // A stream that says nothing of acceptance comes from an isolate in this process at most.
    Ran {
        engine: engine.unwrap_or(EngineKind::Isolate),
        outcome,
        spoke,
    }
}

fn gone() -> Outcome {
    let mut outcome = Outcome::failed(
        ErrorCode::Unavailable,
        "the executor went away while the tool was running; the tool may have run",
    );
    if let Err(failure) = &mut outcome.result {
        failure.may_have_run = true;
    }
    outcome
}

fn overdue(budget: Duration) -> Outcome {
    let message = format!(
        "the call did not finish within the {} ms of its request and was stopped",
        budget.as_millis()
    );
    let mut outcome = Outcome::failed(ErrorCode::Timeout, message);
    if let Err(failure) = &mut outcome.result {
        failure.may_have_run = true;
    }
    outcome
}

/// What stands for a message that clients cannot read.
fn not_shown(why: &str) -> Box<RawValue> {
    to_raw_value(&format!("(not shown: {why})")).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Passes on to the client what it asked for.
pub(crate) struct Listener {
    /// The tool's name.
    pub(crate) tool: String,
    /// The least severe level that is wanted, if any.
    pub(crate) log_level: Option<LogLevel>,
    /// Whether progress is wanted.
    pub(crate) wants_progress: bool,
    /// The way to the client; it may be gone, which is not the end of the call.
    pub(crate) notify: mpsc::Sender<Notification>,
    /// How far the last progress was.
    pub(crate) reached: Option<f64>,
    /// How many notifications went out.
    pub(crate) sent: u32,
}

impl Listener {
    async fn log(&mut self, level: LogLevel, data: Box<RawValue>, deadline: Instant) {
        if self.log_level.is_some_and(|least| level >= least) {
            let logger = self.tool.clone();
            let data = match readable(&data) {
                Ok(()) => data,
                Err(why) => not_shown(why),
            };
            self.send(
                Notification::Log {
                    level,
                    logger,
                    data,
                },
                deadline,
            )
            .await;
        }
    }

    /// Progress has to grow; what does not is dropped, whatever the tool says.
    async fn progress(
        &mut self,
        progress: f64,
        total: Option<f64>,
        message: Option<String>,
        deadline: Instant,
    ) {
        let grows = progress.is_finite() && self.reached.is_none_or(|reached| progress > reached);
        if self.wants_progress && grows {
            self.reached = Some(progress);
            let total = total.filter(|total| total.is_finite());
            self.send(
                Notification::Progress {
                    progress,
                    total,
                    message,
                },
                deadline,
            )
            .await;
        }
    }

    /// Waits for a slow client, but never past the deadline.
    async fn send(&mut self, notification: Notification, deadline: Instant) {
        if self.sent >= MAX_NOTIFICATIONS || self.notify.is_closed() {
            return;
        }
        self.sent += 1;
        if timeout_at(deadline, self.notify.send(notification))
            .await
            .is_err()
        {
            tracing::debug!(tool = %self.tool, "the client did not take a notification in time");
        }
    }
}
