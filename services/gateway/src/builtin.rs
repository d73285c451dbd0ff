//! The tools that the product itself brings: their table, and how they are called.

mod answer;
mod echo;
pub(crate) mod ephemeral;
mod guard_metrics;
mod health;
mod runtime_config;
mod sandbox;
mod sandbox_exec;
mod sandbox_files;
mod sandbox_initialize;
pub(crate) mod sandbox_run;
mod sandbox_sessions;
mod time_now;
mod tool_create;
mod tool_delete;
mod tool_enable;
mod tool_get;
mod tool_list;
mod tool_update;
mod view;

use domain::principal::Action;
use domain::schema::{Role, Schema};
use domain::tool::Runtime;
use domain::{CallContext, Error, ErrorCode, RawValue, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use self::answer::Answer;
use crate::arguments;
use crate::gateway::Gateway;
use crate::settings::Profile;

/// Which built-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Health,
    ToolCreate,
    ToolUpdate,
    ToolDelete,
    ToolEnable,
    ToolList,
    ToolGet,
    RunJsEphemeral,
    RunPythonEphemeral,
    SandboxInitialize,
    SandboxExec,
    SandboxRunJs,
    SandboxRunPython,
    SandboxFilesWrite,
    SandboxFilesRead,
    SandboxFilesList,
    SandboxStop,
    SandboxSessionList,
    Echo,
    TimeNow,
    GuardMetrics,
    RuntimeConfig,
}

/// The `outputSchema` of a failure, which every call may have: clients check `structuredContent`
/// also when `isError` is set. Its members are those of `error.rs`.
const FAILURE: &str = concat!(
    r#"{"type":"object","properties":{"ok":{"const":false},"error":{"type":"string"},"#,
    r#""code":{"type":"string"},"field":{"type":"string"},"limit":{"type":"string"},"#,
    r#""fix":{"type":"string"},"retryAfterMs":{"type":"integer","minimum":0},"#,
    r#""mayHaveRun":{"type":"boolean"},"durationMs":{"type":"integer","minimum":0}},"#,
    r#""required":["ok","error","code"]}"#
);

/// What a client is told of a built-in, and how it is treated.
pub(crate) struct Definition {
    kind: Kind,
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// JSON Schema of the arguments.
    input: &'static str,
    /// JSON Schema of `structuredContent` when it succeeds.
    output: &'static str,
    hints: Hints,
    /// The profile from which on it is there.
    profile: Profile,
}

/// MCP's annotations.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    read_only_hint: bool,
    destructive_hint: bool,
    idempotent_hint: bool,
    open_world_hint: bool,
}

impl Hints {
    /// Changes nothing.
    const READS: Self = Self::of(true, false, true);
    /// Adds something.
    const ADDS: Self = Self::of(false, false, false);
    /// Overwrites or takes away.
    const DESTROYS: Self = Self::of(false, true, false);
    /// Sets something to a given state.
    const SETS: Self = Self::of(false, true, true);

    const fn of(read_only: bool, destructive: bool, idempotent: bool) -> Self {
        Self {
            read_only_hint: read_only,
            destructive_hint: destructive,
            idempotent_hint: idempotent,
            // Nothing of ours reaches out of the server; the network is off while code runs.
            open_world_hint: false,
        }
    }
}

/// In the order in which `tools/list` shows them.
const DEFINITIONS: &[&Definition] = &[
    &health::DEFINITION,
    &tool_create::DEFINITION,
    &tool_update::DEFINITION,
    &tool_delete::DEFINITION,
    &tool_enable::DEFINITION,
    &tool_list::DEFINITION,
    &tool_get::DEFINITION,
    &ephemeral::JAVASCRIPT,
    &ephemeral::PYTHON,
    &sandbox_sessions::LIST,
    &sandbox_initialize::DEFINITION,
    &sandbox_exec::DEFINITION,
    &sandbox_run::JAVASCRIPT,
    &sandbox_run::PYTHON,
    &sandbox_files::WRITE,
    &sandbox_files::READ,
    &sandbox_files::LIST,
    &sandbox_sessions::STOP,
    &echo::DEFINITION,
    &time_now::DEFINITION,
    &guard_metrics::DEFINITION,
    &runtime_config::DEFINITION,
];

