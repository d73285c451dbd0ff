//! What the owner of a session holds.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::error::{Error, ErrorCode, Result};
use domain::runner::{EngineKind, Usage};
use domain::session::{CommandResult, Exec, Listing};
use domain::tool::Runtime;
use parking_lot::Mutex;
use telemetry::Trail;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;

use super::actor::{Asked, Reply, Request, State};
use super::packages::Packages;
use super::run::Code;
use super::{commands, files};
use crate::docker::deps::Deps;
use crate::docker::guest;
use crate::docker::images::ImageId;
use crate::{Execution, Job, Session, SessionEnd, Stage, execution};

/// Operations of a session that wait for their turn.
const WAITING: usize = 16;

/// When to come back to a session that has too many waiting.
const RETRY: Duration = Duration::from_secs(1);

/// A session. Dropping it stops it.
pub(super) struct DockerSession {
    pub(super) requests: mpsc::Sender<Asked>,
    /// One permit: whose turn it is.
    pub(super) turn: Arc<Semaphore>,
    pub(super) waiting: AtomicUsize,
    pub(super) state: watch::Receiver<State>,
    pub(super) stopper: DropGuard,
    pub(super) runtimes: Vec<Runtime>,
    pub(super) shell: bool,
    pub(super) image: ImageId,
    pub(super) deps: Deps,
    /// Largest content of the workspace, in bytes.
    pub(super) workspace_bytes: u64,
    /// The packages that are there, by the digest of their lockfile.
    pub(super) packages: Mutex<Packages>,
}

/// A place among those that wait.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DockerSession {
    fn place(&self) -> Result<Place<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.waiting);
        if before < WAITING {
            return Ok(place);
        }
        let message = "too many operations wait for this session";
        Err(Error::new(ErrorCode::Overloaded, message)
            .with_limit(format!("{WAITING} that wait"))
            .with_retry_after(RETRY))
    }

    pub(super) async fn turn(&self, until: Instant) -> Result<Arc<OwnedSemaphorePermit>> {
        if let Some(end) = self.end() {
            return Err(end.error());
        }
        let place = self.place()?;
        let asked = Instant::now();
        let turn = Arc::clone(&self.turn).acquire_owned();
        let permit = timeout_at(until, turn).await;
        drop(place);
        passed(Stage::Queue, &Trail::here(), asked);
        match permit {
            Ok(Ok(permit)) => Ok(Arc::new(permit)),
            Ok(Err(_)) => Err(self.ended().await.error()),
            Err(_) => {
                let message = "the session was busy with other operations; nothing has run";
                Err(Error::new(ErrorCode::Timeout, message))
            }
        }
    }

    /// Has the agent do something, as this stage of the operation.
    pub(super) async fn ask<T>(
        &self,
        permit: &Arc<OwnedSemaphorePermit>,
        stage: Stage,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T> {
        let asked = Instant::now();
        let (reply, answer) = oneshot::channel();
        self.hand_over(permit, request(reply)).await?;
        let answer = answer.await;
        passed(stage, &Trail::here(), asked);
        match answer {
            Ok(answer) => answer,
            Err(_) => Err(self.ended().await.error()),
        }
    }

    async fn hand_over(&self, permit: &Arc<OwnedSemaphorePermit>, request: Request) -> Result<()> {
        let permit = Arc::clone(permit);
        // There is room for whose turn it is.
        match self.requests.try_send(Asked { request, permit }) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.ended().await.error()),
        }
    }
}

#[async_trait]
impl Session for DockerSession {
    async fn exec(&self, exec: Exec, most: u64, until: Instant) -> Result<Vec<CommandResult>> {
        commands::check(&exec)?;
        if !self.shell {
            let message = "the image of this session has no shell (`sh`)";
            return Err(Error::new(ErrorCode::PolicyDenied, message)
                .with_fix("use an image with a shell, or sandbox.run_js"));
        }
        let permit = self.turn(until).await?;
        let request = |reply| Request::Exec {
            exec,
            most,
            until,
            reply,
        };
        self.ask(&permit, Stage::Run, request).await
    }

