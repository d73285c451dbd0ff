//! A sandbox that stays: what an engine that has containers offers besides single calls.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use domain::error::{Error, ErrorCode, Result};
use domain::id::TenantId;
use domain::lockfile::Lockfile;
use domain::session::{CommandResult, Exec, Listing, Network};
use domain::tool::Runtime;
use tokio::time::Instant;

use crate::{Execution, Job, Slot};

/// A session that somebody wants, with limits that are already clamped.
pub struct OpenSession {
    /// Whose it is, for the fair share of what is scarce.
    pub tenant: TenantId,
    /// Its image, by name.
    pub image: String,
    /// Its network; whether it may have one is for the caller to say.
    pub network: Network,
    /// Environment variables of all that runs in it. They may hold secrets: they go to the agent
    /// and are never the container's.
    pub env: BTreeMap<String, String>,
    /// Packages that are mounted from the start, read-only.
    pub lock: Option<Lockfile>,
    /// Memory of all that runs in it, files included, in bytes.
    pub memory_bytes: u64,
    /// CPU, in thousandths of a core.
    pub cpu_millis: u32,
    /// How long it may live, whatever is done with it.
    pub lifetime: Duration,
    /// When nobody waits for it any more.
    pub deadline: Instant,
    /// Dropped once its container is gone.
    pub slot: Option<Slot>,
}

impl fmt::Debug for OpenSession {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OpenSession")
            .field("tenant", &self.tenant)
            .field("image", &self.image)
            .field("network", &self.network)
            .field("env", &format_args!("{} variables", self.env.len()))
            .field("lock", &self.lock)
            .field("memory_bytes", &self.memory_bytes)
            .field("cpu_millis", &self.cpu_millis)
            .field("lifetime", &self.lifetime)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Why a session is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// `out_of_memory`, `tool_failed` (something in it ended the agent), `timeout` (its lifetime is
    /// over), `unavailable` (the daemon or the connection to it), `cancelled` (stopped).
    pub code: ErrorCode,
    /// A sentence for the caller.
    pub message: String,
}

impl SessionEnd {
    /// The end as the answer of an operation.
    #[must_use]
    pub fn error(&self) -> Error {
        Error::new(self.code, self.message.clone())
            .with_fix(
                "make another session with sandbox.initialize; the files of this one are gone",
            )
            .with_may_have_run(true)
    }
}

/// An open session. Operations run one after another in the order of arrival; a few may wait, more
/// are `overloaded`. Dropping the future of an operation (or the [`Execution`]) stops what it runs,
/// with every process that it started, and leaves the session as it is. Dropping the session
/// destroys its container.
///
/// Each operation is for at most its deadline, the time in the queue included. Once the session has
/// ended each is the [`SessionEnd`] as an error.
#[async_trait]
pub trait Session: Send + Sync + fmt::Debug {
    /// Runs commands one after another. Each has its own `exec.timeout`; when the deadline comes
    /// first, the one that runs is ended as if its time was over, and those after it do not run.
    /// What they print is cut at `max_output_bytes` for all of them together.
    ///
    /// # Errors
    /// `invalid_argument` (no command, too many, a NUL byte), `policy_denied` (the image has no
    /// shell), `overloaded`, `timeout` (its turn did not come), the session's end.
    async fn exec(
        &self,
        exec: Exec,
        max_output_bytes: u64,
        deadline: Instant,
    ) -> Result<Vec<CommandResult>>;

    /// Runs code in the workspace, with the files that are there, in a process of its own. Packages
    /// of `job.call.lock` are put into the workspace first.
    ///
    /// # Errors
    /// Nothing has run: `policy_denied` when the image lacks the runtime, `overloaded`, `timeout`,
    /// `dependency_install_failed`, the session's end.
    async fn run(&self, job: Job) -> Result<Execution>;

    /// Writes a file of at most [`FILE_BYTES`](domain::session::FILE_BYTES), and the directories
    /// above it. One that is there is replaced as a whole or not at all.
    ///
    /// # Errors
    /// `invalid_argument` with the path's fault, `limit_exceeded` (size, no space), `overloaded`,
    /// `timeout`, the session's end.
    async fn write(&self, path: &str, content: Vec<u8>, deadline: Instant) -> Result<()>;

    /// Reads a regular file of at most [`FILE_BYTES`](domain::session::FILE_BYTES).
    ///
    /// # Errors
    /// As [`write`](Self::write); `not_found`.
    async fn read(&self, path: &str, deadline: Instant) -> Result<Vec<u8>>;

    /// Lists a directory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    async fn list(&self, path: &str, deadline: Instant) -> Result<Listing>;

    /// Why it has ended; nothing while it lives.
    fn end(&self) -> Option<SessionEnd>;

    /// Waits until it has ended, by itself or by [`stop`](Self::stop).
    async fn ended(&self) -> SessionEnd;

    /// Ends it, also in the middle of an operation, and returns when its container is gone or
    /// somebody sees to that. A second time is fine.
    async fn stop(&self);

    /// Runtimes that the image has.
    fn runtimes(&self) -> &[Runtime];
}
