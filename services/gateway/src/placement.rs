//! Choosing an executor for each call.

mod executor;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use domain::fleet::ExecutorInfo;
use domain::runner::{EngineKind, RunStream};
use domain::tool::{EngineChoice, Runtime};
use domain::{Call, CallContext, Error, ErrorCode, Lockfile, Resolve, Result, Runner, Sessions};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::executor::Executor;
pub use self::sessions::SessionsFound;

/// What an executor serves, over one connection.
#[derive(Clone)]
pub struct Client {
    /// Calls.
    pub runner: Arc<dyn Runner>,
    /// Sandboxes that stay.
    pub sessions: Arc<dyn Sessions>,
}

/// Makes the client of an executor; called once for each executor and not on the call path.
pub type ClientFactory = Box<dyn Fn(&ExecutorInfo) -> Result<Client> + Send + Sync>;

/// For how long a directory that is not heard of any more is taken for complete: as long as it may
/// be silent, and a lease lasts.
const DIRECTORY_HOLDS: Duration = Duration::from_secs(15);

/// A [`Runner`] over several executors: of two picked at random the one with fewer calls under way,
/// among those that have the engine and are neither draining nor failing. What is refused before it
/// was accepted, because the executor is away or full, is tried once more on another.
pub struct Placement {
    executors: ArcSwap<Vec<Arc<Executor>>>,
    client: ClientFactory,
    /// One change of the list at a time.
    changing: Mutex<()>,
    /// When the directory of executors was last read.
    directory_read: Mutex<Option<Instant>>,
    /// Cancelled when executors are known, or the directory says that there are none.
    known: CancellationToken,
}

impl Placement {
    /// A placement over nothing yet.
    #[must_use]
    pub fn new(client: ClientFactory) -> Self {
        Self {
            executors: ArcSwap::default(),
            client,
            changing: Mutex::new(()),
            directory_read: Mutex::new(None),
            known: CancellationToken::new(),
        }
    }

    /// Replaces the list: the static ones and those of the fleet together. Executors are told apart
    /// by address; one that stays keeps its connection and its calls. An empty list of engines
    /// means that they are not known.
    pub fn set_executors(&self, list: &[ExecutorInfo]) {
        let _one_at_a_time = self.changing.lock();
        let old = self.executors.load();
        let mut new: Vec<Arc<Executor>> = Vec::with_capacity(list.len());
        for info in list {
            if new.iter().any(|known| known.address() == info.address) {
                continue;
            }
            if let Some(kept) = old.iter().find(|known| known.address() == info.address) {
                kept.describe(info);
                new.push(Arc::clone(kept));
                continue;
            }
            match (self.client)(info) {
                Ok(client) => new.push(Arc::new(Executor::new(info, client))),
                Err(error) => {
                    tracing::warn!(executor = %info.address, %error, "cannot use this executor");
                }
            }
        }
        if !new.is_empty() {
            self.known.cancel();
        }
        self.executors.store(Arc::new(new));
    }

    /// Waits until executors are known or the directory has been read, but no longer than this: whoever
    /// asks before would be told that there is none.
    pub async fn first_look(&self, within: Duration) {
        if timeout(within, self.known.cancelled()).await.is_err() {
            tracing::warn!("no executor is known yet: calls of tools are refused until one is");
        }
    }

    /// The directory has just been read: who is not in the list is no more.
    pub fn directory_read(&self) {
        *self.directory_read.lock() = Some(Instant::now());
        self.known.cancel();
    }

    fn directory_is_current(&self) -> bool {
        self.directory_read
            .lock()
            .is_some_and(|at| at.elapsed() < DIRECTORY_HOLDS)
    }

    /// How many executors are known, and how many of them take calls now.
    #[must_use]
    pub fn extent(&self) -> (usize, usize) {
        let executors = self.executors.load();
        (
            executors.len(),
            executors.iter().filter(|one| one.takes_calls()).count(),
        )
    }

