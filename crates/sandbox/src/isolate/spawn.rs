//! Starting children. One thread does it for the engine's whole life, because a child dies with
//! the thread that started it: that is how nothing stays when this process is killed.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::child::{CHILD_ARGUMENT, Wall};
use super::frames::Frames;
use crate::wire::{self, FromChild, NO_CALL, Ready, Spent, ToChild};

/// Starts that may wait for the thread.
const QUEUE: usize = 256;

/// How long a child may take until its walls are up.
const START_TIME: Duration = Duration::from_secs(10);

/// How long a process whose stream has ended may take to end too.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the end of a killed process may take to be seen.
const REAP_TIME: Duration = Duration::from_secs(5);

/// Most of the standard error of a child that is read, in bytes.
const MAX_STDERR: u64 = 8_192;

/// Largest report of a child that has no call yet, in bytes.
const MAX_REPORT: usize = 65_536;

type Spawned = io::Result<(Child, UnixStream)>;

struct Request {
    arguments: Vec<String>,
    /// Whether it is to be alone in a PID namespace, if there may be one.
    alone: bool,
    reply: oneshot::Sender<Spawned>,
}

/// Starts children of one program.
#[derive(Debug, Clone)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
    memory_bytes: u64,
    /// The frame that each child reads first.
    prelude: Arc<[u8]>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.arguments.fmt(out)
    }
}

impl Spawner {
    /// Starts the thread. It ends when the last clone of this value is dropped.
    pub(super) async fn new(program: PathBuf, memory_bytes: u64) -> io::Result<Self> {
        let compiled = tokio::task::spawn_blocking(super::child::compile_prelude).await;
        let bytecode = compiled
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        let prelude = wire::encode_to_child(ToChild::Prelude, &[&bytecode])
            .ok_or_else(|| io::Error::other("the prelude is too large"))?
            .into();
        let (requests, mut queue) = mpsc::channel::<Request>(QUEUE);
        let runtime = Handle::current();
        let work = move || {
            let _entered = runtime.enter();
            let nursery = Nursery::new();
            while let Some(request) = queue.blocking_recv() {
                let start = || spawn(&program, &request.arguments);
                let spawned = match &nursery {
                    Some(nursery) if request.alone => nursery.alone(start),
                    _ => start(),
                };
                // Whoever asked may have gone; the child dies when it is dropped.
                drop(request.reply.send(spawned));
            }
        };
        std::thread::Builder::new()
            .name("isolate-spawner".to_owned())
            .spawn(work)?;
        Ok(Self {
            requests,
            memory_bytes,
            prelude,
        })
    }

    async fn start(&self, mode: &str, without: Option<Wall>) -> Spawned {
        let mut arguments = vec![
            CHILD_ARGUMENT.to_owned(),
            mode.to_owned(),
            std::process::id().to_string(),
            self.memory_bytes.to_string(),
        ];
        arguments.extend(without.map(|wall| wall.name().to_owned()));
        let alone = without != Some(Wall::Processes);
        let (reply, spawned) = oneshot::channel();
        let gone = |_| io::Error::other("the thread that starts sandboxes has ended");
        self.requests
            .send(Request {
                arguments,
                alone,
                reply,
            })
            .await
            .map_err(|_| gone(()))?;
        spawned.await.map_err(|_| gone(()))?
    }

