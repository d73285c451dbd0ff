//! What is running.

use telemetry::BuildInfo;

use crate::config::Service;

/// Version of the release; all crates of the workspace share it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit that was built: given by the build as DYNAMIC_MCP_COMMIT, else `unknown`.
pub const COMMIT: &str = match option_env!("DYNAMIC_MCP_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
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
