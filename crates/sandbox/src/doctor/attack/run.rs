//! Running the code of an attack as a call.

use std::sync::Arc;
use std::time::Duration;

use domain::error::ErrorCode;
use domain::limits::RunLimits;
use domain::runner::{Call, Outcome, RunEvent};
use domain::tool::{EngineChoice, Isolation, Runtime};
use domain::{CodeDigest, RequestId, TenantId};
use futures::StreamExt;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::cases::Case;
use super::{Attack, Held, Said};
use crate::{Engine, Execution, Job};

/// How long a sandbox may take to be there, and the end of a call to be told.
const SLACK: Duration = Duration::from_secs(30);
/// Output of an attack.
const OUTPUT: u64 = 200_000;

/// An engine under attack, with what all its calls share.
pub(super) struct Target {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) image: String,
    pub(super) memory_bytes: u64,
    pub(super) cpu_millis: u32,
    /// `args` of every call.
    pub(super) args: Json,
}

impl Target {
    fn call(&self, code: &str, time: Duration) -> Result<Call, String> {
        let args = RawValue::from_string(self.args.to_string()).map_err(|it| it.to_string())?;
        Ok(Call {
            tool: "doctor".to_owned(),
            revision: None,
            code_digest: CodeDigest::of(code),
            code: code.into(),
            args,
            runtime: Runtime::Node,
            engine: EngineChoice::Any,
            isolation: Isolation::Call,
            image: self.image.clone(),
            dependencies: Vec::new(),
            lock: None,
            limits: RunLimits {
                timeout: time,
                memory_bytes: self.memory_bytes,
                cpu_millis: self.cpu_millis,
                max_output_bytes: OUTPUT,
            },
            log_level: Some(domain::runner::LogLevel::Info),
            wants_progress: false,
            client_capabilities: None,
        })
    }

    /// Starts a call.
    pub(super) async fn start(&self, code: &str, time: Duration) -> Result<Execution, String> {
        let job = Job {
            call: self.call(code, time)?,
            request_id: RequestId::random(),
            tenant: TenantId::default(),
            deadline: Instant::now() + time + SLACK,
            slot: None,
        };
        let deadline = job.deadline;
        match timeout_at(deadline, self.engine.start(job)).await {
            Ok(started) => started.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no sandbox within {SLACK:?}")),
        }
    }

    /// Runs a call to its end.
    pub(super) async fn run(&self, code: &str, time: Duration) -> Result<Outcome, String> {
        let mut execution = self.start(code, time).await?;
        end_of(&mut execution, Instant::now() + time + SLACK).await
    }

    /// Whether an ordinary call works.
    pub(super) async fn works(&self) -> Result<(), String> {
        let outcome = self.run("return 6 * 7", Duration::from_secs(10)).await?;
        match outcome.result {
            Ok(Some(value)) if value.get() == "42" => Ok(()),
            Ok(value) => Err(format!("6 * 7 came to {value:?}")),
            Err(failure) => Err(failure.message),
        }
    }

    /// Tries one case.
    pub(super) async fn attempt(&self, case: &Case) -> Vec<Attack> {
        let begun = Instant::now();
        let time = Duration::from_millis(case.millis);
        let one = |held, found: String| vec![Attack::new(case.name, case.tried, held, found)];
        let outcome = match self.run(case.code, time).await {
            Ok(outcome) => outcome,
            Err(why) => return one(Held::Untried, why),
        };
        let took = begun.elapsed().as_millis();
        match outcome.result {
            Ok(value) => said(value.as_deref()).unwrap_or_else(|| {
                one(
                    Held::No,
                    "the code came to its end as if nothing was".to_owned(),
                )
            }),
            Err(failure) if case.ends.contains(&failure.code) => one(
                Held::Yes,
                format!(
                    "{} after {took} ms: {}",
                    failure.code.as_str(),
                    failure.message
                ),
            ),
            // It ended, and not as it should be told.
            Err(failure) if !case.ends.is_empty() && failure.code != ErrorCode::Unavailable => one(
                Held::No,
                format!("told as {}: {}", failure.code.as_str(), failure.message),
            ),
            Err(failure) => one(Held::Untried, failure.message),
        }
    }
}

/// What the code says of its own attempts; nothing when it says something else.
fn said(value: Option<&RawValue>) -> Option<Vec<Attack>> {
    let said: Vec<Said> = serde_json::from_str(value?.get()).ok()?;
    Some(said.into_iter().map(Attack::from).collect())
}

/// Reads to the end.
pub(super) async fn end_of(
    execution: &mut Execution,
    deadline: Instant,
) -> Result<Outcome, String> {
    let reading = async {
        while let Some(event) = execution.next().await {
            if let RunEvent::Finished(outcome) = event {
                return Ok(outcome);
            }
        }
        Err("the call ended without an outcome".to_owned())
    };
    let late = |_| Err("the call did not end within its time".to_owned());
    timeout_at(deadline, reading).await.unwrap_or_else(late)
}
