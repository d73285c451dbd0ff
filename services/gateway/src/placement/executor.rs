//! One executor as the placement sees it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use domain::fleet::ExecutorInfo;
use domain::runner::{EngineKind, RunStream};
use domain::{
    Call, CallContext, ErrorCode, Lockfile, Outcome, Resolve, Result, RunEvent, SessionId, Sessions,
};
use futures::Stream;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Client;

/// How long an executor that failed is left alone: after the first failure, and at most.
const REST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

#[derive(Debug, Default)]
struct State {
    /// What it calls itself: by its own word in the directory, or learned from a session's handle.
    name: Option<String>,
    engines: Vec<EngineKind>,
    draining: bool,
    /// Failures in a row.
    failures: u32,
    resting_until: Option<Instant>,
}

/// An executor, its connection and what was seen of it.
pub(super) struct Executor {
    address: String,
    client: Client,
    in_flight: Arc<AtomicUsize>,
    state: Arc<Mutex<State>>,
}

impl Executor {
    pub(super) fn new(info: &ExecutorInfo, client: Client) -> Self {
        let executor = Self {
            address: info.address.clone(),
            client,
            in_flight: Arc::default(),
            state: Arc::default(),
        };
        executor.describe(info);
        executor
    }

    /// Takes over what the executor says of itself.
    pub(super) fn describe(&self, info: &ExecutorInfo) {
        let mut state = self.state.lock();
        state.engines.clone_from(&info.engines);
        state.draining = info.draining;
        // One that only configuration knows has the setting for an id, and no engines.
        if !info.engines.is_empty() {
            if state.name.as_ref().is_some_and(|name| *name != info.id) {
                // Started anew: what its former life did not do says nothing.
                state.works();
            }
            state.name = Some(info.id.clone());
        }
    }

    /// Whether it is the executor of this name; `None` while its name is not known for certain.
    pub(super) fn is_named(&self, name: &str) -> Option<bool> {
        let state = self.state.lock();
        let same = state.name.as_deref() == Some(name);
        // A name that was only learned is that of a life that may be over.
        (same || !state.engines.is_empty()).then_some(same)
    }

    /// A session of it has this name in its handle.
    pub(super) fn learn_name(&self, name: String) {
        self.state.lock().name = Some(name);
    }

    /// Its sessions.
    pub(super) fn sessions(&self) -> &dyn Sessions {
        &*self.client.sessions
    }

    /// Does something that is no call here, counted as one while it lasts.
    pub(super) async fn doing<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let _counted = Counted::one_more(&self.in_flight);
        let done = work.await;
        match &done {
            Err(error) if error.code() == ErrorCode::Unavailable => self.state.lock().fails(),
            _ => self.state.lock().works(),
        }
        done
    }

    /// Finds out what dependencies come to, here.
    pub(super) async fn resolve(
        &self,
        context: &CallContext,
        request: Resolve,
    ) -> Result<Lockfile> {
        self.doing(self.client.runner.resolve(context, request))
            .await
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state.lock().draining
    }

    pub(super) fn can_run(&self, engine: Option<EngineKind>) -> bool {
        let state = self.state.lock();
        state.engines.is_empty() || engine.is_none_or(|engine| state.engines.contains(&engine))
    }

    /// Neither draining nor resting after failures.
    pub(super) fn takes_calls(&self) -> bool {
        let state = self.state.lock();
        !state.draining
            && state
                .resting_until
                .is_none_or(|until| until <= Instant::now())
    }

    /// Runs a call here.
    pub(super) async fn run(&self, context: &CallContext, call: Call) -> Result<RunStream> {
        self.running(self.client.runner.run(context, call)).await
    }

    /// Runs a call in a session here.
    pub(super) async fn run_in(
        &self,
        context: &CallContext,
        id: &SessionId,
        call: Call,
    ) -> Result<RunStream> {
        self.running(self.client.sessions.run(context, id, call))
            .await
    }

    async fn running(&self, begun: impl Future<Output = Result<RunStream>>) -> Result<RunStream> {
        let counted = Counted::one_more(&self.in_flight);
        match begun.await {
            Ok(events) => {
                self.state.lock().works();
                let state = Arc::clone(&self.state);
                Ok(Box::pin(Watched {
                    events,
                    state,
                    _counted: counted,
                }))
            }
            Err(error) => {
                // Only being away counts as failing: a full executor is fine.
                if error.code() == ErrorCode::Unavailable {
                    self.state.lock().fails();
                }
                Err(error)
            }
        }
    }
}

impl State {
    fn works(&mut self) {
        self.failures = 0;
        self.resting_until = None;
    }

    fn fails(&mut self) {
        // Calls that were under way together have seen one failure, not many.
        if self
            .resting_until
            .is_some_and(|until| until > Instant::now())
        {
            return;
        }
        let rest = (REST.0 * 2u32.saturating_pow(self.failures.min(10))).min(REST.1);
        self.failures = self.failures.saturating_add(1);
        self.resting_until = Some(Instant::now() + rest);
    }
}

/// A call under way.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_more(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The events of a call, which is under way until they end or are dropped.
struct Watched {
    events: RunStream,
    state: Arc<Mutex<State>>,
    _counted: Counted,
}

impl Stream for Watched {
    type Item = RunEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<RunEvent>> {
        let event = self.events.as_mut().poll_next(context);
        let lost = match &event {
            Poll::Ready(Some(RunEvent::Finished(Outcome {
                result: Err(failure),
                ..
            }))) => failure.code == ErrorCode::Unavailable,
            _ => false,
        };
        if lost {
            self.state.lock().fails();
        }
        event
    }
}
