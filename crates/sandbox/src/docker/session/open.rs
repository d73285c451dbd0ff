//! How a session comes to be: a waiting container, one frame to its agent, one back.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use domain::error::{Error, ErrorCode, Result};
use domain::lockfile::Lockfile;
use domain::runner::EngineKind;
use domain::session::{Network as Asked, VARIABLES};
use domain::tool::Runtime;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use telemetry::Trail;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::actor::{Actor, State};
use super::handle::DockerSession;
use super::line::{Line, Said, Tell};
use super::packages::Packages;
use crate::docker::DockerEngine;
use crate::docker::ahead::Ahead;
use crate::docker::pool::{Checkout, Key};
use crate::docker::profile::{Network, Purpose};
use crate::docker::sandbox::Maker;
use crate::docker::verdict::Limits;
use crate::output::parsed;
use crate::wire::Nonce;
use crate::{OpenSession, Session, Stage, stages};

/// How long an agent may take to say that its session is open.
const OPENS: Duration = Duration::from_secs(5);
/// Longest name of a variable, in bytes.
const NAME_BYTES: usize = 128;
/// Names and values of all variables together, in bytes: the kernel hands them to every process.
const ENV_BYTES: usize = 64 << 10;

/// The operation of opening.
const OPENING: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    nonce: String,
    left_ms: u128,
    memory_bytes: u64,
    env: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<&'a str>,
}

/// What the agent finds in its image.
#[derive(Deserialize)]
struct Found {
    node: bool,
    python: bool,
    shell: bool,
}

/// Whether these can be variables of a process.
///
/// # Errors
/// `invalid_argument` that names the variable; values are never shown.
fn check_env(env: &BTreeMap<String, String>) -> Result<()> {
    if env.len() > VARIABLES {
        return Err(Error::invalid("env", "has too many variables")
            .with_limit(format!("{VARIABLES} variables")));
    }
    let mut sum = 0;
    for (name, value) in env {
        let mut characters = name.chars();
        let first = characters
            .next()
            .is_some_and(|it| it == '_' || it.is_ascii_alphabetic());
        let rest = characters.all(|it| it == '_' || it.is_ascii_alphanumeric());
        if !first || !rest || name.len() > NAME_BYTES {
            let shown: String = name.chars().take(NAME_BYTES).collect();
            return Err(Error::invalid(
                "env",
                format!("`{}` is no name of a variable", shown.escape_debug()),
            )
            .with_limit(format!("[A-Za-z_][A-Za-z0-9_]*, {NAME_BYTES} bytes")));
        }
        if value.contains('\0') {
            return Err(Error::invalid(
                format!("env/{name}"),
                "holds a NUL byte, which no variable of a process can",
            ));
        }
        sum += name.len() + value.len() + 2;
    }
    if sum > ENV_BYTES {
        return Err(Error::invalid("env", "is too large")
            .with_limit(format!("{ENV_BYTES} bytes, names and values together")));
    }
    Ok(())
}

