//! The call.

use std::sync::Arc;
use std::time::Duration;

use domain::dependency::Dependency;
use domain::limits::RunLimits;
use domain::runner::LogLevel;
use domain::tool::{EngineChoice, Isolation, Runtime};
use domain::{Call, CodeDigest, Lockfile, Resolve, Result, Revision, TenantId};

use super::words::Word;
use super::{json, json_text, millis, required};
use crate::pb;

pub(crate) fn call_to(tenant: &TenantId, call: Call) -> pb::Call {
    pb::Call {
        tenant: tenant.as_str().to_owned(),
        tool: call.tool,
        revision: call.revision.map(|revision| revision.0),
        code: call.code.as_ref().to_owned(),
        code_digest: call.code_digest.as_bytes().to_vec(),
        args_json: json_text(call.args),
        runtime: call.runtime.wire(),
        engine: call.engine.wire(),
        isolation: call.isolation.wire(),
        image: call.image,
        dependencies: dependencies_to(call.dependencies),
        lock_json: call.lock.map(|lock| lock.text().to_owned()),
        limits: Some(pb::RunLimits {
            timeout_ms: millis(call.limits.timeout),
            memory_bytes: call.limits.memory_bytes,
            cpu_millis: call.limits.cpu_millis,
            max_output_bytes: call.limits.max_output_bytes,
        }),
        log_level: call.log_level.map(Word::wire),
        wants_progress: call.wants_progress,
        client_capabilities_json: call.client_capabilities.map(json_text),
    }
}

/// The call. Its tenant is checked by the caller of this function.
pub(crate) fn call_from(call: pb::Call) -> Result<Call> {
    let limits = required("call.limits", call.limits)?;
    let runtime = Runtime::of_wire("call.runtime", call.runtime)?;
    Ok(Call {
        tool: call.tool,
        revision: call.revision.map(Revision),
        code: Arc::from(call.code),
        code_digest: CodeDigest::from_bytes(&call.code_digest)?,
        args: json("call.args_json", call.args_json)?,
        runtime,
        engine: EngineChoice::of_wire("call.engine", call.engine)?,
        isolation: Isolation::of_wire("call.isolation", call.isolation)?,
        image: call.image,
        dependencies: dependencies_from(call.dependencies),
        lock: lock_from(runtime, call.lock_json)?,
        limits: RunLimits {
            timeout: Duration::from_millis(limits.timeout_ms),
            memory_bytes: limits.memory_bytes,
            cpu_millis: limits.cpu_millis,
            max_output_bytes: limits.max_output_bytes,
        },
        log_level: call
            .log_level
            .map(|level| LogLevel::of_wire("call.log_level", level))
            .transpose()?,
        wants_progress: call.wants_progress,
        client_capabilities: call
            .client_capabilities_json
            .map(|text| json("call.client_capabilities_json", text))
            .transpose()?,
    })
}

pub(crate) fn lock_from(runtime: Runtime, text: Option<String>) -> Result<Option<Lockfile>> {
    text.map(|text| Lockfile::parse(runtime, &text)).transpose()
}

pub(crate) fn dependencies_to(dependencies: Vec<Dependency>) -> Vec<pb::Dependency> {
    let one = |Dependency { name, version }| pb::Dependency { name, version };
    dependencies.into_iter().map(one).collect()
}

pub(crate) fn dependencies_from(dependencies: Vec<pb::Dependency>) -> Vec<Dependency> {
    let one = |pb::Dependency { name, version }| Dependency { name, version };
    dependencies.into_iter().map(one).collect()
}

pub(crate) fn resolve_to(tenant: &TenantId, request: Resolve) -> pb::ResolveRequest {
    pb::ResolveRequest {
        tenant: tenant.as_str().to_owned(),
        runtime: request.runtime.wire(),
        image: request.image,
        dependencies: dependencies_to(request.dependencies),
    }
}

/// The request. Its tenant is checked by the caller of this function.
pub(crate) fn resolve_from(request: pb::ResolveRequest) -> Result<Resolve> {
    Ok(Resolve {
        runtime: Runtime::of_wire("runtime", request.runtime)?,
        image: request.image,
        dependencies: dependencies_from(request.dependencies),
    })
}

pub(crate) fn locked_to(lock: &Lockfile) -> pb::Lock {
    pb::Lock {
        runtime: lock.runtime().wire(),
        json: lock.text().to_owned(),
    }
}

pub(crate) fn locked_from(lock: pb::Lock) -> Result<Lockfile> {
    Lockfile::parse(Runtime::of_wire("lock.runtime", lock.runtime)?, &lock.json)
}
