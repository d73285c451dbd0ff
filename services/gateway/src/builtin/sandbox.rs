//! What the tools of sandbox sessions have in common.

use std::time::Duration;

use domain::dependency::Dependency;
use domain::tool::{Runtime, iso_millis};
use domain::{CallContext, Error, ErrorCode, Result, validate};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::Invocation;
use crate::settings::Settings;

/// The property `sessionId`.
macro_rules! session_property {
    () => {
        r#""sessionId":{"type":"string","description":"From sandbox.initialize"}"#
    };
}

/// The property `path`.
macro_rules! path_property {
    ($more:literal) => {
        concat!(
            r#""path":{"type":"string","maxLength":1024"#,
            $more,
            r#","description":"Below /workspace"}"#
        )
    };
}

/// The property `dependencies`, with this rule for names.
macro_rules! dependencies_property {
    ($pattern:expr) => {
        concat!(
            r#""dependencies":{"type":"array","default":[],"maxItems":64,"items":{"type":"object",
            "properties":{"name":{"type":"string","maxLength":214"#,
            $pattern,
            r#"},"version":{"type":"string","minLength":1,"maxLength":128}},
            "required":["name","version"],"additionalProperties":false}}"#
        )
    };
}

/// The property `timeoutMs` of one call or command.
macro_rules! timeout_property {
    () => {
        r#""timeoutMs":{"type":"integer","minimum":1000,"maximum":120000}"#
    };
}
pub(super) use {dependencies_property, path_property, session_property, timeout_property};

/// Names of npm packages, and of PyPI's, as a member of a schema.
macro_rules! npm_names {
    () => {
        r#","pattern":"^(?:@[a-z0-9-~][a-z0-9-._~]*\\/)?[a-z0-9-~][a-z0-9-._~]*$""#
    };
}
pub(super) use npm_names;

/// The time that a caller asks for, or the most that there is.
pub(super) fn timeout_of(settings: &Settings, asked: Option<u32>) -> Duration {
    let most = settings.run.timeout;
    asked.map_or(most, |asked| Duration::from_millis(asked.into()).min(most))
}

/// Checks packages by number, grammar and block list.
///
/// # Errors
/// `invalid_argument`, `policy_denied`.
pub(super) fn check_dependencies(
    settings: &Settings,
    dependencies: &[Dependency],
    runtime: Runtime,
) -> Result<()> {
    validate::dependencies_allowed("/dependencies", dependencies, runtime, &settings.policy)
}

impl Invocation<'_> {
    /// The caller with the time that is left.
    pub(super) fn context_now(&self) -> CallContext {
        let mut context = self.context.clone();
        context.budget = self.deadline.saturating_duration_since(Instant::now());
        context
    }

    /// Waits for an operation of a session, but not past the deadline.
    ///
    /// # Errors
    /// Those of the operation; `timeout` at the deadline.
    pub(super) async fn operated<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let done = timeout_at(self.deadline, work).await;
        done.unwrap_or_else(|_| {
            let message = "the executor did not answer within the request's time";
            Err(Error::new(ErrorCode::Timeout, message).with_may_have_run(true))
        })
    }
}

/// A time as results write it.
pub(super) fn shown(time: Timestamp) -> String {
    iso_millis(time)
}