impl DockerEngine {
    /// Opens a session.
    ///
    /// # Errors
    /// As [`Engine::open_session`](crate::Engine::open_session).
    pub(in crate::docker) async fn open(&self, open: OpenSession) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.open_here(open).await?))
    }

    pub(super) async fn open_here(&self, open: OpenSession) -> Result<DockerSession> {
        check_env(&open.env)?;
        self.images.want(&open.image)?;
        let image = self.images.look_up(&open.image).await?;
        let mut keep: Vec<Box<dyn Any + Send>> = Vec::new();
        let mut deps = None;
        if let Some(lock) = &open.lock {
            let lease = self.deps.ensure(&image, lock, open.deadline).await?;
            deps = Some(lease.volume().clone());
            keep.push(Box::new(lease));
        }
        let mut key = Key {
            image,
            runtime: Runtime::Node,
            purpose: Purpose::Session,
            memory_bytes: open.memory_bytes,
            cpu_millis: open.cpu_millis,
            network: match open.network {
                Asked::None => Network::None,
                Asked::Bridge => Network::Bridge,
            },
            deps,
            ahead: Ahead::default(),
        };
        let asked = Instant::now();
        let checkout = self.container(&mut key, &open).await?;
        stages::found(&self.metrics, EngineKind::Docker, checkout.miss);
        let trail = Trail::here();
        let (engine, taken) = (EngineKind::Docker, Instant::now());
        Stage::Take.passed((&self.metrics, &trail), engine, (asked, taken));
        let session = self.begin(open, &key, checkout, keep).await;
        // Its agent gets ready for operations, as that of a call does for the code.
        Stage::Load.traced(&trail, engine, (taken, Instant::now()));
        session
    }

    /// A container whose agent runs on what the image has.
    async fn container(&self, key: &mut Key, open: &OpenSession) -> Result<Checkout<Maker>> {
        let packages = open.lock.as_ref().map(Lockfile::runtime);
        for runtime in [Runtime::Node, Runtime::Python] {
            // The place of packages is that of the language.
            if packages.is_some_and(|of| of != runtime) {
                continue;
            }
            key.runtime = runtime;
            let kind = (key.image.clone(), runtime);
            if self.unfit.lock().contains(&kind) {
                continue;
            }
            let taken = self.pool.take(key, &open.tenant);
            match timeout_at(open.deadline, taken).await {
                Ok(Ok(checkout)) => return Ok(checkout),
                // It has no such program, which is known from now on.
                Ok(Err(_)) if self.unfit.lock().contains(&kind) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let message = "no sandbox was free in time; no session was made";
                    return Err(Error::new(ErrorCode::Timeout, message));
                }
            }
        }
        let message = format!(
            "sessions need `node` or `python3` in their image, and {} has neither",
            open.image
        );
        Err(Error::new(ErrorCode::PolicyDenied, message).with_field("image"))
    }

    async fn begin(
        &self,
        open: OpenSession,
        key: &Key,
        checkout: Checkout<Maker>,
        mut keep: Vec<Box<dyn Any + Send>>,
    ) -> Result<DockerSession> {
        let Checkout { sandbox, lease, .. } = checkout;
        keep.push(Box::new(lease));
        let nonce: Nonce = *uuid::Uuid::new_v4().as_bytes();
        let (guard, input, frames) = sandbox.into_parts();
        let (state, watched) = watch::channel(State::Alive);
        let turn = Arc::new(Semaphore::new(1));
        let stopped = self.closed.child_token();
        let mut actor = Actor {
            line: Line::new(input, frames, nonce),
            guard,
            daemon: self.daemon.clone(),
            limits: Limits {
                memory_bytes: key.memory_bytes,
                pids: key.purpose.bounds().pids,
            },
            life_ends: Instant::now() + open.lifetime,
            stopped: stopped.clone(),
            closed: self.closed.clone(),
            turn: Arc::clone(&turn),
            state,
            slot: open.slot,
            keep,
            operations: OPENING,
            killed: false,
            verdict: None,
        };
        let head = Head {
            nonce: uuid::Uuid::from_bytes(nonce).simple().to_string(),
            left_ms: open.lifetime.as_millis(),
            memory_bytes: key.memory_bytes,
            env: &open.env,
            // Nothing can be reached otherwise.
            ca: self
                .deps
                .extra_ca()
                .filter(|_| key.network == Network::Bridge),
        };
        let head = serde_json::to_vec(&head).map_err(Error::internal)?;
        actor.line.tell(Tell::Open, OPENING, Bytes::from(head));
        let limit = open.deadline.min(Instant::now() + OPENS);
        let found = match actor.hear(OPENING, limit).await {
            Ok(message) if message.said == Said::Done => {
                parsed::<Found>(&message.payload).map_err(|error| did_not_open(&error))?
            }
            Ok(message) => return Err(did_not_open(&format!("{:?}", message.said))),
            Err(cause) => {
                return Err(did_not_open(&format!(
                    "{cause:?} {}",
                    actor.line.last_words()
                )));
            }
        };
        let runtimes = [(Runtime::Node, found.node), (Runtime::Python, found.python)];
        let runtimes = runtimes.into_iter().filter(|(_, there)| *there);
        let (requests, asked) = mpsc::channel(1);
        self.calls.spawn(actor.live(asked));
        Ok(DockerSession {
            requests,
            turn,
            waiting: AtomicUsize::new(0),
            state: watched,
            stopper: stopped.drop_guard(),
            runtimes: runtimes.map(|(runtime, _)| runtime).collect(),
            shell: found.shell,
            image: key.image.clone(),
            deps: self.deps.clone(),
            workspace_bytes: key.purpose.bounds().tmpfs_bytes.min(key.memory_bytes / 2),
            packages: Mutex::new(Packages::mounted(open.lock.as_ref())),
        })
    }
}

fn did_not_open(why: &(impl ToString + ?Sized)) -> Error {
    Error::new(
        ErrorCode::Unavailable,
        "the sandbox did not open; no session was made",
    )
    .with_fix("try again")
    .with_cause(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_names_and_bounds_and_values_stay_hidden() {
        let env = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        check_env(&env("_A1", "x\ny=é")).unwrap();
        for name in ["", "1A", "A-B", "A=B", "A B", "É", &"A".repeat(129)] {
            let error = check_env(&env(name, "a secret")).unwrap_err();
            assert_eq!(error.field(), Some("env"), "{name}");
            assert!(!error.message().contains("secret"));
        }
        assert_eq!(
            check_env(&env("A", "s\0t")).unwrap_err().field(),
            Some("env/A")
        );
        assert!(check_env(&env("A", &"x".repeat(ENV_BYTES))).is_err());
        let many = (0..=VARIABLES).map(|at| (format!("A{at}"), String::new()));
        assert!(check_env(&many.collect()).is_err());
    }
}
