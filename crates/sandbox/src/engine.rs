//! What every engine offers.

use std::any::Any;
use std::time::Duration;

use async_trait::async_trait;
use domain::error::{Error, ErrorCode, Result};
use domain::id::{RequestId, TenantId};
use domain::lockfile::Lockfile;
use domain::runner::{Call, EngineKind, Resolve};
use tokio::time::Instant;

use crate::{Execution, OpenSession, Session};

/// What the caller reserved for a call; given back when it is dropped.
pub type Slot = Box<dyn Any + Send + Sync>;

/// One call as an engine takes it, with limits that are already clamped.
#[derive(Debug)]
pub struct Job {
    /// What runs.
    pub call: Call,
    /// Whose call it is: tenants are served in turn.
    pub tenant: TenantId,
    /// `ctx.requestId`.
    pub request_id: RequestId,
    /// When nobody waits for the end any more. The time of the code itself, `call.limits.timeout`,
    /// begins when a sandbox has it.
    pub deadline: Instant,
    /// Dropped once the sandbox is gone, which is later than the outcome.
    pub slot: Option<Slot>,
}

impl Job {
    /// A sandbox was found: from now on the code may take as long as its limit says, and never longer
    /// than somebody waits.
    pub(crate) fn start_clock(&mut self) {
        let end = Instant::now() + self.call.limits.timeout;
        self.deadline = self.deadline.min(end);
    }

    /// How much time is left, zero when there is none.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// One wall of a sandbox, as the start-up probe found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WallStatus {
    /// Its name, for example `seccomp`.
    pub name: &'static str,
    /// Whether every attempt to break it failed.
    pub held: bool,
    /// Whether the engine refuses to run without it.
    pub required: bool,
    /// What was tried, or why it is missing.
    pub detail: String,
}

/// Sandboxes that wait, and calls that wait for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Calls that wait for a sandbox now.
    pub waiting: usize,
    /// Memory that the waiting sandboxes use, in bytes, as far as it was measured.
    pub memory_bytes: u64,
    /// What there is of each kind, in the order of their names; empty for an engine whose sandboxes
    /// are all of one kind.
    pub kinds: Vec<KindStatus>,
}

/// Waiting sandboxes of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindStatus {
    /// What they are for, for example `node call sha256:0123456789ab 512m 1000`.
    pub name: String,
    /// How many should wait.
    pub size: usize,
    /// How many wait.
    pub idle: usize,
    /// How many are being made.
    pub making: usize,
    /// Calls that wait for one.
    pub waiting: usize,
    /// Memory of one that waits, in bytes, when it was measured.
    pub memory_each: Option<u64>,
}

/// An engine's state, for health and start-up lines.
#[derive(Debug, Clone)]
pub struct EngineStatus {
    /// Which engine.
    pub kind: EngineKind,
    /// How many sandboxes it keeps ready.
    pub pool_size: usize,
    /// How many are ready now.
    pub pool_idle: usize,
    /// What waits, in more detail.
    pub pool: PoolStatus,
    /// Sandboxes that run a call now.
    pub running: usize,
    /// The walls; empty for an engine that does not probe.
    pub walls: Vec<WallStatus>,
}

/// Runs code that nobody trusts.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Which engine this is.
    fn kind(&self) -> EngineKind;

    /// Whether it can run such a call at all.
    ///
    /// # Errors
    /// `policy_denied` with a sentence that names what the tool needs and this engine lacks.
    fn supports(&self, call: &Call) -> Result<()>;

    /// Takes a sandbox, hands the job in and returns while the code runs.
    ///
    /// # Errors
    /// Nothing has run: `policy_denied` as [`Engine::supports`], `unavailable` when no sandbox can
    /// be made, `timeout` when none was ready before the deadline.
    async fn start(&self, job: Job) -> Result<Execution>;

    /// Opens a sandbox that stays.
    ///
    /// # Errors
    /// `policy_denied` when this engine has none, or not in this image; `unavailable`, `timeout`,
    /// `invalid_argument`, `dependency_install_failed`.
    async fn open_session(&self, _open: OpenSession) -> Result<Box<dyn Session>> {
        let message = "sandbox sessions need the Docker engine, and this executor runs another";
        Err(Error::new(ErrorCode::PolicyDenied, message))
    }

    /// Finds out which versions of which packages dependencies come to. Nothing of them runs; asked
    /// again for the same, it may answer from memory.
    ///
    /// # Errors
    /// `policy_denied` when this engine has no containers, or for a blocked package;
    /// `dependency_install_failed`, `unavailable`, `timeout`.
    async fn resolve(&self, _request: Resolve, _deadline: Instant) -> Result<Lockfile> {
        let message = "packages need the Docker engine, and this executor runs another";
        Err(Error::new(ErrorCode::PolicyDenied, message))
    }

    /// Its state now. Cheap; called for every health check.
    fn status(&self) -> EngineStatus;

    /// Destroys every waiting sandbox, and every running one: to be called after the drain.
    async fn shutdown(&self);
}
