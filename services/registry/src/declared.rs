//! Tools that the configuration declares: what they would change, and the change.
//!
//! The list is the truth about the tools that it has made: what is in it is made or changed, what the
//! configuration made before and is not in it any more is deleted. Tools that were made through MCP
//! are left alone, unless the list names them: then it takes them over. Only a difference is
//! written, and each write is one revision on what was read, so that several registries with one
//! list come to the same end and write it once.

mod diff;
mod follow;
mod look;
mod plan;

use std::time::Duration;

use bootstrap::config::DeclaredTool;
use domain::audit::{Actor, Outcome, Record};
use domain::{CallContext, Error, ErrorCode, Result};

pub use self::diff::{Diff, Difference};
pub use self::follow::follow;
pub use self::look::what_would_change;
use self::plan::{Plan, Step};
use crate::registry::Registry;

/// Who makes declared tools.
const ACTOR: &str = "config";
/// Log of what it does.
const LOG: &str = "registry.config";
/// How often the differences are looked for again after another writer was faster.
const MAX_TRIES: u32 = 50;
/// Longest pause before that, in milliseconds.
const PAUSE_MS: u64 = 20;
/// Longest time of a record in the archive of audit logs.
const RECORD_WITHIN: Duration = Duration::from_secs(10);

impl Registry {
    /// Brings the catalogue to what is declared, and says what was different. Read-only mode refuses
    /// clients and not this.
    ///
    /// # Errors
    /// `limit_exceeded` when a tenant would have too many tools: then nothing is changed.
    /// `unavailable` when the store fails: what was written until then stays, and the next try does
    /// the rest. `overloaded` when others change the same tools all the time.
    pub async fn apply_declared(&self, tools: &[DeclaredTool]) -> Result<Diff> {
        let mut made = Diff::default();
        for _ in 0..MAX_TRIES {
            let plan = Plan::of(&*self.core.store, &self.core.settings, tools).await?;
            made.unchanged = plan.unchanged;
            let Some(overtaken) = self.carry_out(plan.steps, &mut made).await? else {
                return Ok(made);
            };
            tracing::debug!(tool = overtaken, "another writer was faster; looking again");
            // Two registries that start together need not meet at every step.
            let pause = context().call_id.to_string();
            let pause = u64::from(pause.as_bytes()[0]) % PAUSE_MS;
            tokio::time::sleep(Duration::from_millis(1 + pause)).await;
        }
        Err(Error::new(
            ErrorCode::Overloaded,
            "the declared tools could not be applied: others change the same tools all the time",
        ))
    }

    /// What stays declared although the configuration does not say so any more: nobody is left who
    /// could change it.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn left_declared(&self) -> Result<usize> {
        Ok(self.core.store.declared().await?.len())
    }

    /// Does one step after the other, each between its two records; the tool at which another writer
    /// was faster.
    async fn carry_out(&self, steps: Vec<Step>, made: &mut Diff) -> Result<Option<String>> {
        for step in steps {
            let context = context();
            let record = |outcome| Record {
                target: Some(step.name.to_string()),
                actor: Actor::config(),
                ..Record::of_call(&context, step.action(), outcome)
            };
            let begun = record(Outcome::Begun)
                .with("tenant", step.tenant.as_str())
                .with("changed", step.difference.fields());
            self.record(LOG, &context, begun).await?;
            let written = step.write(&*self.core.store, &self.core.settings).await;
            let code = match &written {
                Ok(Some(_)) => None,
                Ok(None) => Some(ErrorCode::RevisionConflict),
                Err(error) => Some(error.code()),
            };
            let mut ended = record(Outcome::of(code));
            ended.code = code;
            if let Err(error) = self.record(LOG, &context, ended).await {
                // It was done or refused: its begin is on record, and this line says the rest.
                tracing::error!(%error, tool = step.label(), "the end of a change was not recorded");
            }
            let Some(version) = written? else {
                return Ok(Some(step.label()));
            };
            self.core.announce(version);
            made.add(step.label(), step.difference);
        }
        Ok(None)
    }
}

/// What the records of one change have in common.
fn context() -> CallContext {
    CallContext::service(ACTOR, RECORD_WITHIN)
}
