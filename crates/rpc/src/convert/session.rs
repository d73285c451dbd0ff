//! Sandbox sessions.

use std::time::Duration;

use domain::session::{
    CommandResult, EntryKind, Exec, FileEntry, Listing, Network, SessionInfo, SessionSpec,
};
use domain::tool::Runtime;
use domain::{Result, SessionId, TenantId};

use super::call::{dependencies_from, dependencies_to};
use super::words::Word;
use super::{micros, millis, timestamp_from, timestamp_to};
use crate::pb;

pub(crate) fn open_to(tenant: &TenantId, spec: SessionSpec) -> pb::OpenRequest {
    pb::OpenRequest {
        tenant: tenant.as_str().to_owned(),
        image: spec.image,
        runtime: spec.runtime.map(Word::wire),
        idle_ms: spec.idle.map(millis),
        network: spec.network.map(Word::wire),
        env: spec.env.into_iter().collect(),
        dependencies: dependencies_to(spec.dependencies),
    }
}

/// The spec. Its tenant is checked by the caller of this function.
pub(crate) fn open_from(request: pb::OpenRequest) -> Result<SessionSpec> {
    let runtime = request.runtime.map(|it| Runtime::of_wire("runtime", it));
    let network = request.network.map(|it| Network::of_wire("network", it));
    Ok(SessionSpec {
        image: request.image,
        runtime: runtime.transpose()?,
        idle: request.idle_ms.map(Duration::from_millis),
        network: network.transpose()?,
        env: request.env.into_iter().collect(),
        dependencies: dependencies_from(request.dependencies),
    })
}

pub(crate) fn info_to(info: SessionInfo) -> pb::SessionInfo {
    pb::SessionInfo {
        id: info.id.as_str().to_owned(),
        image: info.image,
        idle_ms: millis(info.idle),
        created_at: Some(timestamp_to(info.created_at)),
        last_used_at: Some(timestamp_to(info.last_used_at)),
    }
}

pub(crate) fn info_from(info: pb::SessionInfo) -> Result<SessionInfo> {
    Ok(SessionInfo {
        id: SessionId::parse(&info.id)?,
        image: info.image,
        idle: Duration::from_millis(info.idle_ms),
        created_at: timestamp_from("session.created_at", info.created_at)?,
        last_used_at: timestamp_from("session.last_used_at", info.last_used_at)?,
    })
}

pub(crate) fn exec_to(id: &SessionId, exec: Exec) -> pb::ExecRequest {
    pb::ExecRequest {
        id: id.as_str().to_owned(),
        commands: exec.commands,
        timeout_ms: millis(exec.timeout),
    }
}

pub(crate) fn exec_from(request: pb::ExecRequest) -> Result<(SessionId, Exec)> {
    let exec = Exec {
        commands: request.commands,
        timeout: Duration::from_millis(request.timeout_ms),
    };
    Ok((SessionId::parse(&request.id)?, exec))
}

pub(crate) fn result_to(result: CommandResult) -> pb::CommandResult {
    pb::CommandResult {
        exit_code: result.exit_code,
        signal: result.signal,
        stdout: result.stdout,
        stderr: result.stderr,
        duration_us: micros(result.duration),
        truncated: result.truncated,
        stdout_bytes: result.stdout_bytes,
        stderr_bytes: result.stderr_bytes,
        timed_out: result.timed_out,
        out_of_memory: result.out_of_memory,
    }
}

pub(crate) fn result_from(result: pb::CommandResult) -> CommandResult {
    CommandResult {
        exit_code: result.exit_code,
        signal: result.signal,
        stdout: result.stdout,
        stderr: result.stderr,
        duration: Duration::from_micros(result.duration_us),
        truncated: result.truncated,
        stdout_bytes: result.stdout_bytes,
        stderr_bytes: result.stderr_bytes,
        timed_out: result.timed_out,
        out_of_memory: result.out_of_memory,
    }
}

pub(crate) fn listing_to(listing: Listing) -> pb::ListFilesResponse {
    let one = |entry: FileEntry| pb::FileEntry {
        path: entry.path,
        kind: entry.kind.wire(),
        size: entry.size,
    };
    pb::ListFilesResponse {
        entries: listing.entries.into_iter().map(one).collect(),
        truncated: listing.truncated,
    }
}

pub(crate) fn listing_from(response: pb::ListFilesResponse) -> Result<Listing> {
    let one = |entry: pb::FileEntry| {
        Ok(FileEntry {
            path: entry.path,
            kind: EntryKind::of_wire("entry.kind", entry.kind)?,
            size: entry.size,
        })
    };
    Ok(Listing {
        entries: response
            .entries
            .into_iter()
            .map(one)
            .collect::<Result<_>>()?,
        truncated: response.truncated,
    })
}