    async fn run(&self, mut job: Job) -> Result<Execution> {
        guest::check(&job.call)?;
        let runtime = job.call.runtime;
        if !self.runtimes.contains(&runtime) {
            let program = guest::program(runtime);
            let message = format!("the image of this session has no `{program}`");
            return Err(Error::new(ErrorCode::PolicyDenied, message)
                .with_fix(format!("open a session with an image that has `{program}`")));
        }
        // Before its turn: an install takes its time, and others need not wait for that.
        let packages = self.packages(&job.call, job.deadline).await?;
        let asked = Instant::now();
        let permit = self.turn(job.deadline).await?;
        if let Some(packages) = packages {
            self.unpack(packages, &permit, job.deadline).await?;
        }
        job.start_clock();
        let nonce = *uuid::Uuid::new_v4().as_bytes();
        let frame = guest::encode(&job, &nonce, false)?;
        let (execution, sink) = execution();
        let code = Code {
            job,
            frame,
            nonce,
            usage: Usage {
                queued: asked.elapsed(),
                warm: true,
                ..Usage::default()
            },
            sink,
            trail: Trail::here(),
        };
        self.hand_over(&permit, Request::Run(Box::new(code)))
            .await?;
        Ok(execution)
    }

    async fn write(&self, path: &str, content: Vec<u8>, until: Instant) -> Result<()> {
        let parts = files::parts(path)?;
        files::check_size(content.len())?;
        let permit = self.turn(until).await?;
        let request = |reply| Request::Write {
            parts,
            content,
            until,
            reply,
        };
        self.ask(&permit, Stage::Write, request).await
    }

    async fn read(&self, path: &str, until: Instant) -> Result<Vec<u8>> {
        let parts = files::parts(path)?;
        let permit = self.turn(until).await?;
        let request = |reply| Request::Read {
            parts,
            until,
            reply,
        };
        self.ask(&permit, Stage::Read, request).await
    }

    async fn list(&self, path: &str, until: Instant) -> Result<Listing> {
        let parts = files::parts(path)?;
        let permit = self.turn(until).await?;
        let request = |reply| Request::List {
            parts,
            until,
            reply,
        };
        self.ask(&permit, Stage::Read, request).await
    }

    fn end(&self) -> Option<SessionEnd> {
        match &*self.state.borrow() {
            State::Alive => None,
            State::Ended(end) | State::Gone(end) => Some(end.clone()),
        }
    }

    async fn ended(&self) -> SessionEnd {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| !matches!(state, State::Alive)).await;
        match ended.as_deref() {
            Ok(State::Ended(end) | State::Gone(end)) => end.clone(),
            Ok(State::Alive) | Err(_) => lost(),
        }
    }

    async fn stop(&self) {
        self.stopper.token().cancel();
        let mut state = self.state.clone();
        // An error is the end of the task, and then there is nothing left to wait for.
        drop(
            state
                .wait_for(|state| matches!(state, State::Gone(_)))
                .await,
        );
    }

    fn runtimes(&self) -> &[Runtime] {
        &self.runtimes
    }
}

/// Ends a stage of an operation.
pub(super) fn passed(stage: Stage, trail: &Trail, from: Instant) {
    stage.traced(trail, EngineKind::Docker, (from, Instant::now()));
}

/// The task is gone without a word: the engine was dropped.
fn lost() -> SessionEnd {
    SessionEnd {
        code: ErrorCode::Unavailable,
        message: "the executor of the session shut down; the session is gone".to_owned(),
    }
}

impl fmt::Debug for DockerSession {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DockerSession")
            .field("state", &*self.state.borrow())
            .field("runtimes", &self.runtimes)
            .finish_non_exhaustive()
    }
}