/// A built-in, ready to be listed and called.
pub(crate) struct BuiltIn {
    definition: &'static Definition,
    schema: Schema,
    /// JSON object for `tools/list`, on one line.
    pub(crate) listing: String,
}

/// One call of a built-in.
pub(crate) struct Invocation<'a> {
    pub(crate) gateway: &'a Gateway,
    /// The caller, elevated if an admin token said so.
    pub(crate) context: &'a CallContext,
    /// The arguments, checked, without `adminToken`.
    pub(crate) text: &'a str,
    /// The same, parsed.
    pub(crate) value: &'a Value,
    pub(crate) deadline: Instant,
}

impl Invocation<'_> {
    /// The arguments as a type.
    ///
    /// # Errors
    /// `invalid_argument` for what the schema let through and the type does not.
    fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        arguments::parse(self.text)
    }

    /// Waits for a read of the registry, but not past the deadline.
    ///
    /// # Errors
    /// Those of the read; `unavailable` at the deadline.
    async fn read<T>(&self, read: impl Future<Output = Result<T>>) -> Result<T> {
        let done = timeout_at(self.deadline, read).await;
        done.unwrap_or_else(|_| Err(Error::unavailable("registry")))
    }

    /// Waits for a write of the registry, but not past the deadline.
    ///
    /// # Errors
    /// Those of the write; `unavailable` at the deadline, when nobody knows whether it was made.
    async fn written<T>(&self, write: impl Future<Output = Result<T>>) -> Result<T> {
        let done = timeout_at(self.deadline, write).await;
        done.unwrap_or_else(|_| {
            let message = "the registry did not answer in time; the change may have been made";
            Err(Error::new(ErrorCode::Unavailable, message)
                .with_may_have_run(true)
                .with_fix("look at the tool before trying again"))
        })
    }

    /// Refuses who is not an administrator, when there is an admin token.
    ///
    /// # Errors
    /// `permission_denied` in the Node server's words.
    fn need_admin(&self) -> Result<()> {
        self.gateway.check_admin(&self.context.principal)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing<'a> {
    name: &'a str,
    title: &'a str,
    description: &'a str,
    input_schema: &'a RawValue,
    output_schema: &'a RawValue,
    annotations: Hints,
}

