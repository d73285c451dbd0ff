//! The start-up probe: a child that tries to break each wall where that wall alone stands.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::child::Wall;
use super::spawn::Spawner;
use crate::WallStatus;
use crate::wire::{Finding, FromChild, NO_CALL};

/// How long the probe may take.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// Largest finding, in bytes.
const MAX_FINDING: usize = 4_096;

/// Most findings; there are some thirty.
const MAX_FINDINGS: usize = 256;

/// Every wall as found, in the order of raising. A wall of which nothing was heard does not hold.
pub(super) async fn probe(spawner: &Spawner, without: Option<Wall>) -> io::Result<Vec<WallStatus>> {
    let mut child = spawner.probe(without).await?;
    let mut findings = Vec::new();
    let reading = async {
        while let Some((kind, payload)) = child.frames.next(&NO_CALL, MAX_FINDING).await? {
            if kind != FromChild::Finding || findings.len() == MAX_FINDINGS {
                return Err(io::Error::other(
                    "the probe's child said what it should not",
                ));
            }
            findings.push(serde_json::from_slice(&payload).map_err(io::Error::other)?);
        }
        Ok(())
    };
    timeout(PROBE_TIME, reading)
        .await
        .map_err(|_| io::Error::other("the probe of the walls took too long"))??;
    let ended = child.ended().await;
    let complete = ended.status.is_some_and(|status| status.success());
    let walls = Wall::ALL
        .into_iter()
        .map(|wall| status(wall, &findings))
        .collect();
    if complete {
        Ok(walls)
    } else {
        Err(io::Error::other(format!("the probe failed: {ended}")))
    }
}

fn status(wall: Wall, findings: &[Finding]) -> WallStatus {
    let mine: Vec<&Finding> = findings
        .iter()
        .filter(|it| it.wall == wall.name())
        .collect();
    let broken: Vec<String> = mine
        .iter()
        .filter_map(|it| Some(format!("{}: {}", it.attempt, it.outcome.as_ref().err()?)))
        .collect();
    let held = broken.is_empty() && !mine.is_empty();
    let detail = match (held, mine.is_empty()) {
        (true, _) => mine
            .iter()
            .map(|it| it.attempt.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        (false, true) => "the probe ended before it".to_owned(),
        (false, false) => broken.join("; "),
    };
    WallStatus {
        name: wall.name(),
        held,
        required: wall.required(),
        detail,
    }
}