    /// An executor with this engine, other than those that have just refused.
    fn choose(
        &self,
        engine: Option<EngineKind>,
        refused_by: &[Arc<Executor>],
    ) -> Option<Arc<Executor>> {
        let executors = self.executors.load();
        let refused = |one: &Arc<Executor>| refused_by.iter().any(|by| Arc::ptr_eq(by, one));
        let others = executors.iter().filter(|one| !refused(one));
        let others: Vec<_> = others.filter(|one| !one.is_draining()).collect();
        let able: Vec<_> = others
            .iter()
            .copied()
            .filter(|one| one.can_run(engine))
            .collect();
        // Where no executor has the engine, any of them says so better than "unavailable" would.
        let able = if able.is_empty() { others } else { able };
        let working: Vec<_> = able
            .iter()
            .copied()
            .filter(|one| one.takes_calls())
            .collect();
        // Where all fail, one of them is tried all the same: it may have come back.
        let pool = if working.is_empty() { able } else { working };
        match *pool.as_slice() {
            [] => None,
            [one] => Some(Arc::clone(one)),
            _ => {
                let first = fastrand::usize(..pool.len());
                let second = (first + fastrand::usize(1..pool.len())) % pool.len();
                let [first, second] = [pool[first], pool[second]];
                let fewer = if second.in_flight() < first.in_flight() {
                    second
                } else {
                    first
                };
                Some(Arc::clone(fewer))
            }
        }
    }
}

fn needs(call: &Call) -> Option<EngineKind> {
    let docker = call.engine == EngineChoice::Docker
        || call.runtime == Runtime::Python
        || !call.dependencies.is_empty();
    docker.then_some(EngineKind::Docker)
}

/// The answer when there is none to choose from.
fn no_executor() -> Error {
    Error::new(
        ErrorCode::Unavailable,
        "no executor can be reached now; nothing was done",
    )
    .with_fix("try again in a few seconds")
}

/// Whether another executor may do what one has refused.
fn may_be_done_elsewhere(refusal: &Error) -> bool {
    let elsewhere = matches!(
        refusal.code(),
        ErrorCode::Unavailable | ErrorCode::Overloaded
    );
    elsewhere && !refusal.may_have_run()
}

#[async_trait]
impl Runner for Placement {
    async fn run(&self, context: &CallContext, call: Call) -> Result<RunStream> {
        let started = Instant::now();
        let engine = needs(&call);
        let first = self.choose(engine, &[]).ok_or_else(no_executor)?;
        let refusal = match first.run(context, call.clone()).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        if !may_be_done_elsewhere(&refusal) {
            return Err(refusal);
        }
        match self.choose(engine, std::slice::from_ref(&first)) {
            Some(second) => {
                tracing::debug!(from = first.address(), to = second.address(), %refusal,
                    "trying another executor");
                let mut context = context.clone();
                context.budget = context.budget.saturating_sub(started.elapsed());
                second.run(&context, call).await
            }
            None => Err(refusal),
        }
    }

    async fn resolve(&self, context: &CallContext, request: Resolve) -> Result<Lockfile> {
        let started = Instant::now();
        let docker = Some(EngineKind::Docker);
        let first = self.choose(docker, &[]).ok_or_else(no_executor)?;
        let refusal = match first.resolve(context, request.clone()).await {
            Ok(lock) => return Ok(lock),
            Err(error) => error,
        };
        // Nothing of what is resolved runs, so that it may be done twice.
        let elsewhere = matches!(
            refusal.code(),
            ErrorCode::Unavailable | ErrorCode::Overloaded
        );
        match self.choose(docker, std::slice::from_ref(&first)) {
            Some(second) if elsewhere => {
                let mut context = context.clone();
                context.budget = context.budget.saturating_sub(started.elapsed());
                second.resolve(&context, request).await
            }
            _ => Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests;
