//! The events of a call as a `Runner` gives them: `Accepted`, what the engine says, the end.

use std::sync::Arc;
use std::time::Duration;

use domain::runner::{EngineKind, RunEvent, Usage};
use futures::{Stream, StreamExt, stream};
use sandbox::Execution;
use telemetry::Metrics;

pub(crate) fn events(
    executor: Arc<str>,
    engine: EngineKind,
    queued: Duration,
    metrics: Arc<Metrics>,
    execution: Execution,
) -> impl Stream<Item = RunEvent> + Send {
    let accepted = RunEvent::Accepted {
        executor: executor.to_string(),
        engine,
    };
    let rest = execution.map(move |mut event| {
        if let RunEvent::Finished(outcome) = &mut event {
            outcome.usage.queued = queued;
            record(&metrics, engine, &outcome.usage);
        }
        event
    });
    stream::iter([accepted]).chain(rest)
}

fn record(metrics: &Metrics, engine: EngineKind, usage: &Usage) {
    let counter = if usage.warm {
        &metrics.pool_hits
    } else {
        &metrics.pool_misses
    };
    counter.with_label_values(&[engine.as_str()]).inc();
}
