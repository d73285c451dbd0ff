//! `dynamic-mcp`: gateway, registry and executor in one process.

use std::process::ExitCode;

use bootstrap::config::StandaloneConfig;
use executor::doctor;
use executor::service::SandboxConfig;

mod commands;
mod compose;
mod first_key;

fn main() -> ExitCode {
    // A sandbox is this very program: it must be one before there is a runtime or a thread.
    match sandbox::isolate::run_child_if_asked() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => bootstrap::run_with_commands(
            compose::start,
            async |config: StandaloneConfig, options, metrics| {
                let sandbox = SandboxConfig {
                    engine: &config.engine,
                    docker: &config.docker,
                    policy: &config.policy,
                    sessions: &config.sessions,
                    install: &config.install,
                };
                doctor::examine(sandbox, options, metrics).await
            },
            commands::run,
            async |config: StandaloneConfig| {
                registry::declared::what_would_change(compose::registry_parts(&config)).await
            },
        ),
    }
}
