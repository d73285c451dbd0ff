//! What is running.

use telemetry::BuildInfo;

use crate::config::Service;

/// Version of the release; all crates of the workspace share it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit that was built: given to the build as DYNAMIC_MCP_COMMIT, or what git says to a release build
/// (with `-dirty` where sources were changed), else `unknown`.
pub const COMMIT: &str = match option_env!("DYNAMIC_MCP_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    _ => "unknown",
};

/// Name, version and commit of a program.
#[must_use]
pub fn build_info(service: Service) -> BuildInfo {
    BuildInfo {
        service: service.name(),
        version: VERSION,
        commit: COMMIT,
    }
}

pub(crate) fn version_line(service: Service) -> String {
    format!("{} {VERSION} ({COMMIT})\n", service.name())
}

#[cfg(test)]
#[path = "../build/git.rs"]
mod git;
#[cfg(test)]
mod tests;
