//! What a lease says of its executor, as JSON.

use std::collections::BTreeMap;

use domain::fleet::ExecutorInfo;
use domain::runner::EngineKind;
use domain::{Error, Result};
use serde::{Deserialize, Serialize};

/// An executor as it is kept in JSON, its id aside.
#[derive(Serialize, Deserialize)]
struct Info {
    address: String,
    labels: BTreeMap<String, String>,
    engines: Vec<EngineKind>,
    capacity: u32,
    draining: bool,
    version: String,
}

pub(super) fn write(executor: &ExecutorInfo) -> Result<String> {
    serde_json::to_string(&Info {
        address: executor.address.clone(),
        labels: executor.labels.clone(),
        engines: executor.engines.clone(),
        capacity: executor.capacity,
        draining: executor.draining,
        version: executor.version.clone(),
    })
    .map_err(Error::internal)
}

/// A lease that another version wrote in another shape hides its executor and nobody else's.
pub(super) fn read(id: String, info: &str) -> Option<(String, ExecutorInfo)> {
    let info: Info = match serde_json::from_str(info) {
        Ok(info) => info,
        Err(error) => {
            tracing::warn!(executor = id, %error, "a lease cannot be read; skipped");
            return None;
        }
    };
    let executor = ExecutorInfo {
        id: id.clone(),
        address: info.address,
        labels: info.labels,
        engines: info.engines,
        capacity: info.capacity,
        draining: info.draining,
        version: info.version,
    };
    Some((id, executor))
}
