//! The declared tools of a process that runs: at its start, and when it is asked to look again.

use std::convert::Infallible;
use std::time::Duration;

use bootstrap::config::Declared;
use bootstrap::{App, CheckReport, OnFailure, Reload, StartError};
use domain::{ErrorCode, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Diff;
use crate::registry::Registry;

/// Pause before what the store did not take is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// What reloads are counted under.
const WHAT: &str = "declared_tools";

/// Applies what is declared, and again for every SIGHUP.
///
/// # Errors
/// What is declared cannot be applied.
pub async fn follow(registry: &Registry, declared: &Declared, app: &App) -> Result<(), StartError> {
    apply(registry, declared).await?;
    let (tell, seen) = watch::channel(state(declared, "applied"));
    // What the file says now is no reason to take no calls: it is only told.
    app.health.inform("declaredTools", move || {
        CheckReport::up().with(seen.borrow().clone())
    });
    let follower = Follower {
        registry: registry.clone(),
        declared: declared.clone(),
        tell,
        metrics: std::sync::Arc::clone(&app.metrics),
    };
    let run = follower.run(app.reload.clone());
    app.tasks.spawn("declared tools", OnFailure::Essential, run);
    Ok(())
}

async fn apply(registry: &Registry, declared: &Declared) -> Result<()> {
    let Some(tools) = &declared.tools else {
        let left = registry.left_declared().await?;
        if left > 0 {
            tracing::warn!(
                tools = left,
                "tools were declared before, and the configuration does not say tools now: they stay as \
                 they are and cannot be changed; tools = [] deletes them"
            );
        }
        return Ok(());
    };
    let diff = registry.apply_declared(tools).await?;
    tell_of(&diff);
    Ok(())
}

/// One line for each difference, and one in all.
fn tell_of(diff: &Diff) {
    for (tool, difference) in &diff.lines {
        tracing::info!(tool, %difference, "declared tool");
    }
    tracing::info!(
        differences = diff.lines.len(),
        "declared tools: {}",
        diff.summary()
    );
}

fn state(declared: &Declared, last: &str) -> Value {
    let tools = declared.tools.as_ref().map(Vec::len);
    json!({"tools": tools, "last": last, "at": domain::tool::iso_millis(Timestamp::now())})
}

struct Follower {
    registry: Registry,
    declared: Declared,
    tell: watch::Sender<Value>,
    metrics: std::sync::Arc<Metrics>,
}

impl Follower {
    async fn run(mut self, mut reload: Reload) -> Result<(), Infallible> {
        let mut waiting = false;
        loop {
            if waiting {
                tokio::select! {
                    () = reload.asked() => {}
                    () = sleep(TRY_AGAIN) => {}
                }
            } else {
                reload.asked().await;
            }
            waiting = self.look_again().await;
        }
    }

    /// Whether it has to be tried again: the store was away.
    async fn look_again(&mut self) -> bool {
        let declared = self.declared.clone();
        let read = tokio::task::spawn_blocking(move || declared.read_again()).await;
        let read = read.map_err(|panic| panic.to_string());
        let read = read.and_then(|read| read.map_err(|error| error.to_string()));
        let (outcome, last, again) = match read {
            Err(error) => {
                tracing::error!(%error, "the declared tools are not applied: nothing was changed");
                ("failed", String::from("refused: see the log"), false)
            }
            Ok(declared) => {
                self.declared = declared;
                match apply(&self.registry, &self.declared).await {
                    Ok(()) => ("ok", String::from("applied"), false),
                    Err(error) => {
                        let again =
                            matches!(error.code(), ErrorCode::Unavailable | ErrorCode::Overloaded);
                        tracing::error!(%error, again, "the declared tools could not be applied");
                        ("failed", format!("failed: {error}"), again)
                    }
                }
            }
        };
        self.metrics
            .reloads
            .with_label_values(&[WHAT, outcome])
            .inc();
        self.tell.send_replace(state(&self.declared, &last));
        again
    }
}
