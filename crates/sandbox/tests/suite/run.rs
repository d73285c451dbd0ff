//! How a case runs code and reads what came of it.

use std::sync::Arc;
use std::time::Duration;

use domain::error::ErrorCode;
use domain::runner::{Call, Failure, LogLevel, Outcome, RunEvent};
use domain::{CodeDigest, RequestId};
use futures::StreamExt;
use sandbox::{Engine, Execution, Job};
use serde_json::Value;
use tokio::time::Instant;

/// An engine under test.
pub(crate) type Subject = Arc<dyn Engine>;

/// Everything that came out of a call.
pub(crate) struct Ended {
    /// `ctx.log`, in order.
    pub(crate) logs: Vec<(LogLevel, Value)>,
    /// `ctx.progress`, in order.
    pub(crate) progress: Vec<(f64, Option<f64>, Option<String>)>,
    /// The end.
    pub(crate) outcome: Outcome,
    /// How long it took, start included.
    pub(crate) took: Duration,
}

impl Ended {
    /// The value; `None` for `undefined`.
    #[track_caller]
    pub(crate) fn value(&self) -> Option<Value> {
        match &self.outcome.result {
            Ok(value) => value
                .as_ref()
                .map(|raw| serde_json::from_str(raw.get()).unwrap()),
            Err(failure) => panic!("{failure:?}, printed {:?}", self.outcome.printed),
        }
    }

    /// The failure, whose code must be this.
    #[track_caller]
    pub(crate) fn failure(&self, code: ErrorCode) -> &Failure {
        let failure = self.outcome.result.as_ref().unwrap_err();
        assert_eq!(failure.code, code, "{failure:?}");
        failure
    }

    /// Bytes of what was printed.
    pub(crate) fn printed_bytes(&self) -> usize {
        self.outcome
            .printed
            .iter()
            .map(|line| line.message.len())
            .sum()
    }
}

/// The image of the tests, for an engine that has images: `.ci/docker` makes it.
pub(crate) const IMAGE: &str = "dynamic-mcp-test/node:1";

/// A call of this code with every default of the test kit.
pub(crate) fn call(code: &str) -> Call {
    Call {
        image: IMAGE.to_owned(),
        ..testkit::call(code)
    }
}

/// The same with this time.
pub(crate) fn brief(code: &str, millis: u64) -> Call {
    let mut call = call(code);
    call.limits.timeout = Duration::from_millis(millis);
    call
}

/// The same with these arguments.
pub(crate) fn with_args(code: &str, args: &str) -> Call {
    Call {
        args: testkit::raw(args),
        ..call(code)
    }
}

/// Starts a call, with a sandbox waiting: what a case is about is the code, not how long a sandbox
/// takes to make.
pub(crate) async fn start(engine: &Subject, call: Call) -> Execution {
    waiting(engine).await;
    let job = Job {
        deadline: Instant::now() + call.limits.timeout,
        call: Call {
            code_digest: CodeDigest::of(&call.code),
            ..call
        },
        request_id: RequestId::accept("request-1").unwrap(),
        tenant: domain::TenantId::default(),
        slot: None,
    };
    engine.start(job).await.unwrap()
}

/// Waits until a sandbox waits.
async fn waiting(engine: &Subject) {
    let asked = Instant::now();
    while engine.status().pool_idle == 0 {
        assert!(
            asked.elapsed() < Duration::from_secs(30),
            "no sandbox gets ready: {:?}",
            engine.status()
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs a call to its end.
pub(crate) async fn run_call(engine: &Subject, call: Call) -> Ended {
    // On a busy machine that takes longer than many a call.
    waiting(engine).await;
    let begun = Instant::now();
    let mut execution = start(engine, call).await;
    let (mut logs, mut progress) = (Vec::new(), Vec::new());
    let outcome = loop {
        match execution.next().await.expect("an outcome before the end") {
            RunEvent::Accepted { .. } => panic!("engines do not accept"),
            RunEvent::Log { level, data } => {
                logs.push((level, serde_json::from_str(data.get()).unwrap()));
            }
            RunEvent::Progress {
                progress: at,
                total,
                message,
            } => {
                progress.push((at, total, message));
            }
            RunEvent::Finished(outcome) => break outcome,
        }
    };
    assert!(
        execution.next().await.is_none(),
        "nothing comes after the outcome"
    );
    Ended {
        logs,
        progress,
        outcome,
        took: begun.elapsed(),
    }
}

/// Runs code to its end.
pub(crate) async fn run(engine: &Subject, code: &str) -> Ended {
    run_call(engine, call(code)).await
}

/// Waits until no sandbox runs a call, and says how long that took.
pub(crate) async fn idle(engine: &Subject) -> Duration {
    let begun = Instant::now();
    while engine.status().running > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "a sandbox outlives its call"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    begun.elapsed()
}
