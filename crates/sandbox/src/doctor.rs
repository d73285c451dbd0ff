//! Looks whether this host can hold a sandbox, and by how much: `executor doctor`.
//!
//! Facts are gathered once, each part with a deadline; the checks are pure functions over them, so
//! that every verdict can be tested without a machine that is so. `attack` then tries to get out of
//! real sandboxes.

mod attack;
mod checks;
mod facts;
mod finding;
mod gather;
mod report;

use std::path::PathBuf;
use std::sync::Arc;

use domain::runner::EngineKind;
use telemetry::Metrics;

pub use self::attack::{Attack, Attacks, Held};
pub(crate) use self::facts::{DaemonFacts, ImageThere};
pub use self::finding::{Finding, State};
pub use self::report::Report;

use crate::docker::DockerEngineSettings;
use crate::isolate::IsolateSettings;

/// What the doctor looks at: what the executor would be started with.
#[derive(Debug, Clone)]
pub struct DoctorSettings {
    /// The engine that the configuration names; none for `auto`.
    pub engine: Option<EngineKind>,
    /// The Docker engine as the executor would start it.
    pub docker: DockerEngineSettings,
    /// The isolate engine as the executor would start it.
    pub isolate: IsolateSettings,
    /// How packages are installed.
    pub install: InstallSources,
}

/// Where packages come from, as configured. Without credentials.
#[derive(Debug, Clone, Default)]
pub struct InstallSources {
    /// `MCP_SANDBOX_EXTRA_CA_CERTS`.
    pub extra_ca_certs: Option<PathBuf>,
    /// `MCP_SANDBOX_NPM_REGISTRY`, which may hold a credential: it is never shown.
    pub npm_registry: Option<String>,
    /// `MCP_SANDBOX_PIP_INDEX`, likewise.
    pub pip_index: Option<String>,
}

impl DoctorSettings {
    /// Whether the configuration can come to the Docker engine.
    fn wants_docker(&self) -> bool {
        self.engine != Some(EngineKind::Isolate)
    }

    /// Whether the configuration can come to the isolate engine.
    fn wants_isolate(&self) -> bool {
        self.engine != Some(EngineKind::Docker)
    }
}

/// Looks at everything, and with `attack` attacks the engines that the configuration can come to.
/// Takes less than half a minute without attacks, whatever hangs.
pub async fn examine(settings: DoctorSettings, attack: bool, metrics: Arc<Metrics>) -> Report {
    let facts = gather::gather(&settings, &metrics).await;
    let findings = checks::all(&facts);
    let attacks = match attack {
        true => attack::run(&settings, &facts, &metrics).await,
        false => Vec::new(),
    };
    Report::new(findings, attacks)
}