impl BuiltIn {
    /// Those of a profile, ready for use, in the order of `tools/list`.
    ///
    /// # Errors
    /// `invalid_argument` when a definition's schema is none; the tests exclude it.
    pub(crate) fn all(profile: Profile) -> Result<Vec<Self>> {
        let there = |definition: &&&'static Definition| {
            profile == Profile::Enterprise || definition.profile == Profile::Mvp
        };
        DEFINITIONS
            .iter()
            .filter(there)
            .map(|definition| Self::new(definition))
            .collect()
    }

    fn new(definition: &'static Definition) -> Result<Self> {
        let one_line = |text: &str| -> Result<Box<RawValue>> {
            let text: String = text.lines().map(str::trim_start).collect();
            RawValue::from_string(text).map_err(Error::internal)
        };
        let input = one_line(definition.input)?;
        let output = one_line(&format!(
            r#"{{"type":"object","anyOf":[{},{FAILURE}]}}"#,
            definition.output
        ))?;
        let listing = serde_json::to_string(&Listing {
            name: definition.name,
            title: definition.title,
            description: definition.description,
            input_schema: &input,
            output_schema: &output,
            annotations: definition.hints,
        })
        .map_err(Error::internal)?;
        Ok(Self {
            definition,
            schema: Schema::compile(Role::Input, &input)?,
            listing,
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.definition.kind
    }

    pub(crate) fn name(&self) -> &'static str {
        self.definition.name
    }

    /// The schema of the arguments.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What the caller has to be allowed to do.
    pub(crate) fn action(&self) -> Action<'static> {
        match self.definition.kind {
            Kind::Health | Kind::Echo | Kind::TimeNow => Action::UseBuiltIn,
            Kind::ToolCreate | Kind::ToolUpdate | Kind::ToolDelete | Kind::ToolEnable => {
                Action::WriteTools
            }
            Kind::ToolList | Kind::ToolGet => Action::ReadTools,
            Kind::RunJsEphemeral | Kind::RunPythonEphemeral => Action::RunEphemeral,
            Kind::SandboxInitialize
            | Kind::SandboxExec
            | Kind::SandboxRunJs
            | Kind::SandboxRunPython
            | Kind::SandboxFilesWrite
            | Kind::SandboxFilesRead
            | Kind::SandboxFilesList
            | Kind::SandboxStop
            | Kind::SandboxSessionList => Action::UseSandbox,
            Kind::GuardMetrics | Kind::RuntimeConfig => Action::Operate,
        }
    }

    /// Whether it manages tools or sandboxes and so takes the admin token.
    pub(crate) fn is_management(&self) -> bool {
        matches!(
            self.action(),
            Action::WriteTools | Action::ReadTools | Action::UseSandbox
        )
    }

    /// Whether it writes into the catalogue, once for each idempotency key.
    pub(crate) fn is_write(&self) -> bool {
        self.action() == Action::WriteTools
    }

    /// Whether the guard counts it.
    pub(crate) fn is_guarded(&self) -> bool {
        self.is_management() || self.action() == Action::RunEphemeral
    }

    /// The language of code that the caller brings, and whether it runs in a session.
    pub(crate) fn runs_code(&self) -> Option<(Runtime, bool)> {
        match self.definition.kind {
            Kind::RunJsEphemeral => Some((Runtime::Node, false)),
            Kind::RunPythonEphemeral => Some((Runtime::Python, false)),
            Kind::SandboxRunJs => Some((Runtime::Node, true)),
            Kind::SandboxRunPython => Some((Runtime::Python, true)),
            _ => None,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What it refuses or what fails, as a tool's error.
    pub(crate) async fn run(&self, invocation: &Invocation<'_>) -> Result<Answer> {
        match self.definition.kind {
            Kind::Health => health::run(invocation),
            Kind::ToolCreate => tool_create::run(invocation).await,
            Kind::ToolUpdate => tool_update::run(invocation).await,
            Kind::ToolDelete => tool_delete::run(invocation).await,
            Kind::ToolEnable => tool_enable::run(invocation).await,
            Kind::ToolList => tool_list::run(invocation).await,
            Kind::ToolGet => tool_get::run(invocation).await,
            Kind::Echo => echo::run(invocation),
            Kind::TimeNow => time_now::run(invocation),
            Kind::GuardMetrics => guard_metrics::run(invocation),
            Kind::RuntimeConfig => runtime_config::run(invocation),
            Kind::SandboxInitialize => sandbox_initialize::run(invocation).await,
            Kind::SandboxExec => sandbox_exec::run(invocation).await,
            Kind::SandboxFilesWrite => sandbox_files::write(invocation).await,
            Kind::SandboxFilesRead => sandbox_files::read(invocation).await,
            Kind::SandboxFilesList => sandbox_files::list(invocation).await,
            Kind::SandboxStop => sandbox_sessions::stop(invocation).await,
            Kind::SandboxSessionList => sandbox_sessions::list(invocation).await,
            // The pipeline runs them like a stored tool.
            Kind::RunJsEphemeral
            | Kind::RunPythonEphemeral
            | Kind::SandboxRunJs
            | Kind::SandboxRunPython => {
                Err(Error::internal("one-off code has no answer of its own"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
