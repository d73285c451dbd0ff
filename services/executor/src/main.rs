//! `executor`: runs calls in sandboxes.

use std::process::ExitCode;

use bootstrap::config::ExecutorConfig;
use executor::doctor;
use executor::service::SandboxConfig;

fn main() -> ExitCode {
    // A sandbox is this very program: it must be one before there is a runtime or a thread.
    match sandbox::isolate::run_child_if_asked() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => bootstrap::run_with_doctor(
            executor::service::start,
            async |config: ExecutorConfig, options, metrics| {
                let sandbox = SandboxConfig {
                    engine: &config.engine,
                    docker: &config.docker,
                    policy: &config.policy,
                    sessions: &config.sessions,
                    install: &config.install,
                };
                doctor::examine(sandbox, options, metrics).await
            },
        ),
    }
}
