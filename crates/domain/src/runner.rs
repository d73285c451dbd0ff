//! The port `Runner`: run this.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::call::CallContext;
use crate::dependency::Dependency;
use crate::error::{ErrorCode, Result};
use crate::id::{CodeDigest, Revision};
use crate::limits::RunLimits;
use crate::lockfile::Lockfile;
use crate::tool::{EngineChoice, Isolation, Runtime};

/// One execution: everything an executor needs, nothing it has to look up.
#[derive(Debug, Clone)]
pub struct Call {
    /// What runs, as `ctx.tool` shows it; `run_js_ephemeral` for code that is not stored.
    pub tool: String,
    /// The revision, for a stored tool.
    pub revision: Option<Revision>,
    /// The body of `async function run(args, ctx)`.
    pub code: Arc<str>,
    /// SHA-256 of `code`.
    pub code_digest: CodeDigest,
    /// The arguments: a JSON object.
    pub args: Box<RawValue>,
    /// Language of the code.
    pub runtime: Runtime,
    /// Which engine may run it.
    pub engine: EngineChoice,
    /// How calls are kept apart.
    pub isolation: Isolation,
    /// Image of the container, for an engine that has containers.
    pub image: String,
    /// Packages that have to be there.
    pub dependencies: Vec<Dependency>,
    /// What the packages of a stored tool resolved to; the executor resolves those of one-off code.
    pub lock: Option<Lockfile>,
    /// What it may use; clamped again by the executor.
    pub limits: RunLimits,
    /// The least severe level of `ctx.log` that the client wants, or none at all.
    pub log_level: Option<LogLevel>,
    /// Whether the client wants `ctx.progress`.
    pub wants_progress: bool,
    /// `ctx.clientCapabilities`: the JSON object that the client declared.
    pub client_capabilities: Option<Box<RawValue>>,
}

/// Severity of a log message: RFC 5424 as MCP names it, least severe first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the eight words of RFC 5424")]
pub enum LogLevel {
    Debug,
    #[default]
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl LogLevel {
    /// All levels, least severe first.
    pub const ALL: [LogLevel; 8] = [
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Notice,
        LogLevel::Warning,
        LogLevel::Error,
        LogLevel::Critical,
        LogLevel::Alert,
        LogLevel::Emergency,
    ];

    /// The level as MCP writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Notice => "notice",
            LogLevel::Warning => "warning",
            LogLevel::Error => "error",
            LogLevel::Critical => "critical",
            LogLevel::Alert => "alert",
            LogLevel::Emergency => "emergency",
        }
    }

    /// Parses the word of MCP; anything else is `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }
}

/// An engine that runs code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// QuickJS in a locked-down process; needs no Docker.
    Isolate,
    /// A hardened container.
    Docker,
}

impl EngineKind {
    /// The engine as configuration and `_meta` write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            EngineKind::Isolate => "isolate",
            EngineKind::Docker => "docker",
        }
    }
}

/// What comes back from a call, in order. `Accepted` is first, `Finished` is last; an error before
/// `Accepted` is the `Err` of [`Runner::run`].
#[derive(Debug, Clone)]
pub enum RunEvent {
    /// The call has a slot and will run: from here on it is never retried elsewhere.
    Accepted {
        /// The executor's name.
        executor: String,
        /// The engine that runs it.
        engine: EngineKind,
    },
    /// `ctx.log(level, data)`.
    Log {
        /// Severity.
        level: LogLevel,
        /// Any JSON.
        data: Box<RawValue>,
    },
    /// `ctx.progress(progress, total, message)`.
    Progress {
        /// How far; larger each time.
        progress: f64,
        /// Out of how much.
        total: Option<f64>,
        /// A word on it.
        message: Option<String>,
    },
    /// The end.
    Finished(Outcome),
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The value that the code returned (`None` for `undefined`), or why there is none.
    pub result: std::result::Result<Option<Box<RawValue>>, Failure>,
    /// What the code printed, oldest first, bounded.
    pub printed: Vec<Printed>,
    /// Whether printed text or log messages were dropped because of the bound.
    pub truncated: bool,
    /// What it used.
    pub usage: Usage,
}

impl Outcome {
    /// An end without a result, before or instead of a report from the sandbox.
    #[must_use]
    pub fn failed(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            result: Err(Failure {
                code,
                message: message.into(),
                may_have_run: false,
            }),
            printed: Vec::new(),
            truncated: false,
            usage: Usage::default(),
        }
    }
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of the closed list; `tool_failed` when the code itself threw.
    pub code: ErrorCode,
    /// A sentence for the caller.
    pub message: String,
    /// For `unavailable`: whether the tool may have run.
    pub may_have_run: bool,
}

/// One line that the code printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Printed {
    /// Severity: `console.error` is `error`, plain output is `info`.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// What a call used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Waiting for a slot of the executor.
    pub queued: Duration,
    /// Getting a sandbox: from the pool or a new one.
    pub checkout: Duration,
    /// Loading and running the code.
    pub running: Duration,
    /// CPU time of the sandbox, where the engine knows it.
    pub cpu: Option<Duration>,
    /// Most memory used, in bytes, where the engine knows it.
    pub peak_memory_bytes: Option<u64>,
    /// Whether the sandbox was waiting in the pool.
    pub warm: bool,
}

/// Events of one call. Dropping the stream cancels the call: the code is stopped and its sandbox
/// destroyed.
pub type RunStream = Pin<Box<dyn Stream<Item = RunEvent> + Send>>;

/// Runs calls. Implemented by the executor, by a gRPC client of one, by a gateway's choice among
/// several, and by fakes; callers cannot tell.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Starts the call and returns once it is accepted.
    ///
    /// # Errors
    /// Nothing has run: `overloaded`, `unavailable`, `policy_denied` (this engine cannot run such a
    /// tool), `permission_denied`, `invalid_argument`. Only an `unavailable` that says
    /// [`may_have_run`](crate::Error::may_have_run) leaves it open: the link broke after the call
    /// was sent and before it was accepted. It must not be run a second time.
    async fn run(&self, context: &CallContext, call: Call) -> Result<RunStream>;

    /// Finds out which versions of which packages dependencies come to. Nothing of them runs.
    ///
    /// # Errors
    /// `dependency_install_failed` with what the package manager said, `policy_denied` (this executor
    /// has no container to do it in; a blocked package), `unavailable`, `overloaded`, `timeout`.
    async fn resolve(&self, context: &CallContext, request: Resolve) -> Result<Lockfile>;
}

/// Dependencies to be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// The language, and so the package index.
    pub runtime: Runtime,
    /// The image whose package manager does it, and for which it is done.
    pub image: String,
    /// What its author named.
    pub dependencies: Vec<Dependency>,
}
