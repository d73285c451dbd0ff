//! The Docker engine: the conformance suite of every engine, and what is its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper fails its test"
)]

use std::sync::Arc;

use sandbox::docker::{DockerEngine, DockerEngineSettings};
use telemetry::{BuildInfo, Metrics};

#[path = "../suite"]
mod suite {
    mod cases;
    pub(crate) mod contract;
    pub(crate) mod faults;
    pub(crate) mod run;
}

fn metrics() -> Arc<Metrics> {
    let build = BuildInfo {
        service: "test",
        version: "0",
        commit: "0",
    };
    Arc::new(Metrics::new(build).unwrap())
}

fn settings() -> DockerEngineSettings {
    DockerEngineSettings {
        owner: uuid::Uuid::new_v4().to_string(),
        memory_bytes: 64 << 20,
        allowed_images: vec![suite::run::IMAGE.to_owned()],
        ..DockerEngineSettings::default()
    }
}

async fn launch(settings: DockerEngineSettings) -> Arc<DockerEngine> {
    match DockerEngine::launch(settings, metrics()).await {
        Ok(engine) => Arc::new(engine),
        Err(error) => panic!("{error}: run bash .ci/docker"),
    }
}

async fn docker() -> suite::run::Subject {
    launch(settings()).await
}

mod docker_conformance {
    use super::{docker, suite};

    crate::conformance!(docker);
}
