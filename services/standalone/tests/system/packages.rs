//! What tests that install packages need: the certificates that this machine trusts, and an end that
//! leaves no packages behind.

use std::path::Path;

use testkit::docker::daemon;

/// The setting by which containers trust what this machine does: its registries may be behind an
/// authority of its own.
pub(crate) fn trusted() -> Option<(&'static str, String)> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the certificates that this machine's tests trust"
    )]
    let file = std::env::var("SSL_CERT_FILE").ok();
    let file = file.filter(|file| !file.is_empty())?;
    Some(("MCP_SANDBOX_EXTRA_CA_CERTS", file))
}

/// Removes the packages that the executors of this folder have installed: they are kept for the next
/// start, and there is none.
pub(crate) async fn remove(folder: &Path) {
    let folder = folder.display().to_string();
    let docker = daemon();
    let format = "{{.Name}} {{.Label \"dynamic-mcp.owner\"}}";
    let listed = docker.run(&["volume", "ls", "--format", format]).await;
    let own = listed.lines().filter(|line| line.contains(&folder));
    for name in own.filter_map(|line| line.split(' ').next()) {
        docker.run(&["volume", "rm", name]).await;
    }
}
