//! `doctor`: whether this host can hold the sandboxes that the configuration asks for.

use std::sync::Arc;

use bootstrap::Diagnosis;
use bootstrap::config::{DoctorOptions, EngineChoice, InstallConfig};
use domain::runner::EngineKind;
use sandbox::doctor::{DoctorSettings, InstallSources};
use telemetry::Metrics;

use crate::engine;
use crate::service::SandboxConfig;

/// Looks, and answers as asked: a table or JSON.
pub async fn examine(
    sandbox: SandboxConfig<'_>,
    options: DoctorOptions,
    metrics: Arc<Metrics>,
) -> Diagnosis {
    let SandboxConfig {
        engine: config,
        install,
        ..
    } = sandbox;
    // A file of certificates that cannot be read stops the executor: here it is a finding.
    let without = InstallConfig {
        extra_ca_certs: None,
        ..install.clone()
    };
    let without = SandboxConfig {
        install: &without,
        ..sandbox
    };
    let docker = match engine::docker_settings(&without, "doctor") {
        Ok(docker) => docker,
        Err(error) => {
            return Diagnosis {
                complaint: Some(format!("error: {error}")),
                exit_code: 2,
                ..Diagnosis::default()
            };
        }
    };
    let settings = DoctorSettings {
        engine: match config.engine {
            EngineChoice::Auto => None,
            EngineChoice::Docker => Some(EngineKind::Docker),
            EngineChoice::Isolate | EngineChoice::Node => Some(EngineKind::Isolate),
        },
        docker,
        isolate: engine::isolate_settings(config),
        install: InstallSources {
            extra_ca_certs: install.extra_ca_certs.clone(),
            npm_registry: install
                .npm_registry
                .as_ref()
                .map(|it| it.expose().to_owned()),
            pip_index: install.pip_index.as_ref().map(|it| it.expose().to_owned()),
        },
    };
    let report = sandbox::doctor::examine(settings, options.attack, metrics).await;
    Diagnosis {
        text: match options.json {
            true => format!("{:#}\n", report.json()),
            false => report.text(),
        },
        exit_code: report.exit_code(),
        ..Diagnosis::default()
    }
}