    /// Starts a child and waits until its walls are up.
    pub(super) async fn sandbox(&self) -> io::Result<Sandbox> {
        let (child, stream) = self.start(super::child::CALL_MODE, None).await?;
        let mut sandbox = Sandbox::new(child, stream);
        let begin = async {
            // A child that ends before it has read this is found by the silence that follows.
            let sent = sandbox.write(&self.prelude).await;
            (sent, sandbox.frames.next(&NO_CALL, MAX_REPORT).await)
        };
        let Ok((sent, first)) = timeout(START_TIME, begin).await else {
            return Err(io::Error::other("the sandbox took too long to start"));
        };
        match first {
            Ok(Some((FromChild::Ready, report))) => {
                let ready: Ready = serde_json::from_slice(&report).map_err(io::Error::other)?;
                sandbox.missing = ready
                    .missing
                    .iter()
                    .filter_map(|(wall, _)| Wall::parse(wall))
                    .collect();
                Ok(sandbox)
            }
            Ok(Some(_)) => Err(io::Error::other("the sandbox spoke before it was ready")),
            // What it had not read is told as a reset of the stream.
            Ok(None) => Err(sandbox.ended_early(sent.err()).await),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(sandbox.ended_early(sent.err()).await)
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a child of the probe, without one of the walls if asked.
    pub(super) async fn probe(&self, without: Option<Wall>) -> io::Result<Sandbox> {
        let (child, stream) = self.start(super::child::PROBE_MODE, without).await?;
        Ok(Sandbox::new(child, stream))
    }
}

/// Puts each child of this thread into a PID namespace of its own, where this process has the right
/// to make one. A process never moves itself into one, only those that it starts.
struct Nursery {
    own: OwnedFd,
}

impl Nursery {
    /// `None` where it does not work, which the probe tells.
    fn new() -> Option<Self> {
        let own = std::fs::File::open("/proc/thread-self/ns/pid").ok()?.into();
        let nursery = Self { own };
        unshare(CloneFlags::CLONE_NEWPID).ok()?;
        nursery.back().ok()?;
        Some(nursery)
    }

    fn back(&self) -> io::Result<()> {
        setns(&self.own, CloneFlags::CLONE_NEWPID).map_err(io::Error::from)
    }

    fn alone(&self, start: impl FnOnce() -> Spawned) -> Spawned {
        // Nothing may be started into the namespace of the child before, which dies with that one.
        self.back()?;
        // The kernel has a limit for them: then this child goes without, and says so.
        if let Err(error) = unshare(CloneFlags::CLONE_NEWPID) {
            tracing::warn!(%error, "a sandbox shares the executor's PID namespace");
        }
        let started = start();
        self.back()?;
        started
    }
}

fn spawn(program: &PathBuf, arguments: &[String]) -> Spawned {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    let output: OwnedFd = theirs.try_clone()?.into();
    let input: OwnedFd = theirs.into();
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    ours.set_nonblocking(true)?;
    Ok((child, UnixStream::from_std(ours)?))
}

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Sandbox {
    child: Child,
    stderr: Option<ChildStderr>,
    output: OwnedWriteHalf,
    pub(super) frames: Frames<OwnedReadHalf>,
    /// Walls that it could not raise.
    pub(super) missing: Vec<Wall>,
}

/// How a child ended, as far as it can be seen.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: Option<ExitStatus>,
    pub(super) stderr: String,
    /// What it used, as far as the kernel still knew.
    pub(super) spent: Option<Spent>,
    /// Whether it went on without its stream and was killed for that.
    pub(super) went_on: bool,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.status {
            Some(status) => write!(out, "{status}")?,
            None => out.write_str("no exit status")?,
        }
        if self.stderr.is_empty() {
            Ok(())
        } else {
            write!(out, ": {}", self.stderr.trim())
        }
    }
}

impl Sandbox {
    /// Why a child ended before it was ready.
    async fn ended_early(&mut self, unsent: Option<io::Error>) -> io::Error {
        let ended = self.ended().await;
        let unsent = unsent.map(|error| format!(" ({error})"));
        let unsent = unsent.unwrap_or_default();
        io::Error::other(format!(
            "the sandbox ended while it started{unsent}: {ended}"
        ))
    }

    fn new(mut child: Child, stream: UnixStream) -> Self {
        let stderr = child.stderr.take();
        let (input, output) = stream.into_split();
        Self {
            child,
            stderr,
            output,
            frames: Frames::new(input),
            missing: Vec::new(),
        }
    }

    /// Whether the process still runs.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Memory that it shares with nobody, in bytes.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        super::usage::own_memory(self.id())
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    pub(super) async fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.output.write_all(frame).await
    }

    /// Waits for the end of a process whose stream has ended, and reads its last words. One that
    /// goes on without a stream is killed first.
    pub(super) async fn ended(&mut self) -> Ended {
        let mut words = Vec::new();
        if let Some(stderr) = self.stderr.take() {
            // Its end is the end of the process too. What could not be read in time is not worth
            // waiting for.
            drop(timeout(LAST_WORDS, stderr.take(MAX_STDERR).read_to_end(&mut words)).await);
        }
        // Of a process that has ended the kernel knows this until it is reaped, which comes later.
        let went_on = timeout(LAST_WORDS, super::usage::ended(self.id()))
            .await
            .is_err();
        let spent = super::usage::of_process(self.id());
        if went_on && let Err(error) = self.child.start_kill() {
            tracing::warn!(%error, "a sandbox could not be killed");
        }
        let status = timeout(REAP_TIME, self.child.wait()).await;
        Ended {
            status: status.ok().and_then(Result::ok),
            stderr: String::from_utf8_lossy(&words).into_owned(),
            spent,
            went_on,
        }
    }

    /// Kills and reaps it.
    pub(super) async fn destroy(mut self) {
        if let Err(error) = timeout(REAP_TIME, self.child.kill())
            .await
            .unwrap_or(Ok(()))
        {
            tracing::warn!(%error, "a sandbox could not be killed");
        }
    }
}
