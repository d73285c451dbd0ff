//! The registry's archive as a command reaches it: its store, opened beside whatever else uses it.

use std::sync::Arc;
use std::time::Duration;

use bootstrap::Diagnosis;
use bootstrap::config::{ConfigError, Service, StandaloneConfig};
use domain::CallContext;
use domain::audit::archive::{Archive as _, MAX_PAGE, Segment, SegmentStart};
use domain::audit::{Head, LogName};
use jiff::Timestamp;
use registry::Registry;
use serde::{Deserialize, Serialize};

use super::{log_name, said};
use crate::compose::registry_parts;

/// Longest wait for the store.
const WITHIN: Duration = Duration::from_secs(30);

/// Who looks.
pub(super) fn context() -> CallContext {
    CallContext::service("dynamic-mcp", WITHIN)
}

/// The registry of this configuration: nothing is imported, served or watched.
pub(super) async fn open(
    config: Result<StandaloneConfig, ConfigError>,
) -> Result<Registry, String> {
    let config = config.map_err(|error| error.to_string())?;
    let parts = registry_parts(&config);
    let app = bootstrap::App::detached(Service::Standalone).map_err(|error| error.to_string())?;
    let metrics = Arc::clone(&app.metrics);
    let opening = registry::service::open_store(parts.catalog, parts.postgres, metrics);
    let (store, _) = opening.await.map_err(|error| error.to_string())?;
    Ok(Registry::new(
        store,
        registry::service::settings(parts),
        app.metrics,
    ))
}

/// Every segment, of one log or of all.
pub(super) async fn segments(
    registry: &Registry,
    log: Option<&LogName>,
) -> Result<Vec<Segment>, String> {
    let mut all: Vec<Segment> = Vec::new();
    loop {
        let after = all.last().map(|last| (last.log.clone(), last.number));
        let page = registry.segments(&context(), log, after).await;
        let page = page.map_err(|error| error.to_string())?;
        let is_last = page.len() < MAX_PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// A segment as `audit heads` prints it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    log: LogName,
    segment: u64,
    start: SegmentStart,
    first_seq: u64,
    missing: u64,
    head: String,
    began_at: Timestamp,
    updated_at: Timestamp,
}

/// What `audit heads` prints.
#[derive(Debug, Serialize, Deserialize)]
struct Printout {
    heads: Vec<Printed>,
}

pub(super) async fn print_heads(
    log: Option<String>,
    config: Result<StandaloneConfig, ConfigError>,
) -> Result<Diagnosis, String> {
    let log = log_name(log)?;
    let registry = open(config).await?;
    let heads = segments(&registry, log.as_ref()).await;
    registry.close().await;
    let heads = heads?.into_iter().map(|segment| Printed {
        head: segment.head.to_string(),
        log: segment.log,
        segment: segment.number,
        start: segment.start,
        first_seq: segment.first_seq,
        missing: segment.missing,
        began_at: segment.began_at,
        updated_at: segment.updated_at,
    });
    let printout = Printout {
        heads: heads.collect(),
    };
    let text = serde_json::to_string_pretty(&printout).map_err(|error| error.to_string())?;
    Ok(said(format!("{text}\n")))
}

/// Reads what `audit heads` has printed.
pub(super) fn read_heads(text: &str) -> Result<Vec<Segment>, String> {
    let printout: Printout = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let segment = |printed: Printed| {
        let head = printed.head.parse::<Head>();
        Ok(Segment {
            log: printed.log,
            number: printed.segment,
            start: printed.start,
            first_seq: printed.first_seq,
            missing: printed.missing,
            head: head.map_err(|error| error.to_string())?,
            began_at: printed.began_at,
            updated_at: printed.updated_at,
        })
    };
    printout.heads.into_iter().map(segment).collect()
}
