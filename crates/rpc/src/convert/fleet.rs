//! Executors.

use domain::Result;
use domain::fleet::ExecutorInfo;
use domain::runner::EngineKind;

use super::words::Word;
use crate::pb;

pub(crate) fn executor_to(executor: ExecutorInfo) -> pb::ExecutorInfo {
    pb::ExecutorInfo {
        id: executor.id,
        address: executor.address,
        labels: executor.labels.into_iter().collect(),
        engines: executor.engines.into_iter().map(Word::wire).collect(),
        capacity: executor.capacity,
        draining: executor.draining,
        version: executor.version,
    }
}

pub(crate) fn executor_from(executor: pb::ExecutorInfo) -> Result<ExecutorInfo> {
    let engine = |wire| EngineKind::of_wire("executor.engines", wire);
    Ok(ExecutorInfo {
        id: executor.id,
        address: executor.address,
        labels: executor.labels.into_iter().collect(),
        engines: executor
            .engines
            .into_iter()
            .map(engine)
            .collect::<Result<_>>()?,
        capacity: executor.capacity,
        draining: executor.draining,
        version: executor.version,
    })
}
