//! The events of a call as a `Runner` gives them: `Accepted`, what the engine says, the end.

use std::sync::Arc;
use std::time::Duration;

use domain::runner::{EngineKind, RunEvent};
use futures::{Stream, StreamExt, stream};
use sandbox::Execution;

pub(crate) fn events(
    executor: Arc<str>,
    engine: EngineKind,
    queued: Duration,
    execution: Execution,
) -> impl Stream<Item = RunEvent> + Send {
    let accepted = RunEvent::Accepted {
        executor: executor.to_string(),
        engine,
    };
    let rest = execution.map(move |mut event| {
        if let RunEvent::Finished(outcome) = &mut event {
            outcome.usage.queued = queued;
        }
        event
    });
    stream::iter([accepted]).chain(rest)
}
