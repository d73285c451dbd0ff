//! Packages of a session: those that are mounted from the start, and those that come later, which are
//! read out of the store of installed packages and unpacked by the agent. A volume cannot join a
//! container that runs.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use domain::error::{Error, Result};
use domain::lockfile::Lockfile;
use domain::runner::Call;
use domain::tool::Runtime;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::actor::{Actor, Body, Done, Ending, Reply, Request, answer, unanswered};
use super::end::Cause;
use super::handle::DockerSession;
use super::line::{Message, Tell};
use crate::Stage;
use crate::output::broken;

/// The sets of packages that a session has, by the digests of their lockfiles.
#[derive(Debug, Default)]
pub(super) struct Packages {
    /// What is mounted.
    mounted: Option<(Runtime, String)>,
    /// What was unpacked last for each language.
    unpacked: HashMap<Runtime, String>,
}

/// A set on its way.
pub(super) struct Coming {
    lock: Lockfile,
    tar: BoxStream<'static, io::Result<Bytes>>,
}

impl DockerSession {
    /// The packages that a call needs and the session does not have.
    ///
    /// # Errors
    /// Those of resolving and installing.
    pub(super) async fn packages(&self, call: &Call, until: Instant) -> Result<Option<Coming>> {
        if call.dependencies.is_empty() {
            return Ok(None);
        }
        let lock = match &call.lock {
            Some(lock) if lock.runtime() == call.runtime => lock.clone(),
            Some(_) => return Err(Error::invalid("lockfile", "is of another language")),
            None => {
                let wanted = &call.dependencies;
                self.deps
                    .resolve(&self.image, call.runtime, wanted, until)
                    .await?
            }
        };
        if self.packages.lock().has(&lock) {
            return Ok(None);
        }
        let pack = self.deps.pack(&self.image, &lock, until).await?;
        let tar = pack.boxed();
        Ok(Some(Coming { lock, tar }))
    }

    /// Has them unpacked.
    ///
    /// # Errors
    /// `limit_exceeded` when there is no room, `dependency_install_failed`, the session's end.
    pub(super) async fn unpack(
        &self,
        coming: Coming,
        permit: &Arc<OwnedSemaphorePermit>,
        until: Instant,
    ) -> Result<()> {
        let Coming { lock, tar } = coming;
        let runtime = lock.runtime();
        self.packages.lock().unpacked.remove(&runtime);
        let most = self.workspace_bytes;
        let request = |reply| Request::Unpack {
            target: folder(runtime),
            most,
            tar,
            until,
            reply,
        };
        self.ask(permit, Stage::Write, request).await?;
        let digest = lock.digest().to_owned();
        self.packages.lock().unpacked.insert(runtime, digest);
        Ok(())
    }
}

impl Packages {
    pub(super) fn mounted(lock: Option<&Lockfile>) -> Self {
        Self {
            mounted: lock.map(|lock| (lock.runtime(), lock.digest().to_owned())),
            unpacked: HashMap::new(),
        }
    }

    fn has(&self, lock: &Lockfile) -> bool {
        let runtime = lock.runtime();
        match self.unpacked.get(&runtime) {
            // What is unpacked hides what is mounted.
            Some(digest) => digest == lock.digest(),
            None => {
                let mounted = self.mounted.as_ref();
                mounted.is_some_and(|(of, digest)| *of == runtime && digest == lock.digest())
            }
        }
    }
}

/// Where they go, in the workspace.
fn folder(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Node => "node_modules",
        Runtime::Python => ".site-packages",
    }
}

#[derive(Serialize)]
struct Head {
    target: &'static str,
    most: u64,
}

/// Has the agent unpack a tar into a folder of the workspace.
///
/// # Errors
/// The session ends.
pub(super) async fn serve(
    actor: &mut Actor,
    target: &'static str,
    most: u64,
    tar: BoxStream<'static, io::Result<Bytes>>,
    until: Instant,
    mut reply: Reply<()>,
) -> Result<(), Cause> {
    let operation = actor.begin(Tell::Unpack, &Head { target, most });
    let nothing = |_: Message| Err(broken("a message out of turn"));
    let late = (until, true);
    let ending = actor
        .operate(operation, Body::Stream(tar), late, &mut reply, nothing)
        .await?;
    let unpacked = match ending {
        Ending::Done(Done { error: None, .. }) => Ok(()),
        ending => Err(unanswered(ending)),
    };
    answer(reply, unpacked);
    Ok(())
}
