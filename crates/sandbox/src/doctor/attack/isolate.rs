//! Attacks from processes of the isolate engine.

use std::sync::Arc;
use std::time::Duration;

use domain::runner::EngineKind;
use serde_json::json;
use telemetry::Metrics;
use tokio::time::timeout;

use super::cases;
use super::leftovers::{children, open_files};
use super::run::Target;
use super::{Attack, Attacks, Held};
use crate::Engine;
use crate::doctor::DoctorSettings;
use crate::doctor::facts::Facts;
use crate::isolate::{IsolateEngine, IsolateSettings};

const MEMORY: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn attack(
    settings: &DoctorSettings,
    facts: &Facts,
    metrics: &Arc<Metrics>,
) -> Attacks {
    match attacked(settings, facts, metrics).await {
        Ok(attacks) => attacks,
        Err(why) => Attacks::none(EngineKind::Isolate, why),
    }
}

async fn attacked(
    settings: &DoctorSettings,
    facts: &Facts,
    metrics: &Arc<Metrics>,
) -> Result<Attacks, String> {
    let before = (children(), open_files());
    let isolate = IsolateSettings {
        pool_size: 2,
        memory_bytes: settings.isolate.memory_bytes.min(MEMORY),
        ..settings.isolate.clone()
    };
    let memory_bytes = isolate.memory_bytes;
    let launched = timeout(
        PATIENCE,
        IsolateEngine::launch(isolate, Arc::clone(metrics)),
    )
    .await;
    let engine = match launched {
        Ok(launched) => Arc::new(launched.map_err(|error| error.to_string())?),
        Err(_) => return Err(format!("the engine did not start within {PATIENCE:?}")),
    };
    let target = Target {
        engine: Arc::clone(&engine) as Arc<dyn Engine>,
        image: String::new(),
        memory_bytes,
        cpu_millis: 1_000,
        args: json!({}),
    };
    let mut attacks = walls(facts);
    let works = target.works().await;
    if works.is_ok() {
        for case in cases::ISOLATE {
            attacks.extend(target.attempt(case).await);
        }
    }
    let tried = "break the engine for the next call";
    attacks.push(match works.and(target.works().await) {
        Ok(()) => Attack::new("afterwards", tried, Held::Yes, ""),
        Err(why) => Attack::new("afterwards", tried, Held::No, why),
    });
    drop(target);
    let stopped = timeout(PATIENCE, engine.shutdown()).await;
    if stopped.is_err() {
        let found = format!("it did not stop within {PATIENCE:?}");
        let tried = "keep the engine from stopping";
        attacks.push(Attack::new("stop", tried, Held::No, found));
    }
    drop(engine);
    attacks.push(left(&before).await);
    Ok(Attacks {
        engine: EngineKind::Isolate.as_str(),
        place: "this machine".to_owned(),
        attacks,
    })
}

/// What the probe tried on each wall.
fn walls(facts: &Facts) -> Vec<Attack> {
    let Some(Ok(walls)) = &facts.walls else {
        return Vec::new();
    };
    let told = walls.iter().map(|wall| {
        let name = format!("wall {}", wall.name);
        let (held, tried, found) = match wall.held {
            true => (Held::Yes, wall.detail.as_str(), ""),
            false => (Held::No, "break it from inside", wall.detail.as_str()),
        };
        Attack::new(&name, tried, held, found)
    });
    told.collect()
}

/// Processes and open files, which go away a moment later than the engine says.
async fn left(before: &(usize, usize)) -> Attack {
    let tried = "leave processes or open files behind";
    let mut now = (children(), open_files());
    for _ in 0..50 {
        if now.0 <= before.0 && now.1 <= before.1 {
            let found = format!("{} processes, {} files as before", now.0, now.1);
            return Attack::new("leftovers", tried, Held::Yes, found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        now = (children(), open_files());
    }
    let found = format!(
        "processes {} to {}, files {} to {}",
        before.0, now.0, before.1, now.1
    );
    Attack::new("leftovers", tried, Held::No, found)
}
