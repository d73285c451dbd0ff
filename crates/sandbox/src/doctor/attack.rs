//! Attacks on this very host: hostile code in real sandboxes of the configured engines, and a look
//! afterwards whether anything is left.

mod canary;
mod cases;
mod docker;
mod isolate;
mod leftovers;
mod run;

use std::sync::Arc;

use domain::runner::EngineKind;
use serde::{Deserialize, Serialize};
use telemetry::Metrics;

use super::DoctorSettings;
use super::facts::Facts;

/// What came of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Held {
    /// It was stopped.
    #[serde(rename = "held")]
    Yes,
    /// It got through.
    #[serde(rename = "broken")]
    No,
    /// It could not be tried, so nothing is known.
    Untried,
}

impl Held {
    /// As the report writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Held::Yes => "held",
            Held::No => "BROKEN",
            Held::Untried => "untried",
        }
    }
}

/// One attack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attack {
    /// Its name.
    pub name: String,
    /// What was tried.
    pub tried: String,
    /// What came of it.
    pub held: Held,
    /// What was seen.
    pub found: String,
}

impl Attack {
    fn new(name: &str, tried: &str, held: Held, found: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            tried: tried.to_owned(),
            held,
            found: found.into(),
        }
    }
}

/// All attacks on one engine.
#[derive(Debug, Clone)]
pub struct Attacks {
    /// The engine.
    pub engine: &'static str,
    /// In what: an image, or this machine.
    pub place: String,
    /// Each attack.
    pub attacks: Vec<Attack>,
}

impl Attacks {
    /// How many held, of how many.
    #[must_use]
    pub fn score(&self) -> (usize, usize) {
        let held = self.attacks.iter().filter(|it| it.held == Held::Yes);
        (held.count(), self.attacks.len())
    }

    /// An engine that cannot be attacked.
    fn none(engine: EngineKind, why: String) -> Self {
        let tried = "start the engine";
        Self {
            engine: engine.as_str(),
            place: "not started".to_owned(),
            attacks: vec![Attack::new("start", tried, Held::Untried, why)],
        }
    }
}

/// What the code of an attack says of itself.
#[derive(Debug, Deserialize)]
struct Said {
    name: String,
    tried: String,
    /// Nothing when it could not be tried.
    held: Option<bool>,
    found: String,
}

impl From<Said> for Attack {
    fn from(said: Said) -> Self {
        let held = match said.held {
            Some(true) => Held::Yes,
            Some(false) => Held::No,
            None => Held::Untried,
        };
        Attack::new(&said.name, &said.tried, held, said.found)
    }
}

/// Attacks every engine that the configuration can come to, one after the other.
pub(super) async fn run(
    settings: &DoctorSettings,
    facts: &Facts,
    metrics: &Arc<Metrics>,
) -> Vec<Attacks> {
    let mut all = Vec::new();
    let must = settings.engine == Some(EngineKind::Docker);
    if facts.docker().is_some() || must {
        all.push(docker::attack(settings, facts, metrics).await);
    }
    if settings.wants_isolate() {
        all.push(isolate::attack(settings, facts, metrics).await);
    }
    all
}
