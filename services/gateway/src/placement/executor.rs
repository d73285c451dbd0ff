//! One executor as the placement sees it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use domain::fleet::ExecutorInfo;
use domain::runner::{EngineKind, RunStream};
use domain::{Call, CallContext, ErrorCode, Outcome, Result, RunEvent, Runner};
use futures::Stream;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long an executor that failed is left alone: after the first failure, and at most.
const REST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

#[derive(Debug, Default)]
struct State {
    engines: Vec<EngineKind>,
    draining: bool,
    /// Failures in a row.
    failures: u32,
    resting_until: Option<Instant>,
}

/// An executor, its connection and what was seen of it.
pub(super) struct Executor {
    address: String,
    client: Arc<dyn Runner>,
    in_flight: Arc<AtomicUsize>,
    state: Arc<Mutex<State>>,
}

impl Executor {
    pub(super) fn new(info: &ExecutorInfo, client: Arc<dyn Runner>) -> Self {
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
        let counted = Counted::one_more(&self.in_flight);
        let answer = self.client.run(context, call).await;
        match answer {
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
