//! How long each stage of a call takes.

use domain::runner::EngineKind;
use telemetry::{Metrics, Trail};
use tokio::time::Instant;

use crate::Stage;

/// Stages of a call in its sandbox: writing, loading, running, reading, and the end.
const MOST: usize = 5;

/// Notes when each stage began; they are counted at the end, when nobody waits any more.
#[derive(Debug)]
pub(super) struct Watch {
    begun: [Option<(Stage, Instant)>; MOST],
    entered: usize,
}

impl Watch {
    /// The sandbox is there: the call is being written.
    pub(super) fn new() -> Self {
        let mut watch = Self {
            begun: [None; MOST],
            entered: 0,
        };
        watch.enter(Stage::Write);
        watch
    }

    /// A stage begins, and so the one before has ended.
    pub(super) fn enter(&mut self, stage: Stage) {
        if let Some(place) = self.begun.get_mut(self.entered) {
            *place = Some((stage, Instant::now()));
            self.entered += 1;
        }
    }

    /// The last stage has ended.
    pub(super) fn end(self, metrics: &Metrics, trail: &Trail) {
        let now = Instant::now();
        let begun = || self.begun.into_iter().flatten();
        let ends = begun().skip(1).map(|(_, at)| at).chain([now]);
        for ((stage, at), end) in begun().zip(ends) {
            stage.passed((metrics, trail), EngineKind::Isolate, (at, end));
        }
    }
}
